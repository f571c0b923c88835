"""What the rows of a table of labels say, in batches of Arrow: no row becomes a Python object.

A row names a file by `key`, its path with slashes, or by `alternative`: the same without the
folder of the images in front of it, or with that of the table in front of it.
"""

import math
import os.path
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cnn.data.folders.class_names import Merge
from cnn.data.folders.folder_splits import part_named, split_word
from cnn.data.labels.columns import Columns
from cnn.data.splits import GivenPart

# The columns of `Reading.__call__`, as Spark writes them; `name` is the path as written.
SCHEMA = (
    "name string, key string, alternative string, label string, `group` string, part string, "
    "weight double, reason string"
)


def split_word_of(value: str) -> str | None:
    """The word in a value that names a part of a split, if there is one.

    >>> [split_word_of(value) for value in ("Training", " val", "test_set", "3")]
    ['training', 'val', 'test', None]
    """
    return split_word(value.strip())


class Places(NamedTuple):
    """How paths in a table relate to the images' folder.

    A path may begin with one of `prefixes`, the longest first, which lead to the images' folder.
    `inside` is where in that folder the table is: "" directly in it, None if it is outside.
    """

    prefixes: tuple[str, ...]
    inside: str | None = None


def places(images: str, table: str) -> Places:
    """How the folder of a table and the images' folder lie to each other: paths or URIs.

    >>> places("s3://b/pets/train", "s3://b/pets")
    Places(prefixes=('s3://b/pets/train/', 'b/pets/train/', 'pets/train/', 'train/'), inside=None)
    >>> places("/pets", "/pets/about").inside
    'about'
    """
    scheme, root = _parts(images)
    other, folder = _parts(table)
    names = root.strip("/").split("/")
    prefixes = {"/".join(names[start:]) for start in range(len(names))}
    prefixes |= {root, f"{scheme}://{root}"}
    inside = None
    if scheme == other:
        prefixes.add(posixpath.relpath(root, folder))
        if f"{folder}/".startswith(f"{root}/"):
            inside = folder.removeprefix(root).strip("/")
    ended = {f"{prefix}/" for prefix in prefixes - {"", "."}}
    return Places(tuple(sorted(ended, key=lambda prefix: (-len(prefix), prefix))), inside)


def _parts(place: str) -> tuple[str, str]:
    """A folder's scheme and its path, which begins with the host or bucket if there is one."""
    if "://" not in place:
        return "file", os.path.normpath(Path(place).absolute())
    scheme, _, rest = place.partition("://")
    return scheme, rest.rstrip("/")


@dataclass(frozen=True)
class Reading:
    """Reads batches of the columns `columns.used()` as batches with the columns of SCHEMA."""

    columns: Columns
    merge: Merge
    places: Places
    # All words for parts of a split in the table.
    split_words: frozenset[str] = frozenset()

    def _part(self, value: str) -> GivenPart | None:
        word = split_word_of(value)
        return None if word is None else part_named(word, self.split_words)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        values = list(map(text, batch.columns))
        name = values.pop(0)
        key = pc.replace_substring(name, "\\", "/")
        key = pc.utf8_normalize(pc.replace_substring_regex(key, r"^(\./+)+", ""), "NFC")
        if self.columns.one_hot:
            hot, values = values[: len(self.columns.one_hot)], values[len(self.columns.one_hot) :]
            label, reason = self._one_hot(hot)
        else:
            label = _mapped(values.pop(0), self.merge, pa.string())
            reason = _where(pc.is_null(label), "no label")
        nothing = pa.nulls(len(name), pa.string())
        group = values.pop(0) if self.columns.group is not None else nothing
        part, weight = nothing, pa.nulls(len(name), pa.float64())
        if self.columns.split is not None:
            none, wrong = "no part of the split", "not a part of a split ({})"
            part, why = _read(values.pop(0), self._part, pa.string(), none, wrong)
            reason = pc.coalesce(reason, why)
        if self.columns.weight is not None:
            none, wrong = "no weight", "not a weight above 0 ({})"
            weight, why = _read(values.pop(0), _weight, pa.float64(), none, wrong)
            reason = pc.coalesce(reason, why)
        return pa.RecordBatch.from_arrays(
            [name, key, self._alternative(key), label, group, part, weight, reason],
            ["name", "key", "alternative", "label", "group", "part", "weight", "reason"],
        )

    def _alternative(self, key: pa.Array) -> pa.Array:
        found = pa.nulls(len(key), pa.string())
        for prefix in self.places.prefixes:
            rest = pc.utf8_slice_codeunits(key, len(prefix))
            found = pc.coalesce(found, pc.if_else(pc.starts_with(key, prefix), rest, None))
        if self.places.inside:
            found = pc.coalesce(found, _joined(f"{self.places.inside}/", key))
        return found

    def _one_hot(self, columns: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array]:
        """The label of each row with exactly one 1 and otherwise 0, and why others have none."""
        # An empty cell means 0.
        bits = [_mapped(pc.fill_null(column, "0"), _bit, pa.int32()) for column in columns]
        names = [self.merge(name) for name in self.columns.one_hot]
        ones: Any = pa.array([0] * len(bits[0]), pa.int32())
        label = pa.nulls(len(bits[0]), pa.string())
        for bit, name in zip(bits, names, strict=True):
            ones = pc.add(ones, bit)
            label = pc.coalesce(label, _where(pc.fill_null(pc.equal(bit, 1), False), name))
        reason = pc.coalesce(
            _where(pc.is_null(ones), "its one-hot columns hold more than 0 and 1"),
            _where(
                pc.fill_null(pc.not_equal(ones, 1), False),
                "not one 1 in its one-hot columns ({})",
                pc.cast(ones, pa.string()),
            ),
        )
        return pc.if_else(pc.is_null(reason), label, None), reason


def text(column: pa.Array) -> pa.Array:
    """A column as text without spaces around it; null where there is nothing.

    Whole numbers have no decimals: a column of whole numbers with gaps is often stored as floats.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), 2.0**53))
        digits = pc.cast(pc.if_else(whole, column, 0), pa.int64())
        written = pc.cast(digits, pa.string())
        column = pc.if_else(whole, written, pc.cast(column, pa.string()))
    column = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    return pc.if_else(pc.equal(column, ""), None, column)


def _mapped(column: pa.Array, function: Callable[[str], Any], kind: pa.DataType) -> pa.Array:
    """A function of each value; it is called once for each different one, and not for null."""
    encoded = column.dictionary_encode()
    values = pa.array(map(function, encoded.dictionary.to_pylist()), kind)
    return values.take(encoded.indices)


def _read(
    column: pa.Array, function: Callable[[str], Any], kind: pa.DataType, none: str, wrong: str
) -> tuple[pa.Array, pa.Array]:
    """A function of each value, and the reasons why some have none."""
    found = _mapped(column, function, kind)
    why = pc.coalesce(_where(pc.is_null(column), none), _where(pc.is_null(found), wrong, column))
    return found, why


def _where(condition: pa.Array, reason: str, values: pa.Array | None = None) -> pa.Array:
    """The reason where a condition holds, with a value in place of {}, and null elsewhere."""
    if values is None:
        return pc.if_else(condition, pa.scalar(reason, pa.string()), None)
    before, after = reason.split("{}")
    return pc.if_else(condition, _joined(before, values, after), None)


def _joined(before: str, values: pa.Array, after: str = "") -> pa.Array:
    return pc.binary_join_element_wise(before, values, after, "")


def _bit(value: str) -> int | None:
    try:
        number = float(value)
    except ValueError:
        return {"true": 1, "false": 0}.get(value.lower())
    return int(number) if number in (0, 1) else None


def _weight(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
