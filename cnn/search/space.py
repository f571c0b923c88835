"""Search spaces: settings -> Hyperopt's expressions, and what its points stand for."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from hyperopt import base, hp, rand
from pydantic import ValidationError

from cnn.core.errors import InputError
from cnn.settings.dimension import Dimension
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.settings.validation import explain

Point = Mapping[str, Any]
# Hyperopt's encoding of a point: for each variable its value, or nothing where it plays no part.
Vals = dict[str, list[Any]]

# The variable of a grid search: which of its points.
GRID = "grid_point"
# How many draws show that a space holds nothing that can be built.
_PROBES = 1000


class SearchSpace:
    """One phase's space: what varies, as Hyperopt sees it, and what a drawn point means."""

    def __init__(
        self,
        phase: PhaseSettings,
        found: Point | None = None,
        *,
        kind: type[TrainingParams] = ModelParams,
    ) -> None:
        """`found` are the parameters that an earlier phase found, where the phase fixes them.

        `kind` is what a configuration is (see `ModelSettings.params_kind`).
        """
        self.phase = phase
        self._kind = kind
        dimensions = dict(phase.space)
        for name, value in (found or {}).items():
            dimensions.setdefault(name, Dimension(choices=(value,)))
        self._same = {n: d.same_as for n, d in dimensions.items() if d.same_as is not None}
        self._fixed = {
            n: d.choices[0]
            for n, d in dimensions.items()
            if d.fixed and d.choices and d.per_layer is None
        }
        self._varying = {
            name: dimension
            for name, dimension in sorted(dimensions.items())
            if name not in self._same and name not in self._fixed
        }
        self.is_grid = phase.strategy == "grid" or not self._varying

    @property
    def varying(self) -> tuple[str, ...]:
        """The parameters that are drawn."""
        return tuple(self._varying)

    def expression(self) -> dict[str, Any]:
        """The space in Hyperopt's terms, from which it draws points for `params`."""
        if self.is_grid:
            return {GRID: hp.randint(GRID, self.grid_size())}
        nodes = {name: _variable(name, d) for name, d in self._varying.items() if not d.per_layer}
        for depth, names in self._layered().items():
            depths = self._depths(depth)
            layers = {
                name: [_variable(f"{name}.{i}", self._varying[name]) for i in range(max(depths))]
                for name in names
            }
            # Layers that a shallower network has not are no variables of it: TPE then does not
            # learn from values that had no effect.
            branches = [
                {depth: count, **{name: layers[name][:count] for name in names}} for count in depths
            ]
            nodes[depth] = branches[0] if len(branches) == 1 else hp.choice(depth, branches)
        return nodes

    def params(self, point: Point) -> TrainingParams:
        """The configuration that a drawn point stands for.

        Raises InputError where its values do not fit together.
        """
        if self.is_grid:
            point = next(itertools.islice(self._grid(), int(point[GRID]), None))
        drawn: dict[str, Any] = {}
        for name, value in point.items():
            drawn |= value if isinstance(value, Mapping) else {name: value}
        return self._complete(drawn)

    def encode(self, params: Point) -> Vals:
        """A configuration in Hyperopt's encoding, the inverse of `params`.

        Raises InputError, naming the parameter, where the space does not hold it.
        """
        drawn = {}
        for name in self._varying:
            if name not in params:
                raise InputError(f"{name} must be given, since it varies")
            drawn[name] = params[name]
        vals = self._grid_place(drawn) if self.is_grid else self._encoded_values(drawn)
        whole = self._complete(drawn).model_dump()
        for name, value in params.items():
            if name in self.phase.space and _text(value) != _text(whole[name]):
                raise InputError(f"{name} must be {whole[name]} in this space, but got {value}")
        return vals

    def _grid_place(self, drawn: Point) -> Vals:
        for index, point in enumerate(self._grid()):
            if all(_text(point[name]) == _text(drawn[name]) for name in point):
                return {GRID: [index]}
        raise InputError(f"a point must be one of the grid's, but got {drawn}")

    def _encoded_values(self, drawn: Point) -> Vals:
        plain = {name: d for name, d in self._varying.items() if d.per_layer is None}
        vals: Vals = {name: [self._encoded(name, drawn[name])] for name in plain}
        for depth_name, names in self._layered().items():
            depth = int(drawn.get(depth_name, self._fixed.get(depth_name)))
            for name in names:
                widths = drawn[name]
                if not isinstance(widths, list | tuple):
                    widths = [widths] * depth
                if len(widths) != depth:
                    raise InputError(
                        f"{name} must have one entry for each of {depth} layers, but got {widths}"
                    )
                for i in range(max(self._depths(depth_name))):
                    vals[f"{name}.{i}"] = [self._encoded(name, widths[i])] if i < depth else []
        return vals

    def grid_size(self) -> int:
        """How many points a grid search has."""
        plain = math.prod(len(grid_values(d)) for n, d in self._plain_dimensions())
        for depth, names in self._layered().items():
            each = math.prod(len(grid_values(self._varying[name])) for name in names)
            plain *= sum(each**count for count in self._depths(depth))
        return plain

    def trials(self) -> int:
        """How many trials a search of it has, if it is not ended before."""
        most = self.phase.max_trials
        return min(most, self.grid_size()) if self.is_grid else most

    def check_possible(self, impossible: Callable[[Any], str | None]) -> None:
        """Raises InputError where every configuration is impossible, with the reason of one."""
        reason = None
        for params in self._probes():
            reason = impossible(params)
            if reason is None:
                return
        raise InputError(
            "a search space must have a configuration that can be built, but in phase "
            f"{self.phase.name!r} none can: {reason}"
        )

    def first(self, count: int) -> list[TrainingParams]:
        """Configurations as a search would try them: the points that were given, then draws."""
        points = (self._complete(point) for point in self.phase.points)
        found: dict[str, TrainingParams] = {}
        for params in itertools.chain(points, self._probes(count)):
            found.setdefault(_text(params.model_dump(mode="json")), params)
            if len(found) == count:
                break
        return list(found.values())

    def _probes(self, count: int = _PROBES) -> Iterator[TrainingParams]:
        if self.is_grid:
            yield from map(self._complete, itertools.islice(self._grid(), 100 * count))
            return
        domain = base.Domain(lambda point: 0.0, self.expression())
        documents = rand.suggest(list(range(count)), domain, base.Trials(), self.phase.seed)
        for document in documents:
            yield self.params(point_of(domain, document))

    def _complete(self, drawn: Point) -> TrainingParams:
        values = {**self._fixed, **{n: self._plain(n, v) for n, v in drawn.items()}}
        for name, other in self._same.items():
            value = values[other]
            values[name] = value[-1] if isinstance(value, list | tuple) else value
        try:
            return self._kind.model_validate(values)
        except ValidationError as error:
            raise InputError("space.{}", explain(error, self._kind)) from None

    def _plain(self, name: str, value: Any) -> Any:
        """A drawn value as plain Python, inside its range whatever rounding did."""
        dimension = self._varying.get(name)
        if isinstance(value, list | tuple) and dimension and dimension.per_layer:
            return [self._plain(name, item) for item in value]
        if dimension is None or dimension.low is None or dimension.high is None:
            return value
        inside = min(max(float(value), dimension.low), dimension.high)
        return round(inside) if dimension.integer else float(inside)

    def _encoded(self, name: str, value: Any) -> Any:
        dimension = self._varying[name]
        depth = any(d.per_layer == name for d in self._varying.values())
        if dimension.choices is not None or depth:
            options = self._depths(name) if depth else dimension.choices
            assert options is not None
            for index, option in enumerate(options):
                if _text(option) == _text(value):
                    return index
            raise InputError(f"{name} must be one of {list(options)}, but got {value}")
        low, high = dimension.low, dimension.high
        assert low is not None
        assert high is not None
        if not low <= value <= high or (dimension.integer and value != int(value)):
            raise InputError(f"{name} must be from {low} to {high}, but got {value}")
        return value

    def _layered(self) -> dict[str, list[str]]:
        """For each parameter that is a depth, those that have a value for each layer."""
        layered: dict[str, list[str]] = {}
        for name, dimension in self._varying.items():
            if dimension.per_layer is not None:
                layered.setdefault(dimension.per_layer, []).append(name)
        return layered

    def _plain_dimensions(self) -> Iterator[tuple[str, Dimension]]:
        """What varies by itself: no depth, nothing that follows one."""
        layered = self._layered()
        for name, dimension in self._varying.items():
            if dimension.per_layer is None and name not in layered:
                yield name, dimension

    def _depths(self, name: str) -> Sequence[int]:
        if name in self._fixed:
            return (self._fixed[name],)
        return tuple(int(value) for value in grid_values(self._varying[name]))

    def _grid(self) -> Iterator[dict[str, Any]]:
        """The grid's points in order, the last parameter by name varying fastest."""
        # Each axis is a list of dicts, merged: a depth brings the widths of its layers with it.
        axes: dict[str, list[dict[str, Any]]] = {
            name: [{name: value} for value in grid_values(dimension)]
            for name, dimension in self._plain_dimensions()
        }
        for depth, names in self._layered().items():
            axes[depth] = [
                {depth: count, **dict(zip(names, widths, strict=True))}
                for count in self._depths(depth)
                for widths in itertools.product(
                    *(itertools.product(grid_values(self._varying[n]), repeat=count) for n in names)
                )
            ]
        for parts in itertools.product(*(axes[name] for name in sorted(axes))):
            yield {name: value for part in parts for name, value in part.items()}


def point_of(domain: base.Domain, document: dict[str, Any]) -> Point:
    """The point of a trial document: indices of choices replaced by the choices."""
    memo = domain.memo_from_config(base.spec_from_misc(document["misc"]))
    point: Point = base.pyll.rec_eval(domain.expr, memo=memo)
    return point


def document_of(
    number: int, vals: Mapping[str, list[Any]], result: Mapping[str, Any], state: int
) -> dict[str, Any]:
    """A trial document as Hyperopt keeps them, of a point in its encoding."""
    idxs = {name: [number] if values else [] for name, values in vals.items()}
    return {
        "state": state,
        "tid": number,
        "spec": None,
        "result": dict(result),
        "misc": {"tid": number, "cmd": None, "workdir": None, "idxs": idxs, "vals": dict(vals)},
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }


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


def _text(value: Any) -> str:
    """A value as JSON, in which a tuple and a list are the same."""
    return json.dumps(value, sort_keys=True)
