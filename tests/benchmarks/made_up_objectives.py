"""What proposals.py searches without a table: a smooth function, and one like networks' errors."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from hyperopt import hp

# Hartmann's constants (Dixon and Szegö, 1978).
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann(point: Any) -> float:
    x = np.array([point[f"x{i}"] for i in range(6)])
    return float(3.32237 - _ALPHA @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def network(point: Any) -> float:
    """Like a validation error: a rate that matters most, a depth, widths that depend on it."""
    rate = (math.log10(point["rate"]) + 2.7) ** 2
    depth, widths = point["layers"]["depth"], point["layers"]["widths"]
    width = sum((math.log2(w) - 5) ** 2 for w in widths) / depth
    return 0.4 * rate + 0.05 * abs(depth - 3) + 0.03 * width + 0.2 * abs(point["dropout"] - 0.25)


_WIDTHS = [hp.choice(f"width{i}", [8, 16, 32, 64]) for i in range(5)]


class Objective(NamedTuple):
    """What is searched for the smallest loss, and where."""

    space: Any
    # The loss of a point, and how long it takes to know it, if that is its own. The number draws
    # the noise.
    evaluate: Callable[[Any, int], tuple[float, float | None]]
    # The accuracies of points on a test set, if there is one.
    test: Callable[[Sequence[Any]], np.ndarray] | None = None


def synthetic(function: Callable[[Any], float], space: Any) -> Objective:
    return Objective(space, lambda point, noise: (function(point), None))


OBJECTIVES = {
    "Hartmann 6": synthetic(hartmann, {f"x{i}": hp.uniform(f"x{i}", 0, 1) for i in range(6)}),
    "network": synthetic(
        network,
        {
            "rate": hp.loguniform("rate", math.log(1e-5), math.log(1)),
            "dropout": hp.uniform("dropout", 0, 0.8),
            "layers": hp.choice(
                "depth", [{"depth": n, "widths": _WIDTHS[:n]} for n in range(1, 6)]
            ),
        },
    ),
}
