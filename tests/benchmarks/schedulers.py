"""Schedulers: which trials go on, asked as trials go. Ours and those that it is compared with.

All are asked in the same way (`Scheduler`), so that `halving.py` can show them the same trainings.
Where a paper leaves something open, a scheduler has what suits it best.
"""

import itertools
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import nnls

from cnn.core.directory import Directory
from cnn.rundir.trials import Key, scalar_objective
from cnn.train.halving import Rungs


class Seen(NamedTuple):
    """A look at a trial that still runs."""

    number: int
    # Epochs done, such as 0.333 or 4.
    epoch: float
    # Its result now, and its best one so far; smaller is better.
    key: Key
    best: Key


class Scheduler:
    """No early stopping; the base of the others."""

    def go_on(self, seen: Seen) -> bool:
        """Whether the trial keeps its slot. One that does not is paused, if not for good."""
        return True

    def promote(self, idle: bool) -> int | None:
        """A paused trial that a free slot continues, before any new trial.

        `idle` says that no trial runs and that there are no new ones.
        """
        return None


class _AtRungs(Scheduler):
    """One that compares trials at rungs. A rung between two looks is reached at the later one."""

    def __init__(self, rungs: Sequence[float]) -> None:
        self.rungs = rungs
        self._passed: dict[int, int] = {}

    def reached(self, seen: Seen) -> int | None:
        """The rung that the trial has reached since the last look, if any."""
        # Recorded epochs are rounded to 32 bits.
        passed = sum(rung <= seen.epoch + 1e-6 for rung in self.rungs)
        before, self._passed[seen.number] = self._passed.get(seen.number, 0), passed
        return passed - 1 if passed > before else None


class Ours(_AtRungs):
    """Stopping at rungs, as `cnn.train.fit.fit` asks: at a rung, and after each epoch again."""

    def __init__(self, rungs: Sequence[float], eta: int) -> None:
        super().__init__(rungs)
        # Removed together with this object.
        self._folder = TemporaryDirectory()
        self._board = Rungs(Directory(self._folder.name), "search", eta)
        self._last: dict[int, tuple[int, Key]] = {}

    def go_on(self, seen: Seen) -> bool:
        rung = self.reached(seen)
        if rung is not None:
            self._last[seen.number] = rung, seen.best
        if seen.number not in self._last:
            return True
        rung, then = self._last[seen.number]
        return self._board.report(rung, seen.number, then)


class Optunas(Scheduler):
    """A pruner of Optuna, which counts whole steps of `unit` epochs. It sees losses at ties too."""

    def __init__(self, pruner: Any, unit: float) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Hyperband assigns trials to its brackets by the study's name.
        self._study = optuna.create_study(study_name="halving", pruner=pruner)
        self._unit = unit
        self._trials: dict[int, Any] = {}

    def go_on(self, seen: Seen) -> bool:
        step = int(seen.epoch / self._unit + 1e-6)
        if step < 1:
            return True
        if seen.number not in self._trials:
            self._trials[seen.number] = self._study.ask()
        trial = self._trials[seen.number]
        trial.report(scalar_objective(seen.best), step)
        return not trial.should_prune()


class KeepBest(Scheduler):
    """All trials up to a look, then the best few to the next one, and in the end to their end.

    With one look, 1 epoch and the best 3: Egele et al., Is One Epoch All You Need for
    Multi-Fidelity Hyperparameter Optimization? (arXiv:2307.15422). With several it is synchronous
    successive halving (Jamieson and Talwalkar, AISTATS 2016).
    """

    def __init__(self, *looks: tuple[float, int]) -> None:
        """`looks` are the epoch of each look and how many trials go on after it."""
        self._looks = list(looks)
        self._results: dict[int, Key] = {}
        self._chosen: list[int] = []

    def go_on(self, seen: Seen) -> bool:
        if not self._looks or seen.epoch < self._looks[0][0] - 1e-6:
            return True
        self._results[seen.number] = seen.best
        return False

    def promote(self, idle: bool) -> int | None:
        if idle and self._results:
            _, keep = self._looks.pop(0)
            self._chosen = sorted(self._results, key=self._results.__getitem__)[:keep]
            self._results = {}
        return self._chosen.pop(0) if self._chosen else None


class PowerLaw(Scheduler):
    """Stops a trial whose error, extrapolated to the last epoch, is above the best error so far.

    An error of a + b / epoch^c with a, b >= 0 is fitted to the looks of the trial, three at least:
    a and b by least squares, for some c.
    """

    def __init__(self, epochs: float) -> None:
        self._epochs = epochs
        self._errors: dict[int, list[tuple[float, float]]] = {}
        self._least = 1.0

    def go_on(self, seen: Seen) -> bool:
        errors = self._errors.setdefault(seen.number, [])
        errors.append((seen.epoch, seen.key[0]))
        self._least = min(self._least, seen.best[0])
        if len(errors) < 3:
            return True
        # The trial that is the best so far goes on, whatever the fit.
        return min(seen.best[0], extrapolated(errors, self._epochs)) <= self._least


def extrapolated(errors: Sequence[tuple[float, float]], epoch: float) -> float:
    """The error at an epoch by the best fit to (epoch, error) of earlier ones."""
    epochs, values = np.array(errors).T

    def fit(power: float) -> tuple[float, float]:
        columns = np.stack([np.ones_like(epochs), epochs**-power], axis=1)
        (floor, slope), residual = nnls(columns, values)
        return residual, float(floor + slope * epoch**-power)

    return min(fit(power) for power in (0.25, 0.5, 1.0, 2.0))[1]


class Asha(_AtRungs):
    """Promotion: a trial waits at a rung until it is among the best 1/eta of those that came there.

    Li et al., A System for Massively Parallel Hyperparameter Tuning (MLSys 2020). A trial goes on
    from its own snapshot. In the end the best trial at the highest rung is trained to its end.
    """

    def __init__(self, rungs: Sequence[float], eta: int) -> None:
        super().__init__(rungs)
        self._eta = eta
        self._results: list[dict[int, Key]] = [{} for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]
        self._winner: int | None = None
        # From so many of the rungs trials are promoted.
        self.open = len(rungs)

    def go_on(self, seen: Seen) -> bool:
        rung = self.reached(seen)
        if rung is None or seen.number == self._winner:
            return True
        self._results[rung][seen.number] = seen.best
        return False

    def promote(self, idle: bool) -> int | None:
        for rung in reversed(range(self.open)):
            for number in self._best(rung, len(self._results[rung]) // self._eta):
                if number not in self._promoted[rung]:
                    self._promoted[rung].add(number)
                    return number
        return self._last() if idle and self._winner is None else None

    def _best(self, rung: int, count: int) -> list[int]:
        results = self._results[rung]
        return sorted(results, key=results.__getitem__)[:count]

    def _last(self) -> int | None:
        """The winner, if it has not been trained to its end yet."""
        rung = max((rung for rung, found in enumerate(self._results) if found), default=None)
        if rung is None:
            return None
        (self._winner,) = self._best(rung, 1)
        return None if self._winner in self._promoted[rung] else self._winner


class Pasha(Asha):
    """Promotion up to a rung that rises only while the order of trials still changes.

    Bohdal et al., PASHA (arXiv:2207.06940), with its soft ranking: trials that differ by less than
    the noise may change places. The noise is the 90th percentile of the differences between trials
    whose curves cross more than once.
    """

    def __init__(self, rungs: Sequence[float], eta: int) -> None:
        super().__init__(rungs, eta)
        self._curves: dict[int, dict[float, float]] = {}
        self._noise = 0.0
        self.open = min(1, len(rungs))

    def go_on(self, seen: Seen) -> bool:
        self._curves.setdefault(seen.number, {})[seen.epoch] = seen.key[0]
        goes_on = super().go_on(seen)
        if not goes_on and self.open < len(self.rungs):
            top = self._results[self.open]
            if seen.number in top and not self._stable(top, self._results[self.open - 1]):
                self.open += 1
        return goes_on

    def _stable(self, top: dict[int, Key], below: dict[int, Key]) -> bool:
        """Whether the trials at the top rung are in the order of the rung below, but for noise."""
        self._noise = self._measured_noise(list(top))
        before = sorted(top, key=below.__getitem__)
        after = sorted(top, key=top.__getitem__)
        return all(
            abs(below[then][0] - below[now][0]) <= self._noise
            for then, now in zip(before, after, strict=True)
        )

    def _measured_noise(self, numbers: Sequence[int]) -> float:
        distances = []
        for one, other in itertools.combinations(numbers, 2):
            epochs = sorted(self._curves[one].keys() & self._curves[other].keys())
            apart = [self._curves[one][epoch] - self._curves[other][epoch] for epoch in epochs]
            signs = [difference > 0 for difference in apart if difference]
            if sum(left != right for left, right in itertools.pairwise(signs)) > 1:
                distances.append(abs(apart[-1]))
        return float(np.percentile(distances, 90)) if distances else self._noise
