"""Objectives that need more than a loss and accuracies: F1, area under the ROC curve, one's own.

It knows nothing of Spark or Hyperopt.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cnn.settings.objective import Objective, is_function
from cnn.train.scores import Evaluation

# Of probabilities, float64 (images, classes), and labels, int64 (images,); higher is better.
Function = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Measure:
    """How the value of an objective is computed."""

    objective: Objective
    # None if the loss and the confusion matrix are enough.
    function: Function | None = None

    @classmethod
    def of(cls, objective: Objective) -> "Measure":
        """The measure of an objective that is no function of one's own."""
        if is_function(objective):
            raise ValueError(f"{objective} must be measured by its function")
        return cls(objective, area_under_roc if objective == "val_auc" else None)

    def value(
        self,
        found: Evaluation,
        probabilities: np.ndarray | None = None,
        labels: np.ndarray | None = None,
    ) -> float | None:
        """The objective's value for some images.

        Args:
            found: What else is known of the images.
            probabilities: float (images, classes), if there is a `function`.
            labels: int (images,), if there is a `function`.

        Returns:
            None if it is not finite, or is a score that `found` has in a field of its own.
        """
        if self.objective == "val_f1":
            return macro_f1(found.confusion)
        if self.function is None or not math.isfinite(found.loss):
            return None
        # Copies, which a function may change.
        value = self.function(np.array(probabilities, np.float64), np.array(labels, np.int64))
        return finite(value)


def finite(value: float | None) -> float | None:
    """A number as a float; None if it is not finite."""
    number = math.nan if value is None else float(value)
    return number if math.isfinite(number) else None


def macro_f1(confusion: np.ndarray) -> float:
    """The mean F1 score of the classes that have images.

    F1 is the harmonic mean of precision and recall. Each class counts equally.

    >>> round(macro_f1(np.array([[2, 1, 0], [0, 4, 0], [0, 0, 0]])), 4)  # of 4 / 5 and 8 / 9
    0.8444
    """
    labelled, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    present = labelled > 0
    f1 = 2 * confusion.diagonal()[present] / (labelled + predicted)[present]
    return float(f1.mean())


def area_under_roc(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The area under the ROC curve.

    With two classes it is that of the second class, with more the mean of each class against the
    rest. Classes without images are left out.

    Args:
        probabilities: float (n, classes).
        labels: int (n,).

    Returns:
        From 0 to 1; NaN if only one class has images.

    >>> area_under_roc(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), np.array([0, 1, 1]))
    1.0
    """
    classes = probabilities.shape[1]
    areas = [
        _area(probabilities[:, kind], labels == kind)
        for kind in ([1] if classes == 2 else range(classes))
        if 0 < (labels == kind).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else math.nan


def _area(scores: np.ndarray, positive: np.ndarray) -> float:
    """The share of pairs of a positive and a negative in which the positive has the higher score.

    This is the area under the ROC curve (Hanley and McNeil, 1982); an equal pair counts half. The
    sum of the positives' ranks counts the pairs without going through them. scikit-learn has the
    same, but its import would cost the process of each trial a second or more.
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    positives, negatives = int(positive.sum()), int((~positive).sum())
    smallest = positives * (positives + 1) / 2
    return float((ranks[positive].sum() - smallest) / (positives * negatives))
