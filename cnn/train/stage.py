"""One stage of a configuration's training: its networks, their images, and how long it takes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cnn.settings.params import ModelParams, TrainingParams

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Images
    from cnn.train.fit import LearningRate
    from cnn.train.fit_parts import TrainingPart

Regime = Literal["scratch", "frozen", "fine_tuned"]
# The images of one network: those to train on, and those to validate on, if any.
Sides = tuple["Images", "Images | None"]


def regime_of(params: TrainingParams) -> Regime:
    """How a configuration is trained; a user's own network is trained as one from scratch."""
    return params.regime if isinstance(params, ModelParams) else "scratch"


WORDS = {"scratch": "from scratch", "frozen": "on a frozen backbone", "fine_tuned": "fine-tuned"}


class Unbuildable(Exception):
    """A configuration has no network, or its network cannot be trained."""


@dataclass(frozen=True)
class Stage:
    """Networks that are ready to be trained, and for how long."""

    models: "list[keras.Model]"
    parts: "list[TrainingPart]"
    epochs: int
    batch_size: int
    patience: int | None = None
    learning_rate: "LearningRate | None" = None
    parameters: int = 0
    # For one image; None if they are unknown.
    operations: int | None = None
    precision: str = "float32"
