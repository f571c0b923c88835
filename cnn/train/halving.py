"""Early stopping across trials: asynchronous successive halving, the stopping variant.

At each rung a trial goes on only if its result so far is in the best 1/eta of all that have reached
that rung. Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020), pause
trials and promote the best of them; to stop the others and let the best run on, as here, needs no
checkpoints. Its price is that the first to reach a rung have nobody to be compared with; therefore
a trial is judged by its last rung again after each epoch, when others have come there too. Trials
tell each other through the run directory, by the names of empty files.
"""

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from cnn.core.directory import Directory
from cnn.rundir.trials import Key, TrialResult, scalar_objective, trial_key
from cnn.settings.schema import Objective

RUNGS = "rungs"
_ENTRY = re.compile(r"(\d{5,})_([\d.e+-]+|inf)_([\d.e+-]+|inf)")
# More than any loss of a trial that ran to its end, for a proposer that ranks by one number.
_BEHIND = 1e6
_MOST_RUNGS = 64


def rung_epochs(epochs: float, grace_epochs: float, eta: int) -> tuple[float, ...]:
    """After how many epochs (or parts of one) trials are compared: below `epochs`, ascending."""
    rungs = []
    rung = grace_epochs
    while rung < epochs:
        rungs.append(rung)
        rung *= eta
    return tuple(rungs)


def goes_on(own: Key, others: Iterable[Key], eta: int) -> bool:
    """Whether a result is in the best 1/eta of those that reached its rung, itself included.

    The best so far goes on even among fewer than `eta`: the first to arrive have nobody to be
    compared with. Smaller keys are better; equals go on together.
    """
    others = list(others)
    better = sum(other < own for other in others)
    return better < max(1, (len(others) + 1) // eta)


@dataclass(frozen=True)
class Rungs:
    """Where the trials of one phase leave what they had reached at each rung."""

    run: Directory
    phase: str
    eta: int

    def report(self, rung: int, number: int, key: Key) -> bool:
        """Tells the others what trial `number` has at `rung`; returns whether it goes on.

        It is told before the others are read, so of two at the same time at least one sees both.
        Told in full precision: a rounded result would not tie with one that is equal. Where the
        storage fails it goes on: not to be compared costs epochs, to fail would cost the trial.
        """
        folder = f"{RUNGS}/{self.phase}/{rung}"
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
                # A name that nobody here has written may look like a number and be none.
                with contextlib.suppress(ValueError):
                    yield float(entry[2]), float(entry[3])


def ranking_loss(objective: Objective, trial: TrialResult) -> float | None:
    """The loss by which a proposer ranks a trial: a pruned one behind all that got further.

    None where there is nothing to rank by: such a trial comes last.
    """
    if trial.status not in {"ok", "pruned"}:
        return None
    loss = scalar_objective(trial_key(objective, trial))
    if trial.status == "ok":
        return loss
    assert trial.rung is not None
    return _BEHIND * (_MOST_RUNGS - trial.rung) + min(loss, _BEHIND / 2)
