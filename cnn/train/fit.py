"""The training loop, with its early stopping. It knows nothing of Spark or Hyperopt."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from cnn.rundir.trials import EpochResult, Key
from cnn.settings.objective import Objective
from cnn.train.fit_parts import TrainingPart, TrainingParts
from cnn.train.objective import Measure
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
class LearningRate:
    """A learning rate that rises from 0 over the first steps and falls to 0 over the last.

    At a constant learning rate the weights fluctuate around a minimum, so the quality of the last
    epoch is random. Without validation images to choose the best epoch, a cooldown ends the
    training closer to the minimum (Hägele et al., 2024, arXiv:2405.18392). A warm-up keeps the
    first gradients of a fine-tuning, which are large, from destroying what the backbone has learnt
    (Goyal et al., 2017, arXiv:1706.02677).

    >>> rate = LearningRate(0.1, warmup=0.5, cooldown=0.25)
    >>> [round(rate.at(step, 8), 3) for step in range(8)]
    [0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.05]
    """

    base: float
    # Shares of all steps, from 0 to 1.
    warmup: float = 0.0
    cooldown: float = 0.0

    def at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0, of `steps`."""
        rising = (step + 1) / steps / self.warmup if self.warmup else 1.0
        falling = (steps - step) / steps / self.cooldown if self.cooldown else 1.0
        return self.base * min(1.0, rising, falling)


def fit(
    parts: Sequence[TrainingPart],
    *,
    classes: int,
    batch_size: int,
    epochs: int,
    seed: int,
    objective: Objective,
    measure: Measure | None = None,
    patience: int | None = None,
    learning_rate: LearningRate | None = None,
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
        seed: Determines the order of the images.
        objective: What epochs are ranked by.
        measure: How the objective is computed; it may be left out if it is none of one's own.
        patience: After this many epochs without improvement the training ends.
        learning_rate: How the learning rate changes in a training that does not stop early;
            afterwards the optimizers have its base again. By default it does not change.
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
    measure = measure or Measure.of(objective)
    together = TrainingParts(parts, batch_size, classes, seed, measure)
    steps = together.steps
    # The number of steps since the start of the training -> the rung that is reached then.
    due = {max(1, math.ceil(rung * steps)): number for number, rung in enumerate(rungs)}
    progress = start or Progress()
    rate = None if learning_rate is None else partial(learning_rate.at, steps=epochs * steps)
    stopped_at, first_step = None, None
    while len(progress.epochs) < epochs:
        if patience is not None and progress.stale_epochs() >= patience:
            break
        if progress.last_rung and not go_on(*progress.last_rung):
            stopped_at = progress.last_rung[0]
            break
        epoch, started = len(progress.epochs) + 1, time.monotonic()
        before, sums = (epoch - 1) * steps, np.zeros(3)
        after, last_step = before + steps, before
        for done, step_sums in together.epoch(epoch, rate):
            sums += step_sums
            if first_step is None:
                first_step = time.monotonic() - started
            step = before + done
            on_step(step / steps)
            passed = [due[one] for one in range(last_step + 1, step + 1) if one in due]
            last_step = step
            if not passed or step == after:
                continue
            found = together.evaluate()
            if found is None:
                continue
            if not math.isfinite(found.loss):
                raise Diverged(epoch)
            reached = passed[-1], min(progress.best_key(objective), found.key(objective))
            if not go_on(*reached):
                best = progress.best or found
                return Fit(progress.epochs, progress.best_epoch, best, reached[0], first_step)
            progress = dataclasses.replace(progress, last_rung=reached)
        loss, accuracy = (float(total / sums[2]) for total in sums[:2])
        last = together.evaluate()
        result = _epoch_result(epoch, loss, accuracy, last, time.monotonic() - started)
        progress = progress.after(result, last, objective, together.weights)
        if passed and last is not None:
            reached = passed[-1], progress.best_key(objective)
            progress = dataclasses.replace(progress, last_rung=reached)
        on_epoch(progress)
        if not math.isfinite(loss) or (last and not math.isfinite(last.loss)):
            raise Diverged(epoch)
    if learning_rate is not None:
        together.set_learning_rate(learning_rate.base)
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
        val_objective=found.objective if found else None,
        seconds=round(seconds, 4),
    )
