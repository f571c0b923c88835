"""JSON, TOML and tables of run and data directories, read as what a stranger may have written.

Whoever may write there may have left something huge, torn, deeply nested, or no file at all. It is
refused with one line, in bounded memory and time: the limits are checked before anything is parsed.
"""

import errno
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

# Of a JSON file; a confusion matrix of a thousand classes has a million values.
MOST_BYTES = 16 << 20
MOST_VALUES = 2_000_000
MOST_TOML_BYTES = 1 << 20
# Each wrong value costs a kilobyte when all are described.
MOST_ERRORS = 1000
# Python's reader takes time and memory by the square of how deep a dotted key goes.
_MOST_DOTS = 32
_KEY = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DEEP_KEY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY}[ \t]*+\.[ \t]*+){{{_MOST_DOTS}}}")

Model = TypeVar("Model", bound=BaseModel)


class Malformed(ValueError):
    """Why a document is not what it should be, in a few words."""

    def __init__(self, reason: str, where: str = "", value: Any = None) -> None:
        super().__init__(reason)
        # The key that is wrong, or "" where it is the whole, and what stands there.
        self.where = where
        self.value = value


def read_document(directory: Directory, name: str, most: int = MOST_BYTES) -> bytes:
    """A file's content. Raises FileNotFoundError, and Malformed where it is larger or no file."""
    filesystem, path = directory.path(name)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    if info.type != fs.FileType.File:
        # A pipe would be waited for, for ever.
        raise Malformed("it is not a regular file")
    # What grows while it is read, and a device that says it is empty, are cut off.
    with filesystem.open_input_stream(path) as stream:
        content = bytes(stream.read(most + 1)) if info.size <= most else b""
    if info.size > most or len(content) > most:
        raise Malformed(f"it is larger than {most >> 20} MiB")
    return content


def read_json(directory: Directory, name: str) -> Any:
    """A JSON file's value. Raises FileNotFoundError and Malformed."""
    content = read_document(directory, name)
    if content.count(b",") >= MOST_VALUES:
        raise Malformed(f"it holds more than {MOST_VALUES:,} values")
    return _parsed(json.loads, content)


def read_model(kind: type[Model], directory: Directory, name: str) -> Model:
    """A JSON file as a model. Raises FileNotFoundError and Malformed."""
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
    """The schema's columns of a Parquet file, within limits of rows and of bytes, packed or not.

    Raises FileNotFoundError, Malformed, and what Arrow says of a damaged file (OSError, ValueError
    or pa.ArrowException).
    """
    # Slow to import, and a job's --help imports this module.
    import pyarrow.parquet as pq

    source = pq.ParquetFile(pa.BufferReader(read_document(directory, name, most_bytes)))
    lacking = [name for name in schema.names if name not in source.schema_arrow.names]
    if lacking:
        raise Malformed(f"it has no column {lacking[0]}")
    known = source.metadata
    if known.num_rows > most_rows:
        raise Malformed(f"it has {known.num_rows} rows, more than {most_rows}")
    if sum(known.row_group(g).total_byte_size for g in range(known.num_row_groups)) > most_bytes:
        raise Malformed(f"it has more than {most_bytes} bytes")
    return source.read(schema.names).cast(schema)


def write_csv(
    directory: Directory, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    """Writes rows of text under a header as a CSV file, in which text may be anything."""
    import pyarrow.csv

    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    table = pa.table([pa.array(column, pa.string()) for column in columns], list(header))
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    directory.write(name, sink.getvalue().to_pybytes())


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as a table. Raises Malformed."""
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
        raise Malformed("its values are nested too deep") from None
    except ValueError as error:
        # The parser's own, and what Python's int says of a number with thousands of digits.
        raise Malformed(str(error)) from None
