"""Fit networks on memory-mapped pixels. Knows nothing of Spark or Hyperopt."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Protocol

import keras
import numpy as np

from cnn.rundir.trials import EpochResult, Key
from cnn.settings.schema import Objective
from cnn.train.augmentation import augmented
from cnn.train.batches import Batches, Images
from cnn.train.scores import Evaluation, evaluate


class Diverged(Exception):
    """The loss is not finite."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss was not finite in epoch {epoch}")


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
        self,
        result: EpochResult,
        found: Evaluation | None,
        objective: Objective,
        weights: Callable[[], Sequence[np.ndarray]],
    ) -> "Progress":
        """With one more epoch, and the weights where it is the best."""
        epochs = (*self.epochs, result)
        if found is not None and found.key(objective) >= self.best_key(objective) and self.best:
            return dataclasses.replace(self, epochs=epochs)
        kept = weights() if found else None
        return dataclasses.replace(
            self, epochs=epochs, best_epoch=result.epoch, best=found, best_weights=kept
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
    # What the first step took, in which the framework compiles; None where there was no step.
    first_step: float | None = None


@dataclass(frozen=True)
class Cooldown:
    """A learning rate that falls to nothing, linearly, over the last `share` of all steps.

    At a rate that stays as it is the weights jump about a minimum, and the last epoch is a draw.
    Where no validation images are left to pick an epoch by, this ends the training nearer to the
    minimum (Hägele et al., 2024, arXiv:2405.18392).
    """

    learning_rate: float
    # Above 0, at most 1.
    share: float

    def rate(self, step: int, steps: int) -> float:
        """Of one step, counted from 0, of so many."""
        return self.learning_rate * min(1.0, (steps - step) / steps / self.share)


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


@dataclass(frozen=True)
class Part:
    """A compiled network, the images it is trained on, and those that judge it.

    A cross-validation has one for each fold; each is trained on its own, and they are judged
    together: every image once, by the network that has not seen it.
    """

    model: keras.Model
    train: Images
    validation: Images | None
    class_weights: np.ndarray | None = None
    # This machine where not given.
    machines: Machines | None = None


class _Parts:
    """The parts of one training, step by step."""

    def __init__(
        self, parts: Sequence[Part], batch_size: int, classes: int, seed: int, augment: bool
    ) -> None:
        self._models = [part.model for part in parts]
        self._validation = [part.validation for part in parts]
        self._machines = [part.machines or OneMachine(part.model) for part in parts]
        self._classes = classes
        change = partial(augmented, seed=seed) if augment else None
        self._batches = [
            Batches(
                part.train,
                batch_size,
                classes=classes,
                seed=seed,
                class_weights=part.class_weights,
                share=machines.share,
                change=change,
            )
            for part, machines in zip(parts, self._machines, strict=True)
        ]
        # Of an epoch; folds may differ by a batch.
        self.steps = max(map(len, self._batches))

    def set_learning_rate(self, rate: float) -> None:
        for model in self._models:
            model.optimizer.learning_rate = rate

    def epoch(self, number: int, rate: Callable[[int], float] | None) -> Iterator[np.ndarray]:
        """Trains one, a step of each part at a time; gives their sums as `Machines.train` does.

        `rate` has the learning rate of a step of the whole training, counted from 0.
        """
        together = zip_longest(*(own.epoch(number) for own in self._batches))
        for step, batches in enumerate(together, (number - 1) * self.steps):
            if rate:
                self.set_learning_rate(rate(step))
            pairs = zip(self._machines, batches, strict=True)
            yield np.sum([own.train(batch) for own, batch in pairs if batch is not None], axis=0)

    def evaluate(self) -> Evaluation | None:
        """All validation images together; None where there are none."""
        found = [
            own.evaluate(images, self._classes)
            for own, images in zip(self._machines, self._validation, strict=True)
            if images is not None and len(images)
        ]
        if not found:
            return None
        confusion: np.ndarray = np.sum([one.confusion for one in found], axis=0)
        return Evaluation.of(sum(one.loss * one.count for one in found), confusion)

    def weights(self) -> list[np.ndarray]:
        return [array for model in self._models for array in model.get_weights()]

    def set_weights(self, arrays: Sequence[np.ndarray]) -> None:
        start = 0
        for model in self._models:
            end = start + len(model.weights)
            model.set_weights(arrays[start:end])
            start = end


def fit(
    parts: Sequence[Part],
    *,
    classes: int,
    batch_size: int,
    epochs: int,
    seed: int,
    objective: Objective,
    augment: bool = False,
    patience: int | None = None,
    cooldown: Cooldown | None = None,
    rungs: Sequence[float] = (),
    go_on: Callable[[int, Key], bool] = lambda rung, key: True,
    start: Progress | None = None,
    on_step: Callable[[float], None] = lambda epochs: None,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    on_end: Callable[[Progress], None] = lambda progress: None,
) -> Fit:
    """Trains compiled networks and leaves the best epoch's weights in them.

    Best is by `objective` on the validation images; without any it is the last epoch. With
    `augment` the training images are changed a little, in each epoch otherwise
    (`cnn.train.augmentation`). Training ends early after `patience` epochs without a better one,
    and where `go_on` says no: it is asked at each of `rungs` (ascending, in epochs or parts of one)
    with the best result so far, and after each epoch again with what was told at the last of them.
    With `start` it goes on from there; the networks must be in the state that they had then.
    `on_step` is told after each step how many epochs are done, as 2.4. `on_end` is called before
    the best weights take the place of the last ones. A `cooldown` is for trainings that have all
    their epochs; the learning rate is at its own value again when it has ended. Raises Diverged.
    """
    together = _Parts(parts, batch_size, classes, seed, augment)
    steps = together.steps
    # Steps from the start of training -> the rung that is reached with them.
    due = {max(1, math.ceil(rung * steps)): number for number, rung in enumerate(rungs)}
    progress = start or Progress()
    rate = None if cooldown is None else partial(cooldown.rate, steps=epochs * steps)
    stopped_at, first_step = None, None
    while len(progress.epochs) < epochs:
        if patience is not None and progress.stale_epochs() >= patience:
            break
        if progress.told and not go_on(*progress.told):
            stopped_at = progress.told[0]
            break
        epoch, started = len(progress.epochs) + 1, time.monotonic()
        after, sums = epoch * steps, np.zeros(3)
        for step, step_sums in enumerate(together.epoch(epoch, rate), after - steps + 1):
            sums += step_sums
            if first_step is None:
                first_step = time.monotonic() - started
            on_step(step / steps)
            if step not in due or step == after:
                continue
            found = together.evaluate()
            if found is None:
                continue
            if not math.isfinite(found.loss):
                raise Diverged(epoch)
            told = due[step], min(progress.best_key(objective), found.key(objective))
            if not go_on(*told):
                best = progress.best or found
                return Fit(progress.epochs, progress.best_epoch, best, told[0], first_step)
            progress = dataclasses.replace(progress, told=told)
        loss, accuracy = (float(total / sums[2]) for total in sums[:2])
        last = together.evaluate()
        result = _epoch_result(epoch, loss, accuracy, last, time.monotonic() - started)
        progress = progress.after(result, last, objective, together.weights)
        if after in due and last is not None:
            told = due[after], progress.best_key(objective)
            progress = dataclasses.replace(progress, told=told)
        on_epoch(progress)
        if not math.isfinite(loss) or (last and not math.isfinite(last.loss)):
            raise Diverged(epoch)
    if cooldown is not None:
        together.set_learning_rate(cooldown.learning_rate)
    on_end(progress)
    if progress.best_weights is not None:
        together.set_weights(progress.best_weights)
    return Fit(progress.epochs, progress.best_epoch, progress.best, stopped_at, first_step)


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


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weights, float32 (classes,), by which every class counts the same in the loss."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)
