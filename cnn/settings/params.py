"""Model parameters: one configuration of a network and its training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from cnn.settings.validation import MOST, Frozen, PositiveInt, as_tuple

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


# The backbone of a network that is trained from scratch.
NO_BACKBONE = "none"
# Parameters that exist only in some configurations: of a network from scratch, of a network on a
# backbone, and of one whose backbone is fine-tuned.
_OF_SCRATCH = ("conv_layers", "filters", "dense_units", "batch_norm", "pooling")
_OF_HEAD = ("head_units", "l2", "fine_tune")
_OF_FINE_TUNING = ("backbone_rate",)


def applies(name: str, values: Mapping[str, Any]) -> bool:
    """Whether a configuration with these values has parameter `name`.

    A value that is not known yet counts as its default.

    >>> applies("filters", {"backbone": "none"}), applies("filters", {"backbone": "resnet50"})
    (True, False)
    """
    has_backbone = values.get("backbone", NO_BACKBONE) != NO_BACKBONE
    if name in _OF_SCRATCH:
        return not has_backbone
    if name in _OF_HEAD:
        return has_backbone
    if name in _OF_FINE_TUNING:
        return has_backbone and bool(values.get("fine_tune", 0.0))
    return True


def needs_backbone(name: str) -> bool:
    """Whether only a network on a backbone has parameter `name`."""
    return name in (*_OF_HEAD, *_OF_FINE_TUNING)


class ModelParams(TrainingParams):
    """One configuration of the built-in network, `cnn.model:build`, and of its training.

    Without a backbone it is a network from scratch: convolutional layers and dense layers. With
    one it is a pretrained network and a head, which may be fine-tuned together. A configuration
    has only the parameters that apply to it (see `applies`).

    Args:
        backbone: The pretrained network: a name of keras.applications, or the path or URI of a
            .keras file; "none" for a network from scratch.
        head_units: With a backbone: width of the head's dense layer; 0 means no such layer.
        l2: With a backbone: weight of the squares of the head's kernels in the loss.
        fine_tune: With a backbone: share of its layers that are trained on; 0 keeps it frozen.
        backbone_rate: With fine-tuning: the backbone's learning rate divided by that of the head.
        label_smoothing: Share of each label that is spread evenly over all classes.
        conv_layers: Number of convolutional layers.
        filters: Filters of each convolutional layer: one number for all, or one per layer.
        dense_units: Width of the dense layer before the softmax, or of several such layers.
        dropout: Fraction of units dropped before the softmax in training; 0 means no such layer.
        batch_norm: Whether each convolutional layer has batch normalisation.
        pooling: How feature maps become a vector: all values, or the average of each map.
    """

    backbone: Annotated[str, Field(min_length=1)] = NO_BACKBONE
    head_units: Annotated[int, Field(ge=0, le=MOST)] = 0
    l2: Annotated[FiniteFloat, Field(ge=0)] = 0.0
    fine_tune: Annotated[float, Field(ge=0, le=1)] = 0.0
    backbone_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    conv_layers: Annotated[int, Field(ge=1, le=16)] = 3
    filters: Widths = 32
    dense_units: Widths = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm: bool = False
    pooling: Literal["flatten", "average"] = "flatten"

    @model_serializer(mode="wrap")
    def _as_named(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The parameters that apply, those of the network first; some only if they were given."""
        fields: dict[str, Any] = handler(self)
        last = {name: fields.pop(name) for name in TrainingParams.model_fields}
        optional = {"backbone", "label_smoothing"} - self.model_fields_set
        return {
            name: value
            for name, value in {**fields, **last}.items()
            if name not in optional and applies(name, fields)
        }

    @property
    def has_backbone(self) -> bool:
        """Whether the network has a pretrained backbone."""
        return self.backbone != NO_BACKBONE

    @property
    def regime(self) -> Literal["scratch", "frozen", "fine_tuned"]:
        """How the network is trained; rungs compare only trials of one regime and backbone."""
        if not self.has_backbone:
            return "scratch"
        return "fine_tuned" if self.fine_tune else "frozen"

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
        if self.has_backbone:
            return None
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
