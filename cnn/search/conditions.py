"""Which parameters a configuration has: some exist only with others.

A network from scratch has no head, and only a fine-tuned network has a rate of its backbone. What
the strategy does not draw it cannot learn from.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnn.search.grid import Grid, grid_values
from cnn.settings.dimension import Dimension
from cnn.settings.params import ModelParams, TrainingParams, applies

# The parameters on whose values others depend; the second depends on the first.
SWITCHES = ("backbone", "fine_tune")


def has(kind: type[TrainingParams], name: str, values: Mapping[str, Any]) -> bool:
    """Whether configurations of `kind` with these values have parameter `name`."""
    return not issubclass(kind, ModelParams) or applies(name, values)


def possible(
    kind: type[TrainingParams], dimensions: Mapping[str, Dimension]
) -> dict[str, Dimension]:
    """The dimensions that some configuration has."""
    cases = list(_cases(kind, dimensions, {}, SWITCHES))
    return {n: d for n, d in dimensions.items() if any(has(kind, n, case) for case in cases)}


def may_have(kind: type[TrainingParams], name: str, known: Mapping[str, Any]) -> bool:
    """Whether some configuration of `kind` with the values `known` has parameter `name`."""
    return any(has(kind, name, {"fine_tune": share, **known}) for share in (0.0, 1.0))


def depends(kind: type[TrainingParams], name: str, switch: str, known: Mapping[str, Any]) -> bool:
    """Whether the value of `switch` decides if a configuration has parameter `name`."""
    one, other = {"backbone": ("none", "any"), "fine_tune": (0.0, 1.0)}[switch]
    return may_have(kind, name, {**known, switch: one}) != may_have(
        kind, name, {**known, switch: other}
    )


class ConditionalGrid:
    """The points of a grid search: one grid for each combination of the switches' values."""

    def __init__(
        self,
        kind: type[TrainingParams],
        varying: Mapping[str, Dimension],
        fixed: Mapping[str, Any],
    ) -> None:
        """`varying` has the dimensions by parameter, `fixed` the values of the other parameters."""
        switches = {name: varying[name] for name in SWITCHES if name in varying}
        self._grids = []
        for case in _cases(kind, switches, fixed, tuple(switches)):
            others = {
                name: dimension
                for name, dimension in varying.items()
                if name not in switches and has(kind, name, case)
            }
            chosen = {name: case[name] for name in switches if name in case}
            self._grids.append((chosen, Grid(others, {**fixed, **chosen})))

    def size(self) -> int:
        """The number of points, without listing them."""
        return sum(grid.size() for _, grid in self._grids)

    def points(self) -> Iterator[dict[str, Any]]:
        """The points in order."""
        for chosen, grid in self._grids:
            for point in grid.points():
                yield {**chosen, **point}


def _cases(
    kind: type[TrainingParams],
    dimensions: Mapping[str, Dimension],
    known: Mapping[str, Any],
    switches: Sequence[str],
) -> Iterator[dict[str, Any]]:
    """The combinations of the switches' values, each with what is `known` before."""
    if not switches:
        yield dict(known)
        return
    name, *others = switches
    dimension = dimensions.get(name)
    if dimension is None or not has(kind, name, known):
        yield from _cases(kind, dimensions, known, others)
        return
    for value in _values(dimension):
        yield from _cases(kind, dimensions, {**known, name: value}, others)


def _values(dimension: Dimension) -> tuple[Any, ...]:
    if dimension.choices is None and dimension.steps is None:
        return (dimension.low, dimension.high)
    return grid_values(dimension)
