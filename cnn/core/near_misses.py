"""What a name that does not exist was meant to be: the nearest one, and all that there are."""

import difflib
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

# What people call the network's parameters, where no letters give the name away.
_ALSO_CALLED = {
    "bn": "batch_norm",
    "bs": "batch_size",
    "depth": "conv_layers",
    "lr": "learning_rate",
    "width": "filters",
}


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """The nearest name as the end of a complaint, or nothing where none is near."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    meant = _ALSO_CALLED.get(key)
    if meant in names:
        near = [str(meant)]
    return f"; did you mean {near[0]}?" if near else ""


def unknown_key(path: str, key: str, known: Iterable[str], elsewhere: Sequence[str] = ()) -> str:
    """Says that no setting has this name; `elsewhere` are those that have it in other tables."""
    names = list(known)
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(key, names)
    there = f"There are {', '.join(names)}"
    return f"{path} must be a known setting, but got {key!r}{_then(hint, there)}"


def unknown_parameter(path: str, key: str, known: Iterable[str], of: str = "the network") -> str:
    """Says that there is no parameter of this name."""
    names = list(known)
    has = f"It has {', '.join(names)}"
    complaint = f"{path} must be a parameter of {of}, but got {key!r}"
    return complaint + _then(did_you_mean(key, names), has)


def _then(hint: str, names: str) -> str:
    return f"{hint} {names}" if hint else f"; {names[0].lower()}{names[1:]}"


def keys_at(kind: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys of the table in which a key stands, `place` being the way to it in a `kind`."""
    for part in place[:-1]:
        field = kind.model_fields.get(str(part))
        kind = (_table(field.annotation) if field else None) or kind
    return list(kind.model_fields)


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation holds, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = map(_table, typing.get_args(annotation))
    return next((kind for kind in found if kind is not None), None)
