"""Preprocessing on the executors: decodes the files of a part into one Parquet file."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import (
    Decoding,
    RangeUnknown,
    Seen,
    Unreadable,
    decode_and_look,
    values_of,
    with_file,
)
from cnn.data.decoding.deep_images import Values
from cnn.data.decoding.deep_value_range import DeepImage
from cnn.data.decoding.originals import Original, Originals
from cnn.data.near.hashes import PartHashes
from cnn.data.splits import Row

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("fold", pa.int32()),
        ("pixels", pa.binary()),
    ]
)

# Where a table gives weights.
_WEIGHT = pa.field("weight", pa.float32())
# The fixed cost of a file, as the number of bytes that take as long to decode.
_FILE_COST = 32 << 10
# Each part is this fraction of a core's share of the remaining work: long parts first, for little
# overhead, and short parts last, so that all cores end at about the same time.
_SHARE = 0.7
_MIN_ROWS = 64
_MAX_PIXEL_BYTES = 64 << 20
_ROW_GROUP_BYTES = 8 << 20


class Part(NamedTuple):
    """One Parquet file to write: consecutive rows of one split, starting at row `start`."""

    split: str
    number: int
    start: int
    rows: Sequence[Row]

    @property
    def name(self) -> str:
        """The name of the file in the data directory."""
        return part_name(self.split, self.number)


def part_name(split: str, number: int) -> str:
    return f"{split}/part-{number:05d}.parquet"


class PartResult(NamedTuple):
    """The result of one part: rejects with reasons, image counts by label, a sum of row hashes.

    `blank` has the paths and labels of blank or nearly blank images. If `deep` has images, whose
    value range is not known yet, the part must be written again. `originals` are packed.
    """

    split: str
    rejects: list[tuple[str, str]]
    counts: dict[int, int]
    checksum: int
    blank: list[tuple[str, int]]
    deep: list[DeepImage]
    originals: bytes


class Decoded(NamedTuple):
    """A row, its position in the split, and the outcome: its pixels, the reason for rejecting it,
    or the values of a deep image whose value range is unknown. All three are None if the image was
    only opened. `original` is known of an image with pixels.
    """

    place: int
    row: Row
    pixels: bytes | None = None
    reason: str | None = None
    is_blank: bool = False
    values: Values | None = None
    original: Original | None = None


def cut_parts(
    split: dict[str, list[Row]], sizes: dict[str, int], settings: DataSettings, cores: int
) -> list[Part]:
    """Cuts the rows of each split into parts of decreasing cost; `sizes` is in bytes, by path."""
    left = sum(sizes[row.path] + _FILE_COST for rows in split.values() for row in rows)
    most = max(1, _MAX_PIXEL_BYTES // (settings.image_size**2 * settings.channels))
    parts: list[Part] = []
    for name, rows in split.items():
        number, start, cost = 0, 0, 0
        for end, row in enumerate(rows, start=1):
            cost += sizes[row.path] + _FILE_COST
            full = cost >= left * _SHARE / max(1, cores) and end - start >= _MIN_ROWS
            if full or end - start >= most or end == len(rows):
                parts.append(Part(name, number, start, rows[start:end]))
                number, start, left, cost = number + 1, end, left - cost, 0
    return parts


def decode_part(
    opener: Callable[[str], Path | bytes], part: Part, how: Decoding, *, look: bool = False
) -> Iterator[Decoded]:
    """Reads and decodes a part's files one by one; `opener` turns a listed path into a path or the
    file's bytes, or raises Unreadable.

    With `look`, deep images yield their values instead of pixels. The part must then be written
    again, so after the first deep image all other images are only opened.
    """
    met = False
    for place, row in enumerate(part.rows, start=part.start):
        try:
            if met:
                values = with_file(opener(row.path), values_of)
                yield Decoded(place, row, values=values)
                continue
            seen = with_file(opener(row.path), partial(decode_and_look, how=how))
            yield decoded(place, row, seen)
        except Unreadable as reason:
            met = met or (look and isinstance(reason, RangeUnknown))
            yield undecoded(place, row, reason, look=look)


def decoded(place: int, row: Row, seen: Seen) -> Decoded:
    """The outcome of a row with pixels."""
    pixels = seen.pixels.tobytes()
    return Decoded(place, row, pixels, is_blank=seen.is_blank, original=seen.original)


def undecoded(place: int, row: Row, reason: Unreadable, *, look: bool) -> Decoded:
    """The outcome of a row without pixels; `look` as for `decode_part`."""
    if look and isinstance(reason, RangeUnknown):
        return Decoded(place, row, values=reason.values)
    return Decoded(place, row, reason=str(reason))


def write_part(
    staging: Directory,
    split: str,
    number: int,
    outcomes: Iterable[Decoded],
    how: Decoding | None = None,
) -> PartResult:
    """Writes one Parquet file while its rows are decoded; holds at most one row group in memory.

    There must be at least one row. If `how` the images are decoded is given, their perceptual
    hashes are written too. A retried task is harmless because it writes the same files again.
    """
    rejects: list[tuple[str, str]] = []
    blank: list[tuple[str, int]] = []
    deep: list[DeepImage] = []
    counts: Counter[int] = Counter()
    originals = Originals()
    checksum = 0
    rows: list[tuple[object, ...]] = []
    places: list[int] = []
    held = 0
    found = None if how is None else PartHashes(how)
    outcomes = iter(outcomes)
    first = next(outcomes)
    schema = SCHEMA if first.row.weight is None else SCHEMA.insert(4, _WEIGHT)
    with (
        staging.writer(part_name(split, number)) as sink,
        # Pixels hardly compress, gain nothing from a dictionary, and are read once per host.
        pq.ParquetWriter(
            sink, schema, compression="lz4", use_dictionary=False, write_statistics=False
        ) as writer,
    ):
        for place, row, pixels, reason, is_blank, values, original in chain([first], outcomes):
            if values is not None:
                deep.append(DeepImage(row.path, values))
            if reason is not None:
                rejects.append((row.path, reason))
            if pixels is None:
                continue
            if is_blank:
                blank.append((row.path, row.label))
            if original is not None:
                originals.add(place, row.label, original)
            counts[row.label] += 1
            checksum = (checksum + _row_hash(split, place, row, pixels)) % 2**128
            rows.append((*_values(row), pixels))
            places.append(place)
            held += len(pixels)
            if held >= _ROW_GROUP_BYTES:
                _write_rows(writer, rows, schema, places, found)
                rows, places, held = [], [], 0
        if rows:
            _write_rows(writer, rows, schema, places, found)
    if found is not None:
        found.write(staging, split, number)
    return PartResult(split, rejects, dict(counts), checksum, blank, deep, originals.pack())


def _write_rows(
    writer: pq.ParquetWriter,
    rows: Sequence[tuple[Any, ...]],
    schema: pa.Schema,
    places: Sequence[int],
    found: PartHashes | None,
) -> None:
    writer.write_table(_table(rows, schema))
    if found is not None:
        found.add(places, [row[-1] for row in rows])


def _values(row: Row) -> tuple[object, ...]:
    """The values of a row that its data set has."""
    return row[:-1] if row.weight is None else row


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema)


def _row_hash(split: str, place: int, row: Row, pixels: bytes) -> int:
    digest = hashlib.sha256(pixels)
    digest.update(repr((split, place, *_values(row))).encode())
    return int.from_bytes(digest.digest()[:16], "big")
