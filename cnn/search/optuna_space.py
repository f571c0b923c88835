"""Hyperopt's search spaces as Optuna's: a distribution for each variable, and when it is drawn.

Hyperopt states a whole space at once, as an expression. Optuna asks for one variable after the
other, so that a program's own conditions decide which come next. `OptunaSpace` reads the expression
and asks in its place; a point then has the same encoding in both (`Vals`), whoever proposed it.

Imports Optuna, so only what was told to use it may import this module.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hyperopt import base, pyll
from hyperopt.pyll_utils import expr_to_config
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from cnn.search.hyperopt_documents import Vals

Distribution = CategoricalDistribution | FloatDistribution | IntDistribution
# The ranges that spaces have; those with q are rounded, always to whole numbers.
_RANGES = ("uniform", "loguniform", "quniform", "qloguniform")
# What must hold for a variable to be drawn: these choices have these indices.
Condition = Sequence[tuple[str, int]]


class OptunaSpace:
    """The variables of a Hyperopt space by label, with those first on which others depend."""

    def __init__(self, domain: base.Domain) -> None:
        nodes: dict[str, Any] = {}
        expr_to_config(domain.expr, (), nodes)
        options = {
            node.inputs()[0].arg["label"].obj: node.inputs()[1:]
            for node in pyll.dfs(domain.expr)
            if node.name == "switch"
        }
        # A variable is drawn if any of its conditions holds; one that is always drawn has an empty
        # condition. Whatever a variable depends on has a shorter longest condition.
        self._conditions: dict[str, list[Condition]] = {
            label: [
                [(equal.name, equal.val) for equal in condition]
                for condition in nodes[label]["conditions"]
            ]
            for label in sorted(nodes, key=lambda n: (max(map(len, nodes[n]["conditions"])), n))
        }
        self._distributions = {
            label: _distribution(label, nodes[label]["node"], options.get(label))
            for label in self._conditions
        }

    def params(self, vals: Mapping[str, Sequence[Any]]) -> dict[str, int | float]:
        """Optuna's values of an encoded point. What was rounded beyond an end is at that end."""
        return {
            label: _inside(distribution, vals[label][0])
            for label, distribution in self._distributions.items()
            if len(vals[label])
        }

    def distributions(self, params: Mapping[str, Any]) -> dict[str, Distribution]:
        """The distributions of the variables that a point has."""
        return {label: self._distributions[label] for label in params}

    def ask(self, trial: Any) -> Vals:
        """Draws a point from an `optuna.Trial`; returns it in Hyperopt's encoding."""
        vals: Vals = {}
        for label, conditions in self._conditions.items():
            drawn = any(
                all(vals[name] == [index] for name, index in condition) for condition in conditions
            )
            vals[label] = [_suggest(trial, label, self._distributions[label])] if drawn else []
        return vals


def _distribution(label: str, node: Any, options: Sequence[Any] | None) -> Distribution:
    """The distribution of a variable, given Hyperopt's node and the options of a choice."""
    if options is not None:
        # The index of a choice. Where the options are numbers in order, neighbours are alike.
        last = len(options) - 1
        if _in_order([_number(label, option) for option in options]):
            return IntDistribution(0, last)
        return CategoricalDistribution(tuple(range(last + 1)))
    if node.name not in _RANGES:
        raise ValueError(f"{label} must be a choice or one of {_RANGES}, but got {node.name}")
    low, high = node.arg["low"].obj, node.arg["high"].obj
    log = node.name.endswith("loguniform")
    if log:
        low, high = math.exp(low), math.exp(high)
    if node.name.startswith("q"):
        return IntDistribution(math.ceil(low), math.floor(high), log=log)
    return FloatDistribution(low, high, log=log)


def _number(label: str, option: Any) -> Any:
    """The value of an option; of one with further variables, that of the choice's own name."""
    if option.name == "dict":
        option = dict(option.named_args).get(label)
    return option.obj if isinstance(option, pyll.Literal) else None


def _in_order(values: Sequence[Any]) -> bool:
    if not all(isinstance(value, int | float) for value in values):
        return False
    return list(values) in (sorted(values), sorted(values, reverse=True))


def _inside(distribution: Distribution, value: Any) -> int | float:
    if isinstance(distribution, CategoricalDistribution):
        return int(value)
    inside = min(max(float(value), distribution.low), distribution.high)
    return round(inside) if isinstance(distribution, IntDistribution) else inside


def _suggest(trial: Any, label: str, distribution: Distribution) -> int | float:
    if isinstance(distribution, CategoricalDistribution):
        return int(trial.suggest_categorical(label, distribution.choices))
    ends = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution):
        return int(trial.suggest_int(label, *ends, log=distribution.log))
    return float(trial.suggest_float(label, *ends, log=distribution.log))
