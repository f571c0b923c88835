"""How well a network does on images: loss, accuracies and confusion matrix.

It knows nothing of Spark or Hyperopt.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.model.card import evaluation_batch
from cnn.rundir.trials import Key, objective_key
from cnn.settings.objective import Objective
from cnn.train.batches import Images

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on some images."""

    # The mean cross-entropy.
    loss: float
    accuracy: float
    # The mean of the classes' recalls.
    balanced_accuracy: float
    # int64 (classes, classes): rows are the true labels, columns the predicted ones.
    confusion: np.ndarray
    count: int
    # The value of an objective that is none of the scores above; None if it is not finite.
    objective: float | None = None

    @classmethod
    def of(cls, loss: float, confusion: np.ndarray) -> "Evaluation":
        """The scores from the sum of the images' losses and the confusion matrix."""
        count = int(confusion.sum())
        present = confusion.sum(axis=1) > 0
        recall = confusion.diagonal()[present] / confusion.sum(axis=1)[present]
        return cls(
            loss=loss / count,
            accuracy=float(confusion.trace() / count),
            balanced_accuracy=float(recall.mean()),
            confusion=confusion,
            count=count,
        )

    def means(self) -> dict[str, Any]:
        """The scores as fields of `cnn.rundir.result.Metrics`."""
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "balanced_accuracy": self.balanced_accuracy,
            "objective": self.objective,
            "count": self.count,
        }

    def key(self, objective: Objective) -> Key:
        """The rank by an objective; smaller is better."""
        return objective_key(
            objective,
            loss=self.loss,
            accuracy=self.accuracy,
            balanced_accuracy=self.balanced_accuracy,
            value=self.objective,
        )


def predict(on_batch: Callable[[np.ndarray], Any], images: Images, batch_size: int) -> np.ndarray:
    """The probabilities of images, float32 (n, classes), in the order of their rows.

    `on_batch` is a model's `predict_on_batch` or an equivalent.
    """
    return np.concatenate(
        [
            np.asarray(on_batch(images.inputs[images.rows[i : i + batch_size]]))
            for i in range(0, len(images), batch_size)
        ]
    )


def batch_of(model: "keras.Model") -> int:
    """The batch size for a network when nothing is trained: by what it or its backbone sees."""
    parts = (layer for layer in model.layers if hasattr(layer, "layers"))
    shapes = [model.input_shape, *(part.input_shape for part in parts)]
    return evaluation_batch(max((s[1] or 1 for s in shapes if len(s) == 4), default=1))


def score(probabilities: np.ndarray, labels: np.ndarray, classes: int) -> tuple[float, np.ndarray]:
    """The sum of the cross-entropies and the confusion matrix.

    The sum is NaN if a probability is not finite.
    """
    likely = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    loss = float(-np.log(likely).sum()) if np.isfinite(probabilities).all() else math.nan
    return loss, confusion
