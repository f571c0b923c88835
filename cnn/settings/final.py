"""How the winner is chosen among equals, trained and checked: the table [final]."""

import math
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat

from cnn.settings.params import TrainingParams
from cnn.settings.validation import Frozen, PositiveInt


class FinalSettings(Frozen):
    """How the winner is finally trained, on all training images."""

    # The trial that is trained: the best one, or the simplest of those within the margin.
    choose: Literal["best", "simplest"] = "best"
    # How much worse an objective still counts as equal; None: one standard error of the accuracy.
    margin: Annotated[FiniteFloat, Field(ge=0)] | None = None
    data: Literal["train", "all"] = "train"
    epochs: PositiveInt | None = None
    # With "all": the last fraction of the training, in which the learning rate falls to 0.
    cooldown: Annotated[float, Field(ge=0, le=1)] = 0.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05
    # Labels that are checked: of what the winner's trial held out, or by a cross-validation all.
    suspects: Literal["none", "known", "all"] = "known"
    # Networks of the Pareto front that are trained too.
    pareto: Annotated[int, Field(ge=0, le=100)] = 0
    # Executors that train it together.
    workers: PositiveInt = 1
    # The batch of all workers together: the winner's, or the winner's for each worker.
    batch: Literal["own", "times_workers"] = "own"
    # How the learning rate grows with the batch.
    learning_rate: Literal["own", "linear", "sqrt"] = "linear"

    def params(self, winner: TrainingParams) -> TrainingParams:
        """The winner's parameters with the batch size and learning rate of the final training.

        The learning rate grows in proportion to the batch (Goyal et al., 2017, arXiv:1706.02677),
        or to its square root, which the variance of the gradients suggests for Adam.
        """
        if self.workers == 1 or self.batch == "own":
            return winner
        factor = {"own": 1.0, "linear": self.workers, "sqrt": math.sqrt(self.workers)}
        changed = {
            "batch_size": winner.batch_size * self.workers,
            "learning_rate": winner.learning_rate * factor[self.learning_rate],
        }
        return winner.model_copy(update=changed)
