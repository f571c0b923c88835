"""Which hyperparameters mattered in a search, and how uncertain that is.

A random forest is fitted to predict validation accuracy from the parameters of two thirds of the
trials. The importance of a parameter is half the increase in squared error on the other trials when
its values are permuted among them (Breiman, Random Forests, 2001), as a share of the variance of
all accuracies. It is half because, for additive effects, the increase is twice the parameter's own
variance (Gregorutti et al., 2017). Its uncertainty is the spread over random draws of the trials.
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
    """Importances, the largest first; `explained` is the share of variance the forests explain."""

    each: tuple[Importance, ...]
    explained: float
    trials: int

    @property
    def reliable(self) -> bool:
        """Whether the forests predict anything and an importance exceeds its spread."""
        first = self.each[0]
        return self.explained > 0 and first.mean > first.spread


def scored(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials with a finite validation accuracy."""
    return [t for t in trials if t.accuracy is not None and math.isfinite(t.accuracy)]


def importances(trials: Sequence[TrialResult], space: Space | None = None) -> Importances | None:
    """The importances; None if there are too few scored trials or nothing varies."""
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
    """For each resample: the importance of each parameter, and the share of variance explained."""
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
