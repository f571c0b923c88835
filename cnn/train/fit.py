"""The training loop, with its early stopping. It knows nothing of Spark or Hyperopt."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnn.rundir.trials import EpochResult, Key
from cnn.settings.schema import Objective
from cnn.train.fit_parts import TrainingPart, TrainingParts
from cnn.train.scores import Evaluation


class Diverged(Exception):
    """The loss is not finite."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"the loss was not finite in epoch {epoch}")


@dataclass(frozen=True)
class Progress:
    """How far a training is after a whole epoch; with the model's state it can continue."""

    epochs: tuple[EpochResult, ...] = ()
    # By the objective on the validation images; the last epoch if there are none.
    best_epoch: int = 0
    best: Evaluation | None = None
    best_weights: Sequence[np.ndarray] | None = None
    # The last rung that was reached, and the best result until then.
    last_rung: tuple[int, Key] | None = None

    def best_key(self, objective: Objective) -> Key:
        """The rank of the best epoch; last if there is none."""
        return self.best.key(objective) if self.best else (math.inf, math.inf)

    def stale_epochs(self) -> int:
        """The number of epochs since the best one."""
        return len(self.epochs) - self.best_epoch

    def after(
        self,
        result: EpochResult,
        found: Evaluation | None,
        objective: Objective,
        weights: Callable[[], Sequence[np.ndarray]],
    ) -> "Progress":
        """The progress after one more epoch, with its weights if it is the best."""
        epochs = (*self.epochs, result)
        if found is not None and found.key(objective) >= self.best_key(objective) and self.best:
            return dataclasses.replace(self, epochs=epochs)
        kept = weights() if found else None
        return dataclasses.replace(
            self, epochs=epochs, best_epoch=result.epoch, best=found, best_weights=kept
        )


@dataclass(frozen=True)
class Fit:
    """The result of a training. The model holds the weights of the best epoch."""

    epochs: tuple[EpochResult, ...]
    # 0 if the training was stopped before the first epoch was done.
    best_epoch: int
    best: Evaluation | None
    # The rung at which the training was stopped; None if it was not.
    stopped_at: int | None = None
    # Seconds of the first step, in which the framework compiles; None if there was no step.
    first_step: float | None = None


@dataclass(frozen=True)
class Cooldown:
    """A learning rate that falls linearly to zero over the last `share` of all steps.

    At a constant learning rate the weights fluctuate around a minimum, so the quality of the last
    epoch is random. Without validation images to choose the best epoch, a cooldown ends the
    training closer to the minimum (Hägele et al., 2024, arXiv:2405.18392).
    """

    learning_rate: float
    # Greater than 0 and at most 1.
    share: float

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of `steps`."""
        return self.learning_rate * min(1.0, (steps - step) / steps / self.share)


def fit(
    parts: Sequence[TrainingPart],
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
    """Trains compiled networks and leaves the weights of the best epoch in them.

    The best epoch is chosen by `objective` on the validation images; without validation images it
    is the last epoch.

    Args:
        parts: The networks with their images.
        classes: The number of classes.
        batch_size: The number of images in a batch.
        epochs: The largest number of epochs, including those before `start`.
        seed: Determines the order of the images and their changes.
        objective: What epochs are ranked by.
        augment: Whether training images are changed, differently in each epoch
            (`cnn.train.augmentation`).
        patience: After this many epochs without improvement the training ends.
        cooldown: Lowers the learning rate at the end of a training that does not stop early;
            afterwards the optimizer has its original learning rate again.
        rungs: When the training may be stopped, in epochs or parts of one, ascending.
        go_on: Called with a rung's index and the best result so far when the rung is reached, and
            with the same values again before each later epoch; the training stops on False.
        start: Where to continue; the networks must have the state of that moment.
        on_step: Called after each step with the epochs done, such as 2.4.
        on_epoch: Called after each epoch.
        on_end: Called before the best weights replace the last ones.

    Raises:
        Diverged: The loss is not finite.
    """
    together = TrainingParts(parts, batch_size, classes, seed, augment)
    steps = together.steps
    # The number of steps since the start of the training -> the rung that is reached then.
    due = {max(1, math.ceil(rung * steps)): number for number, rung in enumerate(rungs)}
    progress = start or Progress()
    rate = None if cooldown is None else partial(cooldown.rate, steps=epochs * steps)
    stopped_at, first_step = None, None
    while len(progress.epochs) < epochs:
        if patience is not None and progress.stale_epochs() >= patience:
            break
        if progress.last_rung and not go_on(*progress.last_rung):
            stopped_at = progress.last_rung[0]
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
            reached = due[step], min(progress.best_key(objective), found.key(objective))
            if not go_on(*reached):
                best = progress.best or found
                return Fit(progress.epochs, progress.best_epoch, best, reached[0], first_step)
            progress = dataclasses.replace(progress, last_rung=reached)
        loss, accuracy = (float(total / sums[2]) for total in sums[:2])
        last = together.evaluate()
        result = _epoch_result(epoch, loss, accuracy, last, time.monotonic() - started)
        progress = progress.after(result, last, objective, together.weights)
        if after in due and last is not None:
            reached = due[after], progress.best_key(objective)
            progress = dataclasses.replace(progress, last_rung=reached)
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
