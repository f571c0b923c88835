"""Rules for the search spaces of phases."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from cnn.core.near_misses import unknown_parameter
from cnn.settings.objective import has_own_field
from cnn.settings.params import NO_BACKBONE, ModelParams, TrainingParams, needs_backbone
from cnn.settings.validation import explain

if TYPE_CHECKING:
    from cnn.settings.schema import PhaseSettings

# What two phases must share if one trains the other's networks on, and what it may vary.
_SAME_IMAGES = ("validation_folds", "cross_validation", "train_images", "subset_seed")
_TRAINED_ON = (
    *("learning_rate", "batch_size", "augment", "label_smoothing"),
    *("dropout", "l2", "fine_tune", "backbone_rate"),
)


def check_space(phase: "PhaseSettings", kind: type[TrainingParams]) -> None:
    """Raises ValueError if a phase's space cannot be searched for configurations of `kind`."""
    for key, dimension in phase.space.items():
        if key not in kind.model_fields:
            _check_name(key, kind)
        if dimension.same_as is not None and (
            dimension.same_as not in phase.space
            or phase.space[dimension.same_as].same_as is not None
        ):
            raise ValueError(
                f"space.{key}.same_as must name a parameter of the space that has no same_as "
                f"itself, but got {dimension.same_as!r}"
            )
        if dimension.per_layer is not None:
            _check_depth(phase, key, dimension.per_layer)
        values = (
            dimension.choices
            if dimension.choices is not None
            else [v for v in (dimension.low, dimension.high) if v is not None]
        )
        for value in values:
            try:
                kind.model_validate({key: value})
            except ValidationError as error:
                raise ValueError(f"space.{explain(error, kind)}") from None
        continuous = dimension.low is not None and not dimension.integer
        if phase.strategy == "grid" and continuous and dimension.steps is None:
            raise ValueError(
                f"space.{key} must have choices or steps in a grid search, "
                "but got a continuous range"
            )


def check_start(phase: "PhaseSettings", earlier: "PhaseSettings") -> None:
    """Raises ValueError if a phase cannot continue the networks of an earlier one.

    They must be validated on images that they have not seen, and keep their layers.
    """
    for key in _SAME_IMAGES:
        own, other = getattr(phase, key), getattr(earlier, key)
        if own != other:
            raise ValueError(
                f"a phase with start = {phase.start!r} must have that phase's {key}, {other}, "
                f"because its networks have seen the other images, but got {own}"
            )
    if not has_own_field(phase.objective) and phase.objective != earlier.objective:
        raise ValueError(
            f"a phase with start = {phase.start!r} must have that phase's objective, "
            f"{earlier.objective}, because their trials are compared, but got {phase.objective}"
        )
    for key in phase.space:
        if key not in _TRAINED_ON:
            raise ValueError(
                f"a phase with start must not vary the network, but its space has {key}; "
                f"allowed: {', '.join(_TRAINED_ON)}"
            )


def check_without_backbone(phase: "PhaseSettings") -> None:
    """Raises ValueError if the space of a phase without a backbone has parameters of one."""
    for key in phase.space:
        if needs_backbone(key):
            raise ValueError(
                f'space.{key} must be used with a backbone, but space.backbone is "{NO_BACKBONE}"'
            )


def _check_name(key: str, kind: type[TrainingParams]) -> None:
    if kind is ModelParams:
        raise ValueError(unknown_parameter(f"space.{key}", key, ModelParams().model_dump()))
    if hasattr(TrainingParams, key):
        raise ValueError(
            f"space.{key} must have another name, because params.{key} is a method of every "
            f"configuration, but got {key!r}"
        )


def _check_depth(phase: "PhaseSettings", key: str, name: str) -> None:
    depth = phase.space.get(name)
    if depth is None and phase.origin is not None:
        return
    counts = depth is not None and depth.same_as is None and depth.per_layer is None
    if counts and depth is not None:
        values = depth.choices if depth.choices is not None else (depth.low, depth.high)
        counts = all(isinstance(value, int) and value > 0 for value in values)
    if not counts:
        raise ValueError(
            f"space.{key}.per_layer must name a parameter of the space whose values are "
            f"numbers of layers, but got {name!r}"
        )
