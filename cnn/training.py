"""Fit and evaluate one network on memory-mapped pixels. Knows nothing of Spark or Hyperopt."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import keras
import numpy as np

from cnn.results import EpochResult, Key, objective_key
from cnn.settings import Objective

_EVALUATION_BATCH = 256


class Diverged(Exception):
    """The loss is not finite."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss was not finite in epoch {epoch}")


@dataclass(frozen=True)
class Images:
    """Some rows of an array. pixels: uint8 (n, size, size, channels), labels (n,), rows (m,)."""

    pixels: np.ndarray
    labels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def row_labels(self) -> np.ndarray:
        return np.asarray(self.labels[self.rows])


class Batches(keras.utils.PyDataset):
    """Batches of a memory-mapped array, in a new uniform order each epoch, copied one at a time."""

    def __init__(
        self,
        images: Images,
        batch_size: int,
        *,
        classes: int,
        seed: int,
        class_weights: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self._images = images
        self._batch_size = batch_size
        self._one_hot = np.eye(classes, dtype=np.float32)
        self._seed = seed
        self._class_weights = class_weights
        self.start_epoch(1)

    def start_epoch(self, epoch: int) -> None:
        """Draws the order of one epoch; it depends on the seed and the epoch alone."""
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._images))
        self._order = self._images.rows[order]
        self.show(0, self.steps)

    @property
    def steps(self) -> int:
        """Batches of a whole epoch."""
        return math.ceil(len(self._images) / self._batch_size)

    def show(self, start: int, stop: int) -> None:
        """Limits the epoch to its batches from `start` to before `stop`."""
        self._start, self._stop = start, stop

    @property
    def images_shown(self) -> int:
        last = min(self._stop * self._batch_size, len(self._images))
        return last - self._start * self._batch_size

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        first = (self._start + index) * self._batch_size
        rows = self._order[first : first + self._batch_size]
        # Sorted rows read a memory-mapped file in one direction; a batch has no order.
        rows = np.sort(rows)
        labels = self._images.labels[rows]
        batch = (self._images.pixels[rows], self._one_hot[labels])
        if self._class_weights is None:
            return batch
        return (*batch, self._class_weights[labels])


@dataclass(frozen=True)
class Evaluation:
    """How a model does on images it is shown once: means over them."""

    loss: float
    accuracy: float
    balanced_accuracy: float
    confusion: np.ndarray
    count: int

    def key(self, objective: Objective) -> Key:
        return objective_key(
            objective,
            loss=self.loss,
            accuracy=self.accuracy,
            balanced_accuracy=self.balanced_accuracy,
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
    on_epoch: Callable[[EpochResult], None] = lambda epoch: None,
) -> Fit:
    """Trains a compiled model and leaves the best epoch's weights in it.

    Best is by `objective` on `validation`; without validation images it is the last epoch.
    Training ends early after `patience` epochs without a better one, and where `go_on` says no: it
    is asked at each of `rungs` (ascending, in epochs or parts of one) with the best result so far,
    and after each epoch again with what was told at the last of them.
    Raises Diverged.
    """
    batches = Batches(train, batch_size, classes=classes, seed=seed, class_weights=class_weights)
    steps = batches.steps
    # Steps from the start of training -> the rung that is reached with them.
    due = {max(1, math.ceil(rung * steps)): number for number, rung in enumerate(rungs)}
    history: list[EpochResult] = []
    best_key: Key = (math.inf, math.inf)
    best: Evaluation | None = None
    best_epoch = 0
    best_weights: list[np.ndarray] | None = None
    # The last rung that was reached, and the best result by then.
    told: tuple[int, Key] | None = None
    stopped_at = None
    for epoch in range(1, epochs + 1):
        started = time.monotonic()
        batches.start_epoch(epoch)
        before, after = (epoch - 1) * steps, epoch * steps
        sums = np.zeros(2)
        for start, stop in pairwise([before, *(s for s in due if before < s < after), after]):
            sums += _train(model, batches, start - before, stop - before)
            found = evaluate(model, validation, classes=classes) if validation else None
            if found is None or stop == after:
                continue
            if not math.isfinite(found.loss):
                raise Diverged(epoch)
            told = due[stop], min(best_key, found.key(objective))
            if not go_on(*told):
                return Fit(tuple(history), best_epoch, best or found, told[0])
        loss, accuracy = sums / len(train)
        history.append(_epoch_result(epoch, loss, accuracy, found, time.monotonic() - started))
        on_epoch(history[-1])
        if not math.isfinite(loss) or (found and not math.isfinite(found.loss)):
            raise Diverged(epoch)
        if found is None:
            best_epoch = epoch
            continue
        if best_weights is None or found.key(objective) < best_key:
            best_key, best, best_epoch = found.key(objective), found, epoch
            best_weights = model.get_weights()
        elif patience is not None and epoch - best_epoch >= patience:
            break
        if after in due:
            told = due[after], best_key
        if told and epoch < epochs and not go_on(*told):
            stopped_at = told[0]
            break
    if best_weights is not None:
        model.set_weights(best_weights)
    return Fit(tuple(history), best_epoch, best, stopped_at)


def _train(model: keras.Model, batches: Batches, start: int, stop: int) -> np.ndarray:
    """Trains on some batches of an epoch; returns the sums of loss and accuracy over images."""
    batches.show(start, stop)
    logs = model.fit(batches, epochs=1, verbose=0, shuffle=False).history
    return batches.images_shown * np.array([logs["loss"][-1], logs["accuracy"][-1]])


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


def predict(model: keras.Model, images: Images) -> np.ndarray:
    """Probabilities, float32 (n, classes), of the images in the order of their rows."""
    return np.concatenate(
        [
            np.asarray(
                model.predict_on_batch(images.pixels[images.rows[i : i + _EVALUATION_BATCH]])
            )
            for i in range(0, len(images), _EVALUATION_BATCH)
        ]
    )


def evaluate(model: keras.Model, images: Images, *, classes: int) -> Evaluation:
    """Mean cross-entropy, accuracy, mean recall of the classes, and the confusion matrix.

    The matrix is int64 (classes, classes): rows are the true labels, columns the predicted ones.
    """
    probabilities = predict(model, images)
    labels = images.row_labels()
    likely = np.clip(probabilities[np.arange(len(labels)), labels], 1e-7, 1.0)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    present = confusion.sum(axis=1) > 0
    recall = confusion.diagonal()[present] / confusion.sum(axis=1)[present]
    return Evaluation(
        loss=float(-np.log(likely).mean()) if np.isfinite(probabilities).all() else math.nan,
        accuracy=float(confusion.trace() / len(labels)),
        balanced_accuracy=float(recall.mean()),
        confusion=confusion,
        count=len(labels),
    )


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights, float32 (classes,), by which every class counts the same in the loss."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)
