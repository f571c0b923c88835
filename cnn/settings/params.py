"""Model parameters: one configuration of a network and its training."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from cnn.settings.validation import Frozen, PositiveInt, as_tuple

# One width for all layers, or a list with one width per layer.
Widths = Annotated[
    PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)],
    BeforeValidator(as_tuple),
]


class TrainingParams(Frozen):
    """The parameters of every training. Extra keys are those in [space] for a user's builder.

    Args:
        learning_rate: Of the Adam optimizer, before `final.learning_rate` changes it.
        batch_size: Images per step.
        augment: Whether training images are changed at random.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    learning_rate: Annotated[FiniteFloat, Field(gt=0)] = 0.001
    batch_size: PositiveInt = 32
    augment: bool = False

    @model_serializer(mode="wrap")
    def _as_named(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without `augment` unless the space names it."""
        fields: dict[str, Any] = handler(self)
        if "augment" not in self.model_fields_set:
            del fields["augment"]
        return fields

    if not TYPE_CHECKING:  # otherwise a type checker would accept any misspelt name

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                if name.startswith("_"):
                    raise
            known = ", ".join(self.model_dump())
            raise AttributeError(
                f"params.{name} must be named in [space], but that has {known}", name=name
            )


class ModelParams(TrainingParams):
    """One configuration of the built-in network, `cnn.model:build`, and of its training.

    Args:
        conv_layers: Number of convolutional layers.
        filters: Filters of each convolutional layer: one number for all, or one per layer.
        dense_units: Width of the dense layer before the softmax, or of several such layers.
        dropout: Fraction of units dropped before the softmax in training; 0 means no such layer.
        batch_norm: Whether each convolutional layer has batch normalisation.
        pooling: How feature maps become a vector: all values, or the average of each map.
    """

    conv_layers: Annotated[int, Field(ge=1, le=16)] = 3
    filters: Widths = 32
    dense_units: Widths = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = False
    pooling: Literal["flatten", "average"] = "flatten"

    @model_serializer(mode="wrap")
    def _as_named(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All parameters, those of the network first."""
        fields: dict[str, Any] = handler(self)
        last = {name: fields.pop(name) for name in TrainingParams.model_fields}
        return fields | last

    def layer_filters(self) -> tuple[int, ...]:
        """The number of filters of each convolutional layer, first to last."""
        if isinstance(self.filters, int):
            return (self.filters,) * self.conv_layers
        return self.filters

    def layer_units(self) -> tuple[int, ...]:
        """The width of each dense layer before the softmax."""
        return (self.dense_units,) if isinstance(self.dense_units, int) else self.dense_units

    def impossible(self, size: int) -> str | None:
        """Why `cnn.model:build` cannot build this network for `size` x `size` pixels, or None."""
        if len(self.layer_filters()) != self.conv_layers:
            return (
                f"filters must have one entry for each of {self.conv_layers} layers, "
                f"but got {len(self.layer_filters())}"
            )
        side = size
        for layer in range(1, self.conv_layers + 1):
            # An unpadded 3x3 convolution, then 2x2 max pooling.
            pooled = (side - 2) // 2
            if pooled < 1:
                return f"layer {layer} of {self.conv_layers} receives only {side}x{side} pixels"
            side = pooled
        return None
