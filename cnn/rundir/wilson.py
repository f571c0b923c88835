"""Wilson's confidence interval of a proportion, such as an accuracy."""

import math


def wilson_interval(successes: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval (JASA 1927) of a proportion: (low, high), 95 % by default."""
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == count else (centre + half) / scale
    return low, high
