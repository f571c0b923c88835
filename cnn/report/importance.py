"""Which hyperparameters mattered in a search, and how unsure that is.

A random forest learns validation accuracy from the parameters of two thirds of the trials. A
parameter's importance is half of what its squared error on the others grows by when that
parameter's values are shuffled among them (Breiman, Random Forests, 2001), as a share of the
variance of all trials' accuracies: half, since where effects add up the growth is twice the
parameter's own variance (Gregorutti et al., 2017). Its uncertainty is the spread over draws of
those two thirds.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnn.report.axes import Axis, axis, varied
from cnn.rundir.trials import TrialResult
from cnn.settings.dimension import Space

FEWEST = 8
_RESAMPLES = 10
_TREES = 25
_SHUFFLES = 3


@dataclass(frozen=True)
class Importance:
    name: str
    mean: float
    spread: float


@dataclass(frozen=True)
class Importances:
    """Most important first. `explained` is the share of the variance that forests foresee."""

    each: tuple[Importance, ...]
    explained: float
    trials: int

    @property
    def reliable(self) -> bool:
        """Whether the forests foresee anything, and one parameter stands out from its spread."""
        first = self.each[0]
        return self.explained > 0 and first.mean > first.spread


def scored(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Those with a validation accuracy that is a number."""
    return [t for t in trials if t.accuracy is not None and math.isfinite(t.accuracy)]


def importances(trials: Sequence[TrialResult], space: Space | None = None) -> Importances | None:
    """None where there are too few scored trials, or all have the same parameters or accuracy."""
    known = scored(trials)
    names = varied(known)
    accuracies = np.array([trial.accuracy for trial in known], dtype=np.float64)
    if len(known) < FEWEST or not names or np.ptp(accuracies) == 0:
        return None
    axes = [axis(name, known, space) for name in names]
    drops, explained = _resampled(axes, accuracies)
    each = [
        Importance(name, float(column.mean()), float(column.std(ddof=1)))
        for name, column in zip(names, drops.T, strict=True)
    ]
    each.sort(key=lambda importance: (-importance.mean, importance.name))
    return Importances(tuple(each), statistics.fmean(explained), len(known))


def _resampled(axes: Sequence[Axis], accuracies: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Of each resample: every parameter's importance, and the share of the variance foreseen."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    encoded = np.array([axis.values for axis in axes]).T
    variance = float(accuracies.var())
    random = np.random.default_rng(0)
    drops, explained = [], []
    for resample in range(_RESAMPLES):
        order = random.permutation(len(accuracies))
        held_out, seen = np.split(order, [max(2, len(order) // 3)])
        forest = RandomForestRegressor(_TREES, random_state=resample)
        forest.fit(encoded[seen], accuracies[seen])
        error = float(np.mean((forest.predict(encoded[held_out]) - accuracies[held_out]) ** 2))
        found = permutation_importance(
            forest,
            encoded[held_out],
            accuracies[held_out],
            scoring="neg_mean_squared_error",
            n_repeats=_SHUFFLES,
            random_state=resample,
        )
        drops.append(found.importances_mean / (2 * variance))
        explained.append(1 - error / variance)
    return np.array(drops), explained
