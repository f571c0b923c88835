"""Folders of images -> a data directory: list, tie, split, decode with Spark, commit whole."""

import hashlib
import os
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cnn.images import Unreadable, decode
from cnn.listing import Listing, real_path
from cnn.manifest import MANIFEST, DataSettings, Manifest, Source, read_manifest, write_manifest
from cnn.settings import Error, InputError
from cnn.splits import TEST, TRAIN, ImageFile, Row, assign, connected_groups, tie_keys
from cnn.storage import Directory

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("group", pa.string()),
        ("fold", pa.int32()),
        ("pixels", pa.binary()),
    ]
)
REJECT_SCHEMA = pa.schema([("path", pa.string()), ("reason", pa.string())])
REJECTS = "rejects"

# Rows of a Parquet file, and of a row group in it.
MIN_PART, MAX_PART = 64, 4096
_ROW_GROUP = 512


class Part(NamedTuple):
    """One Parquet file to write: consecutive rows of one split."""

    split: str
    number: int
    start: int
    rows: Sequence[Row]


class PartResult(NamedTuple):
    """What came of one part: reject reasons by path, images by label, a sum of row hashes."""

    split: str
    rejects: list[tuple[str, str]]
    counts: dict[int, int]
    checksum: int


def make_dataset(
    spark: "SparkSession",
    root: Path,
    out: Directory,
    settings: DataSettings,
    listing: Listing,
    *,
    source: Source,
    sample: bool = False,
) -> Manifest:
    """Decodes the listed images under `root` in parallel and commits a data directory at `out`.

    Everything is written beside `out` and moved there when complete, in place of a data directory
    that was there. Raises Error where too many files cannot be decoded; nothing is left then.
    """
    started = time.monotonic()
    context = spark.sparkContext
    digests = _hash_lookalikes(context, root, listing.files)
    files, digests, rejected = _drop_contradictions(listing.files, digests)
    groups = connected_groups(tie_keys(files, settings), digests)
    split = assign(files, groups, listing.classes, settings)

    staging = Directory(f"{out.uri}.partial-{uuid.uuid4().hex[:8]}")
    try:
        results = _write_parts(context, root, staging, split, settings)
        rejected += [reject for result in results for reject in result.rejects]
        _check_rejects(rejected, len(listing.files), settings)
        _write_rejects(staging, rejected)
        manifest = Manifest(
            size=settings.image_size,
            channels=settings.channels,
            classes=listing.classes,
            counts=_counts(results, listing.classes),
            groups=len(set(groups)),
            duplicates=_duplicates(digests),
            rejects=len(rejected),
            ignored=listing.ignored,
            settings=settings,
            source=source,
            sample=sample,
            inputs=listing.inputs,
            fingerprint=_fingerprint(results, settings, listing.classes),
            seconds=round(time.monotonic() - started, 3),
        )
        write_manifest(staging, manifest)
        _put_in_place(staging, out)
    finally:
        staging.remove()
    return manifest


def check_out(out: Directory, *, overwrite: bool) -> None:
    """Raises InputError where `out` holds something that must not be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out must be a directory, but {out.uri} is a file")
    if not out.names():
        return
    if not out.exists(MANIFEST):
        raise InputError(
            f"--out must be a new or empty directory or a data set, but {out.uri} is neither"
        )
    if not overwrite:
        raise InputError(
            f"--out must not exist without --overwrite, but {out.uri} holds a data set"
        )


def existing_dataset(out: Directory, inputs: str) -> Manifest | None:
    """The data set at `out` if it was made from these very inputs and settings."""
    if not out.exists(MANIFEST):
        return None
    try:
        manifest = read_manifest(out)
    except InputError:
        return None
    return manifest if manifest.inputs == inputs else None


def _put_in_place(staging: Directory, out: Directory) -> None:
    old = Directory(f"{out.uri}.old-{uuid.uuid4().hex[:8]}")
    if out.exists():
        out.rename(old)
    staging.rename(out)
    old.remove()


def _hash_lookalikes(
    context: "SparkContext", root: Path, files: Sequence[ImageFile]
) -> list[str | None]:
    """SHA-256 of the files that share their size with another; None for all others."""
    sizes = Counter(file.size for file in files)
    alike = [i for i, file in enumerate(files) if sizes[file.size] > 1]
    digests: list[str | None] = [None] * len(files)
    if not alike:
        return digests

    def digest(index_path: tuple[int, str]) -> tuple[int, str | None]:
        index, path = index_path
        try:
            with Path(path).open("rb") as handle:
                return index, hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError:
            # Decoding will meet the same error and say it.
            return index, None

    paths = [(i, os.fspath(real_path(root, files[i].path))) for i in alike]
    slices = min(len(paths), 4 * context.defaultParallelism)
    for index, hexdigest in context.parallelize(paths, slices).map(digest).collect():
        digests[index] = hexdigest
    return digests


def _drop_contradictions(
    files: Sequence[ImageFile], digests: Sequence[str | None]
) -> tuple[list[ImageFile], list[str | None], list[tuple[str, str]]]:
    """Takes out identical bytes that stand under two labels: their label is unknown."""
    labels: dict[str, set[str]] = defaultdict(set)
    for file, digest in zip(files, digests, strict=True):
        # Empty files are alike and are rejected for being empty.
        if digest is not None and file.size:
            labels[digest].add(file.class_name)
    kept: list[ImageFile] = []
    kept_digests: list[str | None] = []
    rejects = []
    for file, digest in zip(files, digests, strict=True):
        if digest is not None and len(labels[digest]) > 1:
            names = " and ".join(sorted(labels[digest]))
            rejects.append((file.path, f"identical bytes in {names}"))
        else:
            kept.append(file)
            kept_digests.append(digest if file.size else None)
    return kept, kept_digests, rejects


def _write_parts(
    context: "SparkContext",
    root: Path,
    staging: Directory,
    split: dict[str, list[Row]],
    settings: DataSettings,
) -> list[PartResult]:
    parts = list(_parts(split, 4 * context.defaultParallelism))
    size, channels, folder = settings.image_size, settings.channels, os.fspath(root)

    def run(part: Part) -> PartResult:
        return write_part(Path(folder), staging, part, size=size, channels=channels)

    for name in (TRAIN, TEST):
        staging.sub(name).create()
    return context.parallelize(parts, len(parts)).map(run).collect()


def _parts(split: dict[str, list[Row]], wanted: int) -> Iterator[Part]:
    total = sum(len(rows) for rows in split.values())
    # Small enough that no core ends alone, large enough that a task is worth its start.
    length = max(MIN_PART, min(MAX_PART, -(-total // wanted)))
    for name, rows in split.items():
        for number, start in enumerate(range(0, len(rows), length)):
            yield Part(name, number, start, rows[start : start + length])


def write_part(
    root: Path, staging: Directory, part: Part, *, size: int, channels: int
) -> PartResult:
    """Decodes one part's images and writes its Parquet file; runs on an executor.

    A second attempt at the same part writes the same file again, so a retried task does no harm.
    """
    rejects: list[tuple[str, str]] = []
    counts: Counter[int] = Counter()
    checksum = 0
    rows: list[dict[str, object]] = []
    sink = pa.BufferOutputStream()
    # Pixels hardly compress and are read once a host: fast beats small.
    with pq.ParquetWriter(sink, SCHEMA, compression="zstd", use_dictionary=False) as writer:

        def flush() -> None:
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows.clear()

        for place, row in enumerate(part.rows, start=part.start):
            try:
                pixels = _decode_file(real_path(root, row.path), size, channels).tobytes()
            except Unreadable as reason:
                rejects.append((row.path, str(reason)))
                continue
            counts[row.label] += 1
            checksum = (checksum + _row_hash(part.split, place, row, pixels)) % 2**128
            rows.append({**asdict(row), "pixels": pixels})
            if len(rows) == _ROW_GROUP:
                flush()
        flush()
    if counts:
        staging.write(f"{part.split}/part-{part.number:05d}.parquet", sink.getvalue().to_pybytes())
    return PartResult(part.split, rejects, dict(counts), checksum)


def _decode_file(path: Path, size: int, channels: int) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unreadable(f"unreadable: {error.strerror}") from None
    return decode(data, size=size, channels=channels)


def _row_hash(split: str, place: int, row: Row, pixels: bytes) -> int:
    digest = hashlib.blake2b(pixels, digest_size=16)
    digest.update(repr((split, place, row.path, row.label, row.group, row.fold)).encode())
    return int.from_bytes(digest.digest(), "big")


def _fingerprint(
    results: Iterable[PartResult], settings: DataSettings, classes: Sequence[str]
) -> str:
    """A hash of all rows with their places: a sum, so that how they were cut does not matter."""
    total = sum(result.checksum for result in results) % 2**128
    text = f"{total:032x} {settings.image_size} {settings.channels} {'/'.join(classes)}"
    return hashlib.sha256(text.encode()).hexdigest()


def _check_rejects(
    rejected: Sequence[tuple[str, str]], listed: int, settings: DataSettings
) -> None:
    limit = settings.max_rejects
    allowed = limit * listed if limit < 1 else limit
    if len(rejected) <= allowed:
        return
    examples: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    for path, reason in rejected:
        kind = reason.partition("(")[0].strip()
        kinds[kind] += 1
        examples.setdefault(kind, path)
    reasons = "; ".join(
        f"{count} {kind} (such as {examples[kind]!r})" for kind, count in kinds.most_common()
    )
    raise Error(
        f"--max-rejects must not be exceeded: at most {allowed:g} of {listed} files may be "
        f"rejected, but {len(rejected)} were: {reasons}"
    )


def _write_rejects(staging: Directory, rejected: Sequence[tuple[str, str]]) -> None:
    columns = list(zip(*sorted(rejected), strict=True)) or [(), ()]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table([list(c) for c in columns], schema=REJECT_SCHEMA), sink)
    staging.write(f"{REJECTS}/part-00000.parquet", sink.getvalue().to_pybytes())


def _counts(results: Iterable[PartResult], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    counts = {split: dict.fromkeys(classes, 0) for split in (TRAIN, TEST)}
    for result in results:
        for label, count in result.counts.items():
            counts[result.split][classes[label]] += count
    for split, by_class in counts.items():
        for name, count in by_class.items():
            if count == 0:
                raise Error(f"no image of class {name!r} in the {split} split could be decoded")
    return counts


def _duplicates(digests: Iterable[str | None]) -> int:
    seen = Counter(digest for digest in digests if digest is not None)
    return sum(count - 1 for count in seen.values())
