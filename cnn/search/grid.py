"""The points of a grid search, in order."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cnn.settings.dimension import Dimension

# The only variable of a grid search: the index of a point.
GRID = "grid_point"


class Grid:
    """All combinations of the values of some dimensions.

    A dimension with one value per layer depends on another, the number of layers: for each number
    the grid has every combination of the values of that many layers.
    """

    def __init__(self, varying: Mapping[str, Dimension], fixed: Mapping[str, Any]) -> None:
        """`varying` has the dimensions by parameter, `fixed` the values of the other parameters."""
        self._varying = varying
        self._fixed = fixed

    def size(self) -> int:
        """The number of points, without listing them."""
        count = math.prod(len(grid_values(d)) for d in self._independent().values())
        for depth, names in self.layered().items():
            combinations = math.prod(len(grid_values(self._varying[name])) for name in names)
            count *= sum(combinations**layers for layers in self.depths(depth))
        return count

    def points(self) -> Iterator[dict[str, Any]]:
        """The points in order; the last parameter by name varies fastest."""
        # Each axis is a list of dicts, merged: a depth comes with the values of its layers.
        axes: dict[str, list[dict[str, Any]]] = {
            name: [{name: value} for value in grid_values(dimension)]
            for name, dimension in self._independent().items()
        }
        for depth, names in self.layered().items():
            axes[depth] = [
                {depth: count, **dict(zip(names, widths, strict=True))}
                for count in self.depths(depth)
                for widths in itertools.product(
                    *(itertools.product(grid_values(self._varying[n]), repeat=count) for n in names)
                )
            ]
        for parts in itertools.product(*(axes[name] for name in sorted(axes))):
            yield {name: value for part in parts for name, value in part.items()}

    def layered(self) -> dict[str, list[str]]:
        """For each parameter that is a number of layers, those with one value per layer."""
        layered: dict[str, list[str]] = {}
        for name, dimension in self._varying.items():
            if dimension.per_layer is not None:
                layered.setdefault(dimension.per_layer, []).append(name)
        return layered

    def depths(self, name: str) -> Sequence[int]:
        """The numbers of layers that parameter `name` takes."""
        if name in self._fixed:
            return (self._fixed[name],)
        return tuple(int(value) for value in grid_values(self._varying[name]))

    def _independent(self) -> dict[str, Dimension]:
        """The dimensions that are neither a number of layers nor depend on one."""
        layered = self.layered()
        return {
            name: dimension
            for name, dimension in self._varying.items()
            if dimension.per_layer is None and name not in layered
        }


def grid_values(dimension: Dimension) -> tuple[Any, ...]:
    """The values of a dimension that a grid search tries, in order."""
    if dimension.choices is not None:
        return dimension.choices
    assert dimension.low is not None
    assert dimension.high is not None
    if dimension.steps is None:
        return tuple(range(int(dimension.low), int(dimension.high) + 1))
    between = np.geomspace if dimension.log else np.linspace
    values = between(dimension.low, dimension.high, dimension.steps).tolist()
    return tuple(dict.fromkeys(map(round, values))) if dimension.integer else tuple(values)
