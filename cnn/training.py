"""Fit and evaluate one network on memory-mapped pixels. Knows nothing of Spark or Hyperopt."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import keras
import numpy as np

from cnn.batches import EVALUATION_BATCH, Batches, Images
from cnn.results import EpochResult, Key, objective_key
from cnn.settings import Objective


class Diverged(Exception):
    """The loss is not finite."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss was not finite in epoch {epoch}")


@dataclass(frozen=True)
class Evaluation:
    """How a model does on images it is shown once: means over them."""

    loss: float
    accuracy: float
    balanced_accuracy: float
    confusion: np.ndarray
    count: int

    @classmethod
    def of(cls, loss: float, confusion: np.ndarray) -> "Evaluation":
        """From the sum of the images' losses and their confusion matrix."""
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

    def key(self, objective: Objective) -> Key:
        return objective_key(
            objective,
            loss=self.loss,
            accuracy=self.accuracy,
            balanced_accuracy=self.balanced_accuracy,
        )


@dataclass(frozen=True)
class Progress:
    """How far a training has come after whole epochs; with the model's state it can go on."""

    epochs: tuple[EpochResult, ...] = ()
    # By the objective on the validation images; the last epoch where there are none.
    best_epoch: int = 0
    best: Evaluation | None = None
    best_weights: Sequence[np.ndarray] | None = None
    # The last rung that was reached, and the best result by then.
    told: tuple[int, Key] | None = None

    def best_key(self, objective: Objective) -> Key:
        return self.best.key(objective) if self.best else (math.inf, math.inf)

    def stale_epochs(self) -> int:
        return len(self.epochs) - self.best_epoch

    def after(
        self, result: EpochResult, found: Evaluation | None, objective: Objective, model: Any
    ) -> "Progress":
        """With one more epoch, and the model's weights where it is the best."""
        epochs = (*self.epochs, result)
        if found is not None and found.key(objective) >= self.best_key(objective) and self.best:
            return dataclasses.replace(self, epochs=epochs)
        weights = model.get_weights() if found else None
        return dataclasses.replace(
            self, epochs=epochs, best_epoch=result.epoch, best=found, best_weights=weights
        )


@dataclass(frozen=True)
class Fit:
    """What training came to. The model holds the weights of the best epoch."""

    epochs: tuple[EpochResult, ...]
    # 0 where training was stopped before an epoch was done.
    best_epoch: int
    best: Evaluation | None
    # The rung at which it was stopped, None where it went its whole way.
    stopped_at: int | None = None


class Machines(Protocol):
    """What computes: one machine, or several that each see a share of every batch."""

    # Which share is this machine's, of how many.
    share: tuple[int, int]

    def train(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        """One step. Over the images of the whole batch: sum of losses, how many right, count."""

    def evaluate(self, images: Images, classes: int) -> Evaluation: ...


class OneMachine:
    """This one, with Keras's own steps.

    Not with its `fit`: ending the pipeline that it builds took up to five seconds, measured.
    """

    share = (0, 1)

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def train(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        # Means over this batch alone: Keras forgets the ones before.
        logs = self._model.train_on_batch(*batch, return_dict=True)
        return len(batch[0]) * np.array([logs["loss"], logs["accuracy"], 1.0])

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        return evaluate(self._model, images, classes=classes)


def fit(
    model: keras.Model,
    train: Images,
    validation: Images | None,
    *,
    classes: int,
    batch_size: int,
    epochs: int,
    seed: int,
    objective: Objective,
    patience: int | None = None,
    class_weights: np.ndarray | None = None,
    rungs: Sequence[float] = (),
    go_on: Callable[[int, Key], bool] = lambda rung, key: True,
    start: Progress | None = None,
    machines: Machines | None = None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_end: Callable[[Progress], None] = lambda progress: None,
) -> Fit:
    """Trains a compiled model and leaves the best epoch's weights in it.

    Best is by `objective` on `validation`; without validation images it is the last epoch.
    Training ends early after `patience` epochs without a better one, and where `go_on` says no: it
    is asked at each of `rungs` (ascending, in epochs or parts of one) with the best result so far,
    and after each epoch again with what was told at the last of them. With `start` it goes on from
    there; the model must be in the state that it had then. `on_end` is called before the best
    weights take the place of the last ones. `machines` are this one where not given. Raises
    Diverged.
    """
    machines = machines or OneMachine(model)
    batches = Batches(
        train,
        batch_size,
        classes=classes,
        seed=seed,
        class_weights=class_weights,
        share=machines.share,
    )
    steps = len(batches)
    # Steps from the start of training -> the rung that is reached with them.
    due = {max(1, math.ceil(rung * steps)): number for number, rung in enumerate(rungs)}
    progress = start or Progress()
    stopped_at = None
    while len(progress.epochs) < epochs:
        if patience is not None and progress.stale_epochs() >= patience:
            break
        if progress.told and not go_on(*progress.told):
            stopped_at = progress.told[0]
            break
        epoch, started = len(progress.epochs) + 1, time.monotonic()
        after, sums = epoch * steps, np.zeros(3)
        for step, batch in enumerate(batches.epoch(epoch), after - steps + 1):
            sums += machines.train(batch)
            if validation is None or step not in due or step == after:
                continue
            found = machines.evaluate(validation, classes)
            if not math.isfinite(found.loss):
                raise Diverged(epoch)
            told = due[step], min(progress.best_key(objective), found.key(objective))
            if not go_on(*told):
                best = progress.best or found
                return Fit(progress.epochs, progress.best_epoch, best, told[0])
            progress = dataclasses.replace(progress, told=told)
        loss, accuracy = (float(total / sums[2]) for total in sums[:2])
        last = machines.evaluate(validation, classes) if validation else None
        result = _epoch_result(epoch, loss, accuracy, last, time.monotonic() - started)
        progress = progress.after(result, last, objective, model)
        if after in due and last is not None:
            told = due[after], progress.best_key(objective)
            progress = dataclasses.replace(progress, told=told)
        on_epoch(progress)
        if not math.isfinite(loss) or (last and not math.isfinite(last.loss)):
            raise Diverged(epoch)
    on_end(progress)
    if progress.best_weights is not None:
        model.set_weights(progress.best_weights)
    return Fit(progress.epochs, progress.best_epoch, progress.best, stopped_at)


def _epoch_result(
    epoch: int, loss: float, accuracy: float, found: Evaluation | None, seconds: float
) -> EpochResult:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return EpochResult(
        epoch=epoch,
        loss=finite(loss),
        accuracy=finite(accuracy),
        val_loss=finite(found.loss) if found else None,
        val_accuracy=found.accuracy if found else None,
        val_balanced_accuracy=found.balanced_accuracy if found else None,
        seconds=round(seconds, 4),
    )


def predict(on_batch: Callable[[np.ndarray], Any], images: Images) -> np.ndarray:
    """Probabilities, float32 (n, classes), of the images in the order of their rows.

    `on_batch` is a model's `predict_on_batch`, or what does the same.
    """
    return np.concatenate(
        [
            np.asarray(on_batch(images.pixels[images.rows[i : i + EVALUATION_BATCH]]))
            for i in range(0, len(images), EVALUATION_BATCH)
        ]
    )


def evaluate(model: keras.Model, images: Images, *, classes: int) -> Evaluation:
    """Mean cross-entropy, accuracy, mean recall of the classes, and the confusion matrix.

    The matrix is int64 (classes, classes): rows are the true labels, columns the predicted ones.
    """
    probabilities = predict(model.predict_on_batch, images)
    return Evaluation.of(*score(probabilities, images.row_labels(), classes))


def score(probabilities: np.ndarray, labels: np.ndarray, classes: int) -> tuple[float, np.ndarray]:
    """The sum of the cross-entropies, not finite where a probability is not, and the confusion."""
    likely = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    loss = float(-np.log(likely).sum()) if np.isfinite(probabilities).all() else math.nan
    return loss, confusion


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights, float32 (classes,), by which every class counts the same in the loss."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)
