"""The parts of a result that describe the winner's training and its network."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from cnn.data.manifest import Count
from cnn.rundir.trials import EpochResult
from cnn.settings.validation import Frozen, PositiveInt

Share = Annotated[float, Field(ge=0, le=1)]


class Attempt(Frozen):
    """One training of the winner; accepted unless it fell far below its trial."""

    seed: Count
    accuracy: Share
    accepted: bool


class FinalTraining(Frozen):
    """The final training of the winner: its images, length and attempts."""

    data: Literal["train", "all"]
    best_epoch: Count
    epochs: tuple[EpochResult, ...]
    train_images: Count
    cooldown: Share
    attempts: Annotated[tuple[Attempt, ...], Field(min_length=1)]
    workers: PositiveInt
    continued: Count
    batch_size: PositiveInt
    learning_rate: FiniteFloat


class Layer(Frozen):
    """A layer of the network, with its output shape without the batch dimension."""

    name: str
    kind: str
    shape: Annotated[tuple[Count | None, ...], Field(max_length=16)]
    parameters: Count


class Agreement(Frozen):
    """How the saved network on pixels agrees with the head on features that were computed once.

    Features have the precision of the search and are stored as float16; the saved network computes
    in float32.
    """

    # Training images compared, and those with the same predicted class.
    images: PositiveInt
    same: Count
    # Of the probabilities.
    largest_difference: Share


class BackboneUsed(Frozen):
    """The winner's backbone."""

    name: str
    sha256: str
    side: PositiveInt | None
    features: PositiveInt
    parameters: Count
    # The layers of it that were trained on; none if it stayed frozen.
    trained_layers: tuple[str, ...]
    # None if it was fine-tuned.
    agreement: Agreement | None
