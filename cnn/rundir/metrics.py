"""Scores of networks, and how sure they are."""

import math
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from cnn.data.manifest import Count
from cnn.rundir.wilson import wilson_interval
from cnn.rundir.winner_training import Share
from cnn.settings.validation import Frozen, PositiveInt


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# Values that are not finite, such as the loss of a diverged network, become None.
Score = Annotated[float | None, AfterValidator(_finite)]


class ConfidenceInterval(Frozen):
    """The 95 % confidence interval of a proportion (Wilson, JASA 1927)."""

    low: Share
    high: Share

    @classmethod
    def of(cls, share: float, count: int) -> Self:
        """The interval of an accuracy on `count` images."""
        low, high = wilson_interval(round(share * count), count)
        return cls(low=low, high=high)


class Metrics(Frozen):
    """Scores of a network, as means over images; the loss is the cross-entropy."""

    accuracy: Share
    loss: Score
    # The mean recall over the classes.
    balanced_accuracy: Score
    # The value of an objective that is none of these; higher is better.
    objective: Score = None
    # The number of images; None for a trial's own validation, because the trial's file has it.
    count: Count | None = None


class TestMetrics(Metrics):
    """The only test of the winner, on images not used for training or for any choice."""

    count: PositiveInt
    # With more than two classes, the mean of one-vs-rest; None if a class has no image.
    roc_auc: Score
    # The share of images whose class is among the five most likely; None below 20 classes.
    top5_accuracy: Share | None
    # confusion[true][predicted], in the order of the classes.
    confusion: tuple[tuple[Count, ...], ...]
    # The intervals of the accuracy and of the top-5 accuracy.
    interval: ConfidenceInterval
    top5_interval: ConfidenceInterval | None

    @model_validator(mode="after")
    def _square(self) -> Self:
        if {*map(len, self.confusion)} != {len(self.confusion)}:
            raise ValueError("confusion must have as many columns as rows")
        return self

    @property
    def correct(self) -> int:
        """The number of correctly classified images."""
        return round(self.accuracy * self.count)
