"""One dimension of a search space: the values that a parameter may have."""

from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from cnn.settings.validation import MOST, Frozen


class Dimension(Frozen):
    """The values of one parameter: choices, a range, or the value of another parameter."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    low: FiniteFloat | int | None = None
    high: FiniteFloat | int | None = None
    log: bool = False
    steps: Annotated[int, Field(ge=2, le=MOST)] | None = None
    same_as: str | None = None
    # The parameter whose value is the number of values of this one, each drawn independently.
    per_layer: str | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Dimension":
        ranged = self.low is not None and self.high is not None
        half = (self.low is None) != (self.high is None)
        if half or sum([self.choices is not None, ranged, self.same_as is not None]) != 1:
            raise ValueError("must have either choices, or low and high, or same_as")
        if ranged:
            assert self.low is not None
            assert self.high is not None
            if self.low >= self.high:
                raise ValueError(f"low must be below high, but got {self.low} and {self.high}")
            if self.log and self.low <= 0:
                raise ValueError(f"low must be above 0 if log = true, but got {self.low}")
        elif self.log or self.steps:
            raise ValueError("log and steps must be used with a range of low and high")
        choices = self.choices or ()
        if any(choice in choices[:place] for place, choice in enumerate(choices)):
            raise ValueError(f"choices must be distinct, but got {list(choices)}")
        if self.per_layer is not None and self.same_as is not None:
            raise ValueError("per_layer must be used with choices or a range, not with same_as")
        return self

    @property
    def integer(self) -> bool:
        """Whether this is a range between whole numbers, which contains only whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_serializer(mode="wrap")
    def _as_written(self, handler: SerializerFunctionWrapHandler) -> Any:
        """The dimension as a person would write it: a plain value, or a table of what was given."""
        fields = handler(self)
        plain = self.fixed and self.per_layer is None
        if plain and not isinstance(fields["choices"][0], dict):
            return fields["choices"][0]
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        return {name: value for name, value in fields.items() if value != defaults.get(name)}

    @property
    def fixed(self) -> bool:
        """Whether the parameter has only one value."""
        return self.choices is not None and len(self.choices) == 1


def _as_dimension(value: Any) -> Any:
    """Makes a plain value in a space a parameter that does not vary."""
    return value if isinstance(value, dict | Dimension) else {"choices": [value]}


Space = dict[str, Annotated[Dimension, BeforeValidator(_as_dimension)]]
