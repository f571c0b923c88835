"""Search spaces: from settings to Hyperopt's expressions, and from its points to configurations."""

import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hyperopt import base, hp, rand
from pydantic import ValidationError

from cnn.core.errors import InputError
from cnn.search.conditions import SWITCHES, ConditionalGrid, depends, has, may_have, possible
from cnn.search.grid import GRID, Grid
from cnn.search.hyperopt_documents import Point, Vals, point_of
from cnn.settings.dimension import Dimension
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.settings.validation import explain

# How many draws are tried before a space counts as having nothing that can be built.
_PROBES = 1000


class SearchSpace:
    """A phase's search space: what Hyperopt draws from, and what each point stands for."""

    def __init__(
        self,
        phase: PhaseSettings,
        found: Point | None = None,
        *,
        kind: type[TrainingParams] = ModelParams,
    ) -> None:
        """Builds the search space of a phase.

        Args:
            phase: The phase's settings.
            found: The best parameters of an earlier phase, if this phase fixes them.
            kind: The class of a configuration (see `ModelSettings.params_kind`).
        """
        self.phase = phase
        self._kind = kind
        dimensions = dict(phase.space)
        for name, value in (found or {}).items():
            dimensions.setdefault(name, Dimension(choices=(value,)))
        dimensions = possible(kind, dimensions)
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
        # Not the points of a grid search, but which parameters are numbers of layers.
        self._layers = Grid(self._varying, self._fixed)
        self._grid = ConditionalGrid(kind, self._varying, self._fixed)
        self.is_grid = phase.strategy == "grid" or not self._varying

    @property
    def varying(self) -> tuple[str, ...]:
        """The names of the parameters that the search varies."""
        return tuple(self._varying)

    def expression(self) -> dict[str, Any]:
        """The space as a Hyperopt expression; `params` takes the points drawn from it."""
        if self.is_grid:
            return {GRID: hp.randint(GRID, self._grid.size())}
        return self._nodes(list(self._varying), dict(self._fixed), {})

    def _nodes(self, names: list[str], known: Point, made: dict[str, Any]) -> dict[str, Any]:
        """Hyperopt's nodes of some parameters, of configurations with the values `known`.

        `made` has the nodes by label, because Hyperopt takes only one node with a label.
        """
        switch = next((n for n in SWITCHES if n in names and self._varying[n].choices), None)
        if switch is None:
            return self._independent_nodes(names, made)
        others = [name for name in names if name != switch]
        dependent = [name for name in others if depends(self._kind, name, switch, known)]
        nodes = self._nodes([name for name in others if name not in dependent], known, made)
        if switch not in made:
            branches = []
            for value in self._varying[switch].choices or ():
                values = {**known, switch: value}
                own = [name for name in dependent if may_have(self._kind, name, values)]
                branches.append({switch: value, **self._nodes(own, values, made)})
            made[switch] = hp.choice(switch, branches)
        nodes[switch] = made[switch]
        return nodes

    def _independent_nodes(self, names: list[str], made: dict[str, Any]) -> dict[str, Any]:
        def variable(label: str, dimension: Dimension) -> Any:
            if label not in made:
                made[label] = _variable(label, dimension)
            return made[label]

        plain = {name: self._varying[name] for name in names if not self._varying[name].per_layer}
        nodes = {name: variable(name, dimension) for name, dimension in plain.items()}
        for depth, widths in self._layers.layered().items():
            if not set(widths) <= set(names):
                continue
            depths = self._layers.depths(depth)
            layers = {
                name: [variable(f"{name}.{i}", self._varying[name]) for i in range(max(depths))]
                for name in widths
            }
            # A shallower network has no variables for the layers that it lacks, so that TPE does
            # not learn from values without effect.
            branches = [
                {depth: count, **{name: layers[name][:count] for name in widths}}
                for count in depths
            ]
            nodes[depth] = branches[0] if len(branches) == 1 else hp.choice(depth, branches)
        return nodes

    def params(self, point: Point) -> TrainingParams:
        """The configuration of a drawn point.

        Raises:
            InputError: The values do not fit together.
        """
        if self.is_grid:
            point = next(itertools.islice(self._grid.points(), int(point[GRID]), None))
        return self._complete(_flat(point))

    def encode(self, params: Point) -> Vals:
        """A configuration in Hyperopt's encoding: the inverse of `params`.

        Raises:
            InputError: The configuration is outside the space; the error names the parameter.
        """
        drawn, values = {}, {**self._fixed, **params}
        for name in self._varying:
            if not has(self._kind, name, values):
                continue
            if name not in params:
                raise InputError(f"{name} must be given because it varies")
            drawn[name] = params[name]
        vals = self._encoded_index(drawn) if self.is_grid else self._encoded_values(drawn)
        whole = self._complete(drawn).model_dump()
        for name, value in params.items():
            if name in self.phase.space and name not in whole:
                raise InputError(f"{name} must be left out, because no such network has it")
            if name in self.phase.space and _text(value) != _text(whole[name]):
                raise InputError(f"{name} must be {whole[name]} in this space, but got {value}")
        return vals

    def _encoded_index(self, drawn: Point) -> Vals:
        for index, point in enumerate(self._grid.points()):
            same = (name in point and _text(point[name]) == _text(drawn[name]) for name in drawn)
            if all(same):
                return {GRID: [index]}
        raise InputError(f"a point must be in the grid, but got {drawn}")

    def _encoded_values(self, drawn: Point) -> Vals:
        plain = {name: d for name, d in self._varying.items() if d.per_layer is None}
        vals: Vals = {
            name: [self._encoded(name, drawn[name])] if name in drawn else [] for name in plain
        }
        for depth_name, names in self._layers.layered().items():
            most = max(self._layers.depths(depth_name))
            for name in names:
                if name not in drawn:
                    vals |= {f"{name}.{i}": [] for i in range(most)}
                    continue
                depth = int(drawn.get(depth_name, self._fixed.get(depth_name)))
                widths = drawn[name]
                if not isinstance(widths, list | tuple):
                    widths = [widths] * depth
                if len(widths) != depth:
                    raise InputError(
                        f"{name} must have one entry for each of {depth} layers, but got {widths}"
                    )
                for i in range(most):
                    vals[f"{name}.{i}"] = [self._encoded(name, widths[i])] if i < depth else []
        return vals

    def grid_size(self) -> int:
        """The number of points of a grid search."""
        return self._grid.size()

    def trials(self) -> int:
        """The number of trials of the phase, unless it ends early."""
        most = self.phase.max_trials
        return min(most, self._grid.size()) if self.is_grid else most

    def check_possible(self, impossible: Callable[[Any], str | None]) -> None:
        """Checks that some configuration of the space can be built.

        `impossible` returns why a configuration cannot be built, or None.

        Raises:
            InputError: None of those tried can be built; the error gives one reason.
        """
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
        """Up to `count` distinct configurations: first the points of the settings, then draws."""
        points = (self._complete(point) for point in self.phase.points)
        found: dict[str, TrainingParams] = {}
        for params in itertools.chain(points, self._probes(count)):
            found.setdefault(_text(params.model_dump(mode="json")), params)
            if len(found) == count:
                break
        return list(found.values())

    def _probes(self, count: int = _PROBES) -> Iterator[TrainingParams]:
        if self.is_grid:
            yield from map(self._complete, itertools.islice(self._grid.points(), 100 * count))
            return
        domain = base.Domain(lambda point: 0.0, self.expression())
        documents = rand.suggest(list(range(count)), domain, base.Trials(), self.phase.seed)
        for document in documents:
            yield self.params(point_of(domain, document))

    def _complete(self, drawn: Point) -> TrainingParams:
        values = {**self._fixed, **{n: self._plain(n, v) for n, v in drawn.items()}}
        values = {name: value for name, value in values.items() if has(self._kind, name, values)}
        for name, other in self._same.items():
            if other in values:
                value = values[other]
                values[name] = value[-1] if isinstance(value, list | tuple) else value
        try:
            return self._kind.model_validate(values)
        except ValidationError as error:
            raise InputError("space.{}", explain(error, self._kind)) from None

    def _plain(self, name: str, value: Any) -> Any:
        """A drawn value as plain Python; rounding does not take it out of its range."""
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
            options = self._layers.depths(name) if depth else dimension.choices
            assert options is not None
            for index, option in enumerate(options):
                if _text(option) == _text(value):
                    return index
            raise InputError(f"{name} must be one of {list(options)}, but got {value}")
        low, high = dimension.low, dimension.high
        assert low is not None
        assert high is not None
        # It may come from a file, or be of a parameter that had other values once.
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high or (dimension.integer and value != int(value)):
            raise InputError(f"{name} must be from {low} to {high}, but got {value}")
        return value


def _variable(name: str, dimension: Dimension) -> Any:
    if dimension.choices is not None:
        return hp.choice(name, list(dimension.choices))
    low, high = dimension.low, dimension.high
    assert low is not None
    assert high is not None
    if dimension.integer:
        if dimension.log:
            # Half a step on either side, so that the ends are as likely as the values between.
            return hp.qloguniform(name, math.log(low - 0.499), math.log(high + 0.499), 1)
        return hp.uniformint(name, low, high)
    if dimension.log:
        return hp.loguniform(name, math.log(low), math.log(high))
    return hp.uniform(name, low, high)


def _flat(point: Point) -> dict[str, Any]:
    """The values of a drawn point, in which a parameter comes with those that depend on it."""
    found: dict[str, Any] = {}
    for name, value in point.items():
        found |= _flat(value) if isinstance(value, Mapping) else {name: value}
    return found


def _text(value: Any) -> str:
    """A value as JSON, in which tuples and lists are equal."""
    return json.dumps(value, sort_keys=True)
