"""Search spaces and strategies: settings -> Hyperopt's expressions and algorithms."""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hyperopt import base, hp, rand, tpe
from pydantic import ValidationError

from cnn.seeds import derive_seed
from cnn.settings import Dimension, InputError, ModelParams, PhaseSettings, explain

Point = Mapping[str, Any]
# Hyperopt's interface: (new ids, domain, trials, seed) -> trial documents, none when exhausted.
Suggest = Callable[[list[int], base.Domain, base.Trials, int], list[dict[str, Any]]]

# How many draws show that a space holds nothing that can be built.
_PROBES = 1000


class SearchSpace:
    """One phase's space: what varies, as Hyperopt sees it, and what a drawn point means."""

    def __init__(self, phase: PhaseSettings, found: Point | None = None) -> None:
        """`found` are the parameters that an earlier phase found, where the phase fixes them."""
        self.phase = phase
        dimensions = dict(phase.space)
        if found is not None:
            for name, value in found.items():
                if name not in phase.space:
                    dimensions[name] = Dimension(choices=(value,))
        self._same = {n: d.same_as for n, d in dimensions.items() if d.same_as is not None}
        self._fixed = {n: d.choices[0] for n, d in dimensions.items() if d.fixed and d.choices}
        self._varying = {
            name: dimension
            for name, dimension in sorted(dimensions.items())
            if name not in self._same and name not in self._fixed
        }
        self.is_grid = phase.strategy == "grid" or not self._varying
        if not self._varying:
            # Hyperopt has no space without a variable: one that has a single choice.
            name = next(iter(self._fixed), "conv_layers")
            value = self._fixed.pop(name, ModelParams.model_fields[name].default)
            self._varying = {name: Dimension(choices=(value,))}
        self._grid_values = (
            {n: grid_values(d) for n, d in self._varying.items()} if self.is_grid else {}
        )

    def expression(self) -> dict[str, Any]:
        """The space in Hyperopt's terms: a dict from parameter name to a random variable."""
        if self.is_grid:
            return {name: hp.choice(name, list(v)) for name, v in self._grid_values.items()}
        return {name: _variable(name, d) for name, d in self._varying.items()}

    def params(self, point: Point) -> ModelParams:
        """The configuration that a drawn point stands for.

        Raises InputError where its values do not fit together.
        """
        values = {**self._fixed, **{n: _plain(self._varying[n], v) for n, v in point.items()}}
        for name, other in self._same.items():
            value = values[other]
            values[name] = value[-1] if isinstance(value, list | tuple) else value
        try:
            return ModelParams.model_validate(values)
        except ValidationError as error:
            raise InputError(f"space.{explain(error)}") from None

    def grid_size(self) -> int:
        return math.prod(len(values) for values in self._grid_values.values())

    def suggest(self, first_number: int) -> Suggest:
        """The strategy as a Hyperopt algorithm, whose proposals follow from their numbers alone
        (and, for TPE, from the results known)."""
        phase = self.phase

        def seeded(algorithm: Suggest) -> Suggest:
            def suggest(
                new_ids: list[int], domain: base.Domain, trials: base.Trials, seed: int
            ) -> list[dict[str, Any]]:
                own = derive_seed(phase.seed, "proposal", phase.name, new_ids[0] - first_number)
                return algorithm(new_ids, domain, trials, own)

            return suggest

        if self.is_grid:
            return functools.partial(_suggest_grid, self._grid_values, first_number)
        if phase.strategy == "random":
            return seeded(rand.suggest)
        return seeded(
            functools.partial(tpe.suggest, n_startup_jobs=phase.startup_trials, verbose=False)
        )

    def check_possible(self, impossible: Callable[[ModelParams], str | None]) -> None:
        """Raises InputError where every configuration is impossible, with the reason of one."""
        reason = None
        for point in self._probe_points():
            reason = impossible(self.params(point))
            if reason is None:
                return
        raise InputError(
            "a search space must have a configuration that can be built, but in phase "
            f"{self.phase.name!r} none can: {reason}"
        )

    def _probe_points(self) -> Sequence[Point]:
        if self.is_grid:
            names, values = list(self._grid_values), list(self._grid_values.values())
            product = itertools.islice(itertools.product(*values), 100 * _PROBES)
            return [dict(zip(names, point, strict=True)) for point in product]
        domain = base.Domain(lambda point: 0.0, self.expression())
        trials = base.Trials()
        documents = rand.suggest(list(range(_PROBES)), domain, trials, self.phase.seed)
        return [point_of(domain, document) for document in documents]


def point_of(domain: base.Domain, document: dict[str, Any]) -> Point:
    """The point of a trial document: indices of choices replaced by the choices."""
    memo = domain.memo_from_config(base.spec_from_misc(document["misc"]))
    point: Point = base.pyll.rec_eval(domain.expr, memo=memo)
    return point


def grid_values(dimension: Dimension) -> tuple[Any, ...]:
    """What a grid search tries of a dimension, in order."""
    if dimension.choices is not None:
        return dimension.choices
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.steps is None:
        return tuple(range(int(dimension.low), int(dimension.high) + 1))
    between = np.geomspace if dimension.log else np.linspace
    values = between(dimension.low, dimension.high, dimension.steps).tolist()
    return tuple(dict.fromkeys(map(round, values))) if dimension.integer else tuple(values)


def _variable(name: str, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        return hp.choice(name, list(dimension.choices))
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if dimension.integer:
        if dimension.log:
            # Half a step on either side, so that the ends are drawn as often as their width says.
            return hp.qloguniform(name, math.log(low - 0.499), math.log(high + 0.499), 1)
        return hp.uniformint(name, low, high)
    if dimension.log:
        return hp.loguniform(name, math.log(low), math.log(high))
    return hp.uniform(name, low, high)


def _plain(dimension: Dimension, value: Any) -> Any:
    """A drawn value as plain Python, inside its range whatever rounding did."""
    if dimension.low is None or dimension.high is None:
        return value
    inside = min(max(float(value), dimension.low), dimension.high)
    return round(inside) if dimension.integer else float(inside)


def _suggest_grid(
    values: Mapping[str, Sequence[Any]],
    first_number: int,
    new_ids: list[int],
    domain: base.Domain,
    trials: base.Trials,
    seed: int,
) -> list[dict[str, Any]]:
    """Grid search as a Hyperopt algorithm: point number k is for trial number k, no point twice."""
    documents: list[dict[str, Any]] = []
    shape = [len(choices) for choices in values.values()]
    for number in new_ids:
        index = number - first_number
        if index >= math.prod(shape):
            break
        place = np.unravel_index(index, shape) if shape else ()
        vals = {name: [int(i)] for name, i in zip(values, place, strict=True)}
        misc = {
            "tid": number,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {name: [number] for name in values},
            "vals": vals,
        }
        documents.extend(trials.new_trial_docs([number], [None], [domain.new_result()], [misc]))
    return documents
