"""JSON, TOML and tables of run and data directories, read as files that cannot be trusted.

Such a file may be huge, damaged, deeply nested, or not a regular file. It is refused with one line,
in bounded memory and time: the limits are checked before anything is parsed.
"""

import csv
import errno
import io
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import pyarrow as pa
from pyarrow import fs
from pydantic import BaseModel, ValidationError

from cnn.core.directory import Directory

# The limits of a JSON file; a confusion matrix of a thousand classes has a million values.
MOST_BYTES = 16 << 20
MOST_VALUES = 2_000_000
MOST_TOML_BYTES = 1 << 20
# Pydantic takes a kilobyte to describe each invalid value.
MOST_ERRORS = 1000
# Python's parser takes time and memory quadratic in the depth of a dotted key.
_MOST_DOTS = 32
_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY}[ \t]*+\.[ \t]*+){{{_MOST_DOTS}}}")

Model = TypeVar("Model", bound=BaseModel)


class Malformed(ValueError):
    """Why a document is invalid, in a few words."""

    def __init__(self, reason: str, where: str = "", value: Any = None) -> None:
        super().__init__(reason)
        # The invalid key, or "" for the whole document, and its value.
        self.where = where
        self.value = value


def read_document(directory: Directory, name: str, most: int = MOST_BYTES) -> bytes:
    """The content of a file. Raises FileNotFoundError, or Malformed if it is larger than `most`."""
    filesystem, path = directory.path(name)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if info.type != fs.FileType.File:
        # Reading a pipe may block forever.
        raise Malformed("it is not a regular file")
    # A file that grows while it is read, and a device whose size is 0, are cut off.
    with filesystem.open_input_stream(path) as stream:
        content = bytes(stream.read(most + 1)) if info.size <= most else b""
    if info.size > most or len(content) > most:
        raise Malformed(f"it is larger than {most >> 20} MiB")
    return content


def read_json(directory: Directory, name: str) -> Any:
    """The value in a JSON file. Raises FileNotFoundError and Malformed."""
    content = read_document(directory, name)
    if content.count(b",") >= MOST_VALUES:
        raise Malformed(f"it has more than {MOST_VALUES:,} values")
    return _parsed(json.loads, content)


def read_model(kind: type[Model], directory: Directory, name: str) -> Model:
    """A JSON file, validated as a Pydantic model. Raises FileNotFoundError and Malformed."""
    tree = read_json(directory, name)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        if error.error_count() > MOST_ERRORS:
            raise Malformed(f"{error.error_count():,} of its values are wrong") from None
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Malformed(first["msg"], where, first["input"]) from None


def read_table(
    directory: Directory, name: str, schema: pa.Schema, *, most_rows: int, most_bytes: int
) -> pa.Table:
    """The schema's columns of a Parquet file.

    `most_bytes` limits both the file and its content without compression. Raises
    FileNotFoundError, Malformed, and what Arrow raises for a damaged file (OSError, ValueError or
    pa.ArrowException).
    """
    # Slow to import, and a job's --help imports this module.
    import pyarrow.parquet as pq

    source = pq.ParquetFile(pa.BufferReader(read_document(directory, name, most_bytes)))
    missing = [name for name in schema.names if name not in source.schema_arrow.names]
    if missing:
        raise Malformed(f"it has no column {missing[0]}")
    about = source.metadata
    if about.num_rows > most_rows:
        raise Malformed(f"it has {about.num_rows} rows, more than {most_rows}")
    if sum(about.row_group(g).total_byte_size for g in range(about.num_row_groups)) > most_bytes:
        raise Malformed(f"it has more than {most_bytes} bytes")
    return source.read(schema.names).cast(schema)


def write_csv(
    directory: Directory, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Writes a header and rows of text as a CSV file; the text may contain anything."""
    import pyarrow.csv

    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    table = pa.table([pa.array(column, pa.string()) for column in columns], list(header))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    directory.write(name, sink.getvalue().to_pybytes())


def read_csv(directory: Directory, name: str) -> list[list[str]]:
    """The rows that `write_csv` wrote, without the header; none if there is no such file."""
    try:
        text = directory.read(name).decode()
    except FileNotFoundError:
        return []
    return list(csv.reader(io.StringIO(text, newline="")))[1:]


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML. Raises Malformed."""
    if len(text) > MOST_TOML_BYTES:
        raise Malformed(f"it is larger than {MOST_TOML_BYTES >> 20} MiB")
    if _DEEP_KEY.search(text):
        raise Malformed(f"it has a key of more than {_MOST_DOTS} parts")
    table: dict[str, Any] = _parsed(tomllib.loads, text)
    return table


def _parsed(parse: Callable[[Any], Any], content: str | bytes) -> Any:
    try:
        return parse(content)
    except RecursionError:
        raise Malformed("its values are nested too deeply") from None
    except ValueError as error:
        # The parser's own error, or that of int() for a number with thousands of digits.
        raise Malformed(str(error)) from None
