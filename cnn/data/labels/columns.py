"""Finds the columns of a table of labels: by the user's settings, or by their usual names."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from cnn.core.errors import InputError, Option
from cnn.core.near_misses import did_you_mean
from cnn.data.data_settings import NO_COLUMN, DataSettings

LABELS = Option("labels")
# By kind of column, patterns of its usual names in small letters, without spaces and the like. A
# name of a later pattern counts only if there is none of an earlier one, because `id` is often only
# the number of a row.
_USUAL = {
    "path": ("path|(image|img|file)(path|name)?|imageid", "id"),
    "label": ("label|class(name)?|category|target|diagnosis|emotion|dx|species|breed",),
    "group": ("(group|patient|subject)(id)?|userid",),
    "split": ("split|set|fold",),
    "weight": ("(sample)?weight",),
}


class Columns(NamedTuple):
    """The columns of a table by what they hold; `one_hot` is empty if there is a label column."""

    path: str
    label: str | None
    one_hot: tuple[str, ...]
    group: str | None
    split: str | None
    weight: str | None

    def used(self) -> list[str]:
        """All columns that are read, in the order of the fields."""
        named = [self.path, self.label, *self.one_hot, self.group, self.split, self.weight]
        return [name for name in named if name is not None]

    def settings(self) -> dict[str, str | None]:
        """The settings that name these columns."""
        found = {f"{kind}_column": getattr(self, kind) for kind in ("path", "label")}
        optional = {f"{k}_column": getattr(self, k) for k in ("group", "split", "weight")}
        return found | {key: name or NO_COLUMN for key, name in optional.items()}

    def __str__(self) -> str:
        label = self.label or f"the one-hot columns {', '.join(self.one_hot)}"
        named = {"path": self.path, "label": label, "group": self.group}
        named |= {"split": self.split, "weight": self.weight}
        return ", ".join(f"{kind} = {name}" for kind, name in named.items() if name is not None)


def choose_columns(names: Sequence[str], place: str, settings: DataSettings) -> Columns:
    """Chooses the columns of a table with these column names.

    Args:
        names: All column names of the table.
        place: The table as the user named it.
        settings: Settings that may name columns.

    Raises:
        InputError: A named column does not exist, or none or several have a usual name.
    """
    one_hot = settings.label_columns or ()
    for name in one_hot:
        _check(name, names, place, Option("label_columns"))
    # What ties images together is given in another way.
    grouped = settings.group_regex is not None or settings.group != "auto"
    return Columns(
        _required("path", names, place, settings.path_column),
        None if one_hot else _required("label", names, place, settings.label_column),
        one_hot,
        None if grouped else _optional("group", names, place, settings.group_column),
        _optional("split", names, place, settings.split_column),
        _optional("weight", names, place, settings.weight_column),
    )


def _required(kind: str, names: Sequence[str], place: str, given: str | None) -> str:
    found = _optional(kind, names, place, given)
    if found is None:
        raise InputError(
            "{} must name the column of the {}s, because no column of {} has a usual name for it; "
            "its columns are {}",
            Option(f"{kind}_column"),
            kind,
            place,
            ", ".join(names),
        )
    return found


def _optional(kind: str, names: Sequence[str], place: str, given: str | None) -> str | None:
    option = Option(f"{kind}_column")
    if given == NO_COLUMN and kind not in ("path", "label"):
        return None
    if given is not None:
        _check(given, names, place, option)
        return given
    for usual in _USUAL[kind]:
        found = [name for name in names if re.fullmatch(usual, _bare(name))]
        if len(found) > 1:
            or_none = "" if kind in ("path", "label") else f" or be {NO_COLUMN}"
            raise InputError(
                "{} must name the column of the {}s{}, because {} of {} may be it; its columns "
                "are {}",
                option,
                kind,
                or_none,
                " and ".join(found),
                place,
                ", ".join(names),
            )
        if found:
            return found[0]
    return None


def _bare(name: str) -> str:
    return re.sub(r"[ _.-]", "", name.casefold())


def _check(name: str, names: Sequence[str], place: str, option: Option) -> None:
    if name not in names:
        raise InputError(
            "{} must name a column of {}, but got {!r}{}; its columns are {}",
            option,
            place,
            name,
            did_you_mean(name, names),
            ", ".join(names),
        )
