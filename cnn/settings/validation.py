"""Frozen models of settings, and what is wrong with a value, in one line."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.core.documents import MOST_ERRORS
from cnn.core.errors import InputError, Option
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


# What a key of a model is called: its name as it stands, or the option that gives it.
Named = Callable[[str], str | Option]


def validate(kind: type[Model], tree: Any, name: Named = str) -> Model:
    """`tree` as a model; raises InputError, in which a key is called what `name` makes of it."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise explain(error, kind, name) from None


_MOST_SHOWN = 200


def shown(value: Any) -> str:
    """A value as a message has room for it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # A whole number of more digits than Python writes; lists in lists without end.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def explain(error: ValidationError, kind: type[BaseModel], name: Named = str) -> InputError:
    """The first thing wrong, in one line that names the key, the rule and the value.

    `kind` is what was to be validated; in the line a key is called what `name` makes of it.
    """
    if error.error_count() > MOST_ERRORS:
        return InputError(f"{error.error_count():,} values are wrong")
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        # Pydantic names the branch of a union that it tried; users never wrote that.
        path = re.sub(r"\.(int|float|bool|[\w-]*\[.*|constrained-\w+|function-\S+)$", "", path)
    where = name(path) if path else ""
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return InputError(unknown_key(str(where), key, keys_at(kind, first["loc"])))
    if first["type"] == "missing":
        return InputError("{} must be given", where)
    if first["type"] == "value_error":
        reason = first["ctx"]["error"]
        return InputError("{}: {}", where, reason) if where else InputError(str(reason))
    rule = first["msg"].replace("Input should be", "must be").replace("Value should", "must")
    rule = f"{rule[0].lower()}{rule[1:]}"
    return InputError("{} {}, but got {}", where, rule, shown(first["input"]))
