"""CMA-ES without a memory: its state follows from the known trials at every proposal.

Optuna's own sampler keeps the state of CMA-ES in the trials that it proposed itself, so it learns
nothing from trials of earlier runs, and those that run at the same time it mostly wastes. This one
tells CMA-ES all trials again, in the order of their numbers, one generation after the other, and
draws the proposal from the distribution that it then has.

Imports Optuna, so only what was told to use it may import this module.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cmaes import CMA
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

Range = FloatDistribution | IntDistribution
# The first standard deviation, as a fraction of each range; CMA-ES adapts it.
_SIGMA = 1 / 4


class CmaEsSampler(BaseSampler):
    """Draws the ranges that all trials have from CMA-ES, everything else from TPE."""

    def __init__(self, seed: int) -> None:
        """`seed` is that of the one proposal that is to be drawn."""
        self._seed = seed
        self._others = TPESampler(n_startup_trials=0, seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        common = IntersectionSearchSpace().calculate(study)
        found = {n: d for n, d in common.items() if isinstance(d, Range) and not d.single()}
        # CMA-ES is about how variables vary together.
        return found if len(found) > 1 else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        told = [
            (_to_unit(search_space, known.params), known.value)
            for known in ended
            if known.value is not None
        ]
        optimizer = _told(told, len(search_space), self._seed)
        # Once it has converged, TPE goes on.
        return {} if optimizer.should_stop() else _from_unit(search_space, optimizer.ask())

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._others.sample_independent(study, trial, param_name, param_distribution)


def _told(solutions: Sequence[tuple[np.ndarray, float]], dimensions: int, seed: int) -> CMA:
    """CMA-ES in the unit cube that knows these solutions; `seed` is that of its next draw."""
    optimizer = CMA(
        mean=np.full(dimensions, 0.5),
        sigma=_SIGMA,
        bounds=np.tile([0.0, 1.0], (dimensions, 1)),
        seed=seed,
    )
    size = optimizer.population_size
    for start in range(0, len(solutions) - size + 1, size):
        optimizer.tell(list(solutions[start : start + size]))
    return optimizer


def _to_unit(space: Mapping[str, Range], params: Mapping[str, Any]) -> np.ndarray:
    return np.array([_place(distribution, params[name]) for name, distribution in space.items()])


def _from_unit(space: Mapping[str, Range], point: np.ndarray) -> dict[str, Any]:
    return {name: _value(d, place) for (name, d), place in zip(space.items(), point, strict=True)}


def _ends(distribution: Range) -> tuple[float, float]:
    """The ends of a range, on its own scale; a whole number has half a step on either side."""
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        low, high = low - 0.5, high + 0.5
    return (math.log(low), math.log(high)) if distribution.log else (low, high)


def _place(distribution: Range, value: float) -> float:
    low, high = _ends(distribution)
    return ((math.log(value) if distribution.log else value) - low) / (high - low)


def _value(distribution: Range, place: float) -> int | float:
    low, high = _ends(distribution)
    value = low + place * (high - low)
    value = math.exp(value) if distribution.log else value
    inside = min(max(value, distribution.low), distribution.high)
    return round(inside) if isinstance(distribution, IntDistribution) else inside
