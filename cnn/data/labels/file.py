"""Reads the files of a table of labels with Arrow: what they are, and their rows in batches."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option

# What is read of a file to find out what it is.
HEAD_BYTES = 1 << 16
_PARQUET = b"PAR1"
_SEPARATORS = ",\t;|"
_BLOCK_BYTES = 4 << 20
_BATCH_ROWS = 1 << 16


class Format(NamedTuple):
    """How a table is written: `separator` is None for Parquet; blank lines precede the header.

    `columns` are their names without spaces around them, `written` the same as they are written.
    """

    columns: tuple[str, ...]
    written: tuple[str, ...]
    separator: str | None = None
    blank_lines: int = 0


class TableFile(NamedTuple):
    """One file of a table, as a task gets it: its content if the driver has read it."""

    uri: str
    content: bytes | None = None


def info_of(file: Directory) -> fs.FileInfo:
    """The size and the time of a file."""
    filesystem, path = file.path()
    return filesystem.get_file_info(path)


def content_of(file: Directory) -> bytes:
    """The bytes of a file, compressed if it is."""
    filesystem, path = file.path()
    with filesystem.open_input_stream(path, compression=None) as stream:
        return bytes(stream.read())


def format_of(file: TableFile, place: str, option: Option) -> Format:
    """Finds out how a file is written that `option` has named as `place`.

    Raises InputError if it is no table.
    """

    with _opened(file) as stream:
        head = stream.read(HEAD_BYTES) or b""
    if head.startswith(_PARQUET):
        with _parquet(file) as source:
            names = tuple(source.schema_arrow.names)
            return checked(Format(names, names), place, option)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
        raise _no_table(option, place, "is neither")
    try:
        # The last character may be cut off.
        text = head.decode("utf-8-sig", "strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError as error:
        raise _no_table(option, place, f"is not UTF-8 ({error})") from None
    lines = text.splitlines()
    if len(head) < HEAD_BYTES and sum(map(bool, map(str.strip, lines))) < 2:
        raise InputError("{} must have a header and rows, but {} has none", option, place)
    return checked(sniffed(lines), place, option)


def sniffed(lines: Sequence[str]) -> Format:
    """The format of a table of text whose first line that is not blank is the header.

    The separator is the one with which the header has most columns.

    >>> found = sniffed(["", "user.id;image;label, or class "])
    >>> found.columns, found.separator
    (('user.id', 'image', 'label, or class'), ';')
    """
    blank = next((i for i, line in enumerate(lines) if line.strip()), 0)
    header = lines[blank] if lines else ""

    def split(separator: str) -> list[str]:
        return next(csv.reader(io.StringIO(header), delimiter=separator), [])

    best = max(_SEPARATORS, key=lambda separator: len(split(separator)))
    written = tuple(split(best))
    return Format(tuple(map(str.strip, written)), written, best, blank)


def checked(found: Format, place: str, option: Option) -> Format:
    """The format, if its columns have different names. Raises InputError."""
    for number, name in enumerate(found.columns):
        if name and name in found.columns[:number]:
            raise InputError(
                "{} must have columns of different names, but {} has two named {!r}",
                option,
                place,
                name,
            )
    return found


def batches(file: TableFile, how: Format, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The rows of a file in batches, with these columns in this order.

    The columns of a table of text are strings as written. Raises ValueError if a row is damaged.
    """
    if how.separator is None:
        with _parquet(file) as source:
            for batch in source.iter_batches(_BATCH_ROWS, columns=list(dict.fromkeys(columns))):
                yield batch.select(list(columns))
        return
    import pyarrow.csv as text

    with _opened(file) as stream:
        names = [how.written[how.columns.index(name)] for name in columns]
        reader = text.open_csv(
            stream,
            text.ReadOptions(block_size=_BLOCK_BYTES, skip_rows=how.blank_lines),
            text.ParseOptions(delimiter=how.separator, newlines_in_values=True),
            text.ConvertOptions(
                include_columns=names,
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=False,
            ),
        )
        yield from reader


def _opened(file: TableFile) -> "pa.NativeFile":
    compression = "gzip" if file.uri.endswith(".gz") else None
    if file.content is not None:
        return pa.input_stream(pa.BufferReader(file.content), compression=compression)
    filesystem, path = Directory(file.uri).path()
    return filesystem.open_input_stream(path, compression=compression)


def _parquet(file: TableFile) -> "pq.ParquetFile":  # type: ignore[name-defined] # noqa: F821
    import pyarrow.parquet as pq

    if file.content is not None:
        return pq.ParquetFile(pa.BufferReader(file.content))
    filesystem, path = Directory(file.uri).path()
    return pq.ParquetFile(path, filesystem=filesystem)


def _no_table(option: Option, place: str, what: str) -> InputError:
    return InputError(
        "{} must be a CSV or TSV file in UTF-8, or Parquet, but {} {}", option, place, what
    )
