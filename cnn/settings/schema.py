"""Frozen, validated settings.

Imports nothing slow: the driver has its settings before Spark starts, and sends them to executors.
`cnn.settings.toml` reads them.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from cnn.settings.dimension import Dimension, Space
from cnn.settings.final import FinalSettings
from cnn.settings.objective import Cost, Objective, with_cost
from cnn.settings.params import NO_BACKBONE, ModelParams, TrainingParams
from cnn.settings.space_check import check_space, check_start, check_without_backbone
from cnn.settings.validation import MOST, Frozen, PositiveInt, as_tuple

FOLDS = 10
# The file of a run directory with its settings.
SETTINGS = "settings.toml"

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Folds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=FOLDS)], ...],
    BeforeValidator(as_tuple),
    Field(min_length=1, max_length=FOLDS - 1),
]


class ResourceProfile(Frozen):
    """The resources of each trial, if they differ from Spark's own settings."""

    cpus: PositiveInt | None = None
    gpus: Annotated[FiniteFloat, Field(gt=0)] | None = None


class ConfirmationSettings(Frozen):
    """How many of the best trials are trained again, and with how many other seeds."""

    top: PositiveInt = 3
    seeds: PositiveInt = 3
    # Only those of a saturated phase that may win, with no more trainings than that has saved.
    only_saturated: bool = False


def _confirmation(value: Any) -> Any:
    if value == "auto":
        return ConfirmationSettings(only_saturated=True)
    return None if value == "never" else value


# With fewer training images in a class, too few are left for validation. With a backbone, whose
# features are computed once, a cross-validation costs little, so it is used for larger sets too.
FEW_IMAGES = 100
FEW_IMAGES_WITH_BACKBONE = 1000
FOLDS_OF_FEW = 5

# Epochs and patience of one training.
Schedule = tuple[int, int | None]


class SearchSettings(Frozen):
    """How one phase searches. Only `timeout` applies to the whole search."""

    strategy: Literal["grid", "random", "tpe", "optuna-tpe", "optuna-gp", "cmaes"] = "tpe"
    max_trials: PositiveInt = 20
    startup_trials: PositiveInt = 8
    # Configurations to try first, before the strategy proposes any.
    points: Annotated[tuple[dict[str, Any], ...], BeforeValidator(as_tuple)] = ()
    timeout: Annotated[FiniteFloat, Field(gt=0)] | None = None
    trial_timeout: Annotated[FiniteFloat, Field(gt=0)] | None = None
    # What ends a phase early: an objective that is good enough, or this many trials in a row
    # without an improvement.
    target: FiniteFloat | None = None
    max_stalled: PositiveInt | None = None
    # Whether a phase ends once more trials would find nothing that the validation images can show.
    saturation: bool = False
    # The largest network: its parameters, and its floating-point operations for one image.
    max_parameters: PositiveInt | None = None
    max_operations: PositiveInt | None = None
    # How long the network may take for one image, in milliseconds.
    max_latency_ms: Annotated[FiniteFloat, Field(gt=0)] | None = None
    max_consecutive_failures: PositiveInt = 10
    # How often a trial is repeated if its machine was lost.
    max_lost: Annotated[int, Field(ge=0, le=MOST)] = 2
    parallelism: PositiveInt | None = None
    process: Literal["fork", "spawn"] = "fork"
    # The GPUs to use in local mode; None: all that are found.
    gpus: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] | None = None
    trials_per_gpu: PositiveInt = 1
    resource_profile: ResourceProfile | None = None
    halving: bool = False
    eta: Annotated[int, Field(ge=2, le=MOST)] = 3
    grace_epochs: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    seed: Seed = 0
    epochs: PositiveInt = 10
    patience: PositiveInt | None = None
    min_steps: Annotated[int, Field(ge=0, le=MOST)] = 0
    # With a backbone: epochs, steps and patience of the head, epochs of fine-tuning, and the first
    # fraction of these, in which the learning rate rises from 0.
    head_epochs: PositiveInt = 200
    head_steps: PositiveInt = 2000
    head_patience: PositiveInt | None = 20
    fine_tune_epochs: PositiveInt = 8
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.1
    checkpoint_seconds: Annotated[FiniteFloat, Field(ge=0)] = 30.0
    train_images: PositiveInt | None = None
    subset_seed: Seed = 0
    validation_folds: Folds = (0, 1)
    # Networks per trial, evaluated together on all images; auto: several if a class has few images.
    cross_validation: Literal["auto"] | Annotated[int, Field(ge=1, le=FOLDS)] = 1
    # Repetitions of the best trials with other seeds, before the winner is chosen.
    confirm: Annotated[ConfirmationSettings | None, BeforeValidator(_confirmation)] = None
    objective: Objective = "val_accuracy"
    # The second objective: what a network costs. None if there is only one.
    cost: Cost | None = None

    @model_validator(mode="before")
    @classmethod
    def _two_objectives(cls, values: Any) -> Any:
        return with_cost(values) if isinstance(values, dict) else values

    @property
    def confirms_always(self) -> ConfirmationSettings | None:
        """How the best trials are repeated, if that does not depend on how the phase ends."""
        return None if self.confirm is None or self.confirm.only_saturated else self.confirm

    @property
    def measures_latency(self) -> bool:
        """Whether a trial measures how long its network takes for one image."""
        return self.max_latency_ms is not None or self.cost == "latency_ms"

    @model_validator(mode="after")
    def _distinct_folds(self) -> "SearchSettings":
        if len(set(self.validation_folds)) != len(self.validation_folds):
            raise ValueError(
                f"validation_folds must be distinct, but got {list(self.validation_folds)}"
            )
        return self

    def schedule(self, images: int, batch_size: int) -> Schedule:
        """Epochs and patience of a training from scratch on `images` images.

        With few images an epoch has few steps: both are increased until there are `min_steps`.
        """
        steps = self.epochs * math.ceil(images / batch_size)
        stretch = max(1.0, self.min_steps / steps)
        patience = None if self.patience is None else math.ceil(self.patience * stretch)
        return math.ceil(self.epochs * stretch), patience

    def networks(self, smallest_class: int, few_images: int = FEW_IMAGES) -> int:
        """The number of networks of a trial.

        Args:
            smallest_class: The number of images of the smallest class.
            few_images: Below this number, "auto" means a cross-validation (`Settings.few_images`).
        """
        if self.cross_validation == "auto":
            return FOLDS_OF_FEW if smallest_class < few_images else 1
        return self.cross_validation


class PhaseSettings(SearchSettings):
    """One step of a search, with its own search settings and space."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]
    space: Space
    # The name of an earlier phase, whose best values hold for all parameters not in `space`.
    fix: str | None = None
    # The name of an earlier phase, whose best networks are trained on; it fixes parameters too.
    start: str | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "PhaseSettings":
        if self.start is not None and self.fix not in {None, self.start}:
            raise ValueError(
                f"fix must name the phase of start, {self.start!r}, or be left out, but got "
                f"{self.fix!r}"
            )
        return self

    @property
    def origin(self) -> str | None:
        """The earlier phase whose best values hold for all parameters not in `space`."""
        return self.start or self.fix

    @property
    def by_accuracy(self) -> bool:
        """Whether trials rank by their accuracy alone."""
        return self.objective == "val_accuracy" and self.cost is None

    def backbones(self) -> tuple[str, ...]:
        """The backbones that the space names, without "none"."""
        named = self.space.get("backbone")
        return tuple(name for name in (named.choices or ()) if name != NO_BACKBONE) if named else ()

    def first_rung(self, images: int, batch_size: int) -> float:
        """The number of epochs before the first rung: `grace_epochs`, and at least `min_steps`.

        With fewer steps most trials are still at chance, and a lucky one would stop all later
        trials. All trials of a phase are compared after the same number of epochs, computed for the
        largest batch size: after the same number of steps, a larger batch has seen more images.
        """
        varied = self.space.get("batch_size", Dimension(choices=(batch_size,)))
        largest = max(varied.choices or (varied.high or batch_size,))
        return max(self.grace_epochs, self.min_steps / math.ceil(images / largest))


DEFAULT_BUILDER = "cnn.model:build"
Precision = Literal["auto", "float32", "bfloat16"]


class ModelSettings(Frozen):
    """The function that builds the network, its precision, and the weights of classes."""

    builder: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] = DEFAULT_BUILDER
    class_weights: Literal["none", "balanced"] = "none"
    precision: Precision = "auto"

    @property
    def is_built_in(self) -> bool:
        """Whether `cnn.model:build` builds the network: its parameters and geometry are known."""
        return self.builder == DEFAULT_BUILDER

    @property
    def params_kind(self) -> type[TrainingParams]:
        """The class of a configuration: for a user's network only its training is known."""
        return ModelParams if self.is_built_in else TrainingParams


class FeatureSettings(Frozen):
    """The features of the images: what a frozen backbone makes of them, computed once."""

    # Changed versions of each training image, from which heads are trained if `augment` is true.
    views: Annotated[int, Field(ge=0, le=64)] = 4
    dtype: Literal["float16", "float32"] = "float16"


class CacheSettings(Frozen):
    """Where each host keeps the images' pixels as arrays, and how much it keeps."""

    # None: in the first of Spark's local directories.
    dir: Annotated[str, Field(min_length=1)] | None = None
    # In GiB; the least recently used arrays are removed beyond it, unless a process uses them.
    limit: Annotated[float, Field(gt=0)] = 100.0


class Settings(Frozen):
    """All settings that are needed to repeat a search on the same data directory."""

    phases: Annotated[tuple[PhaseSettings, ...], Field(min_length=1)]
    final: FinalSettings = FinalSettings()
    model: ModelSettings = ModelSettings()
    features: FeatureSettings = FeatureSettings()
    cache: CacheSettings = CacheSettings()

    @property
    def backbones(self) -> tuple[str, ...]:
        """All backbones that the phases name, without "none"."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.backbones()))

    @property
    def few_images(self) -> int:
        """With fewer images in a class, `cross_validation = "auto"` is a cross-validation."""
        return FEW_IMAGES_WITH_BACKBONE if self.backbones else FEW_IMAGES

    def phase(self, name: str) -> PhaseSettings:
        """The phase of that name."""
        return next(phase for phase in self.phases if phase.name == name)

    def _has_backbone(self, phase: PhaseSettings) -> bool:
        """Whether a phase has backbones, or the earlier phase whose values hold for it."""
        return bool(phase.backbones()) or (
            phase.origin is not None and self._has_backbone(self.phase(phase.origin))
        )

    @model_validator(mode="after")
    def _phases_fit_together(self) -> "Settings":
        seen: set[str] = set()
        for phase in self.phases:
            if phase.name in seen:
                raise ValueError(f"phases must have different names, but got {phase.name} twice")
            for key in ("fix", "start"):
                named = getattr(phase, key)
                if named is not None and named not in seen:
                    raise ValueError(f"{key} must name an earlier phase, but got {named!r}")
            if phase.start is not None:
                check_start(phase, self.phase(phase.start))
            if self.model.is_built_in and not self._has_backbone(phase):
                check_without_backbone(phase)
            check_space(phase, self.model.params_kind)
            seen.add(phase.name)
        if len({phase.timeout for phase in self.phases}) > 1:
            raise ValueError(
                "timeout must be set in [search], because it applies to the whole search"
            )
        return self
