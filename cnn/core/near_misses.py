"""Suggestions for a name that does not exist: the most similar one, and all known ones."""

import difflib
import typing
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

# Other common names of the network's parameters, whose spelling is not similar.
_ALSO_CALLED = {
    "bn": "batch_norm",
    "bs": "batch_size",
    "depth": "conv_layers",
    "lr": "learning_rate",
    "width": "filters",
}


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """The most similar name as the end of a message, or "" if none is similar."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1)
    meant = _ALSO_CALLED.get(key)
    if meant in names:
        near = [str(meant)]
    return f"; did you mean {near[0]}?" if near else ""


def unknown_key(path: str, key: str, known: Iterable[str], elsewhere: Sequence[str] = ()) -> str:
    """The message for an unknown setting; `elsewhere` are settings of this name in other tables."""
    names = list(known)
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(key, names)
    listed = f"The settings are {', '.join(names)}"
    return f"{path} must be a known setting, but got {key!r}{_then(hint, listed)}"


def unknown_parameter(path: str, key: str, known: Iterable[str], of: str = "the network") -> str:
    """The message for an unknown parameter."""
    names = list(known)
    listed = f"The parameters are {', '.join(names)}"
    message = f"{path} must be a parameter of {of}, but got {key!r}"
    return message + _then(did_you_mean(key, names), listed)


def _then(hint: str, names: str) -> str:
    return f"{hint} {names}" if hint else f"; {names[0].lower()}{names[1:]}"


def keys_at(kind: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """The keys of the table that contains a key; `place` is the path of that key in a `kind`."""
    for part in place[:-1]:
        field = kind.model_fields.get(str(part))
        kind = (_table(field.annotation) if field else None) or kind
    return list(kind.model_fields)


def _table(annotation: Any) -> type[BaseModel] | None:
    """The model in an annotation, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = map(_table, typing.get_args(annotation))
    return next((kind for kind in found if kind is not None), None)
