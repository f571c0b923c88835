"""Early stopping across trials: the stopping variant of asynchronous successive halving.

At each rung a trial goes on only if its result so far is in the best 1/eta of all trials that have
reached the rung. Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020),
pause trials and promote the best of them. The stopping variant stops all others and needs no
checkpoints, but the first trials to reach a rung have no others to compare with. Therefore a trial
is compared at its last rung again after each epoch, when other trials have reached it too. Trials
publish their results in the run directory, in the names of empty files.
"""

import contextlib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cnn.core.directory import Directory
from cnn.rundir.trials import (
    MOST_SCALAR,
    Key,
    TrialResult,
    scalar_objective,
    standard_error,
    trial_key,
)
from cnn.settings.objective import Objective

RUNGS = "rungs"
_ENTRY = re.compile(r"(\d{5,})_([\d.e+-]+|inf)_([\d.e+-]+|inf)")
# Exceeds the difference of any two scalars; Hyperopt ranks trials by one number.
_BEHIND = 2 * MOST_SCALAR
_MOST_RUNGS = 64


def rung_epochs(epochs: float, grace_epochs: float, eta: int) -> tuple[float, ...]:
    """The rungs, in epochs or parts of one: grace_epochs times powers of eta, below `epochs`."""
    rungs = []
    rung = grace_epochs
    while rung < epochs:
        rungs.append(rung)
        rung *= eta
    return tuple(rungs)


def goes_on(own: Key, others: Iterable[Key], eta: int) -> bool:
    """Whether a result is in the best 1/eta of all results at its rung.

    The best result goes on even if there are fewer than `eta`. Smaller keys are better, and equal
    results go on together.

    Args:
        own: The trial's result.
        others: The other trials' results at the rung.
        eta: The fraction that goes on is 1/eta.
    """
    others = list(others)
    better = sum(other < own for other in others)
    return better < max(1, (len(others) + 1) // eta)


def frugal_key(key: Key, images: int | None, operations: int | None) -> Key:
    """The key of an accuracy, but by cost where accuracies cannot be told apart any more.

    Networks whose accuracy is within one standard error of all validation images right are equal:
    the loss would only say which of them is larger. Of these the one with the fewest operations for
    an image is the best, and one whose operations are unknown the last.

    >>> frugal_key((0.001, 0.02), images=500, operations=10**6)
    (0.0, 0.6)
    >>> frugal_key((0.01, 0.02), images=500, operations=10**6)
    (0.01, 0.02)
    """
    if not images or key[0] > standard_error(1.0, images):
        return key
    return 0.0, (math.log10(operations) / 10 if operations else math.inf)


@dataclass(frozen=True)
class Rungs:
    """The results that the trials of a phase publish at each rung."""

    run: Directory
    phase: str
    eta: int
    # Which trials of the phase are compared; all if empty.
    group: str = ""

    def report(self, rung: int, number: int, key: Key) -> bool:
        """Publishes the result `key` of trial `number` at `rung`; returns whether it goes on.

        The result is published before the others are read, so that of two simultaneous trials at
        least one sees both. It has full precision so that equal results stay equal. If the storage
        fails the trial goes on, which costs only epochs.
        """
        folder = "/".join(filter(None, (RUNGS, self.phase, self.group, str(rung))))
        try:
            self.run.write(f"{folder}/{number:05d}_{float(key[0])!r}_{float(key[1])!r}", b"")
            return goes_on(key, self._others(folder, number), self.eta)
        except OSError as error:
            print(f"not compared at rung {rung}: {error}", flush=True)
            return True

    def _others(self, folder: str, number: int) -> Iterable[Key]:
        for name in self.run.names(folder):
            entry = _ENTRY.fullmatch(name)
            if entry and int(entry[1]) != number:
                # A foreign file's name may match the pattern and still hold no number.
                with contextlib.suppress(ValueError):
                    yield float(entry[2]), float(entry[3])


def ranking_loss(objective: Objective, trial: TrialResult, *, frugal: bool = False) -> float | None:
    """The loss by which Hyperopt ranks a trial.

    A pruned trial ranks behind all trials that got further. None if the trial failed, or if its
    objective has no finite value; it comes last. `frugal` says whether of accuracies that cannot be
    told apart the cheaper is the better.
    """
    if trial.status not in {"ok", "pruned"}:
        return None
    key = trial_key(objective, trial)
    if frugal:
        key = frugal_key(key, trial.validation_images, trial.operations)
    loss = scalar_objective(key)
    if not math.isfinite(loss):
        return None
    if trial.status == "ok":
        return loss
    assert trial.rung is not None
    return _BEHIND * (_MOST_RUNGS - trial.rung) + loss
