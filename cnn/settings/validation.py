"""Frozen models of settings, and errors in their values as one line."""

import re
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.core.documents import MOST_ERRORS
from cnn.core.errors import InputError, Option
from cnn.core.near_misses import keys_at, unknown_key


def as_tuple(value: Any) -> Any:
    """A list as a tuple, which is immutable; any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


# Larger than any sensible value, and small enough for TOML and TensorFlow.
MOST = 2**31 - 1


PositiveInt = Annotated[int, Field(ge=1, le=MOST)]


class Frozen(BaseModel):
    """A model of settings, which cannot change and has no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


# What a message calls a key of a model: the key itself, or the option that sets it.
NameOf = Callable[[str], str | Option]


def validate(kind: type[Model], tree: Any, name: NameOf = str) -> Model:
    """Validates `tree` as a model. Raises InputError, in which `name` gives the name of a key."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise explain(error, kind, name) from None


_MOST_SHOWN = 200


def shown(value: Any) -> str:
    """A value's representation, cut to fit in a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # A whole number with more digits than Python converts, or lists nested too deeply.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def explain(error: ValidationError, kind: type[BaseModel], name: NameOf = str) -> InputError:
    """The first error in one line: the name of the key, the rule and the value.

    `kind` is the model that was validated; `name` gives the name of a key.
    """
    if error.error_count() > MOST_ERRORS:
        return InputError(f"all values must be valid, but {error.error_count():,} are not")
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        # Pydantic names the branch of a union that it tried, which the user has not written.
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
    if first["type"] == "model_type":
        # A table as a whole has no key of its own: "search." becomes "search".
        table = str(name(path)).rstrip(".")
        return InputError(f"{table} must be a table, but got {shown(first['input'])}")
    rule = first["msg"].replace("Input should be", "must be").replace("Value should", "must")
    # Pydantic's words for a programmer: "a valid boolean, unable to interpret input".
    rule = re.sub(r", unable to .*", "", rule).replace("a valid boolean", "true or false")
    rule = f"{rule[0].lower()}{rule[1:]}"
    return InputError("{} {}, but got {}", where, rule, shown(first["input"]))
