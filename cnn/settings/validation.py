"""Frozen models of settings, and what is wrong with a value, in one line."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.core.documents import MOST_ERRORS
from cnn.core.errors import InputError
from cnn.core.near_misses import keys_at, unknown_key


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


# More than anybody means, and no more than TOML and TensorFlow can hold.
MOST = 2**31 - 1


PositiveInt = Annotated[int, Field(ge=1, le=MOST)]


class Frozen(BaseModel):
    """Settings do not change once read, and have no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


def _as_it_is(key: str) -> str:
    return key


def validate(kind: type[Model], tree: Any, name: Callable[[str], str] = _as_it_is) -> Model:
    """`tree` as a model; raises InputError, in which a key is called what `name` makes of it."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error, kind, name)) from None


_MOST_SHOWN = 200


def shown(value: Any) -> str:
    """A value as a message has room for it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # A whole number of more digits than Python writes; lists in lists without end.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def explain(
    error: ValidationError,
    kind: type[BaseModel],
    name: Callable[[str], str] = _as_it_is,
) -> str:
    """The first thing wrong, as one line that names the key, the rule and the value.

    `kind` is what was to be validated; in the line a key is called what `name` makes of it.
    """
    if error.error_count() > MOST_ERRORS:
        return f"{error.error_count():,} values are wrong"
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        # Pydantic names the branch of a union that it tried; users never wrote that.
        path = re.sub(r"\.(int|float|bool|[\w-]*\[.*|constrained-\w+|function-\S+)$", "", path)
    where = name(path) if path else ""
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return unknown_key(where, key, keys_at(kind, first["loc"]))
    if first["type"] == "missing":
        return f"{where} must be given"
    message = first["msg"]
    if first["type"] == "value_error":
        return f"{where}: {first['ctx']['error']}" if where else str(first["ctx"]["error"])
    rule = message.replace("Input should be", "must be").replace("Value should", "must")
    return f"{where} {rule[0].lower()}{rule[1:]}, but got {shown(first['input'])}"
