"""How long a search will still take, and how sure that is, from the trials that are done."""

import math
from collections.abc import Sequence

import numpy as np

# Simulated courses of the rest; what is said is the span of the middle 80 % of them.
_DRAWS = 200
_SPAN = (0.1, 0.9)
# Later trials are not quite like the first ones: how far their mean may be off, after one of them.
_STRANGENESS = 0.5
# More than so many are simulated together: their sum is as good as normal.
_ONE_BY_ONE = 200


def seconds_left(
    durations: Sequence[float], running: Sequence[float], waiting: int, slots: int
) -> tuple[float, float] | None:
    """The span of seconds until all trials are done; None where no trial is done yet.

    `durations` are those of trials that are done, `running` how long the others have been running,
    `waiting` how many are to come. Each course draws the rest from what is known, gives every trial
    the slot that is free first, and ends with the last of them.
    """
    if not durations:
        return None
    rng = np.random.default_rng(0)
    known = np.asarray(durations, dtype=float)
    slots = max(1, slots, len(running))
    free = np.zeros((_DRAWS, slots))
    for slot, elapsed in enumerate(running):
        free[:, slot] = _rest(known, elapsed, rng)
    together = max(0, waiting - _ONE_BY_ONE)
    spread = math.sqrt(together) * known.std()
    sums = rng.normal(together * known.mean(), spread, _DRAWS) if together else np.zeros(_DRAWS)
    free += sums[:, None] / slots
    for _ in range(waiting - together):
        free[np.arange(_DRAWS), free.argmin(axis=1)] += rng.choice(known, _DRAWS)
    strange = np.exp(rng.normal(0, _STRANGENESS / math.sqrt(len(known)), _DRAWS))
    low, high = np.quantile(free.max(axis=1) * strange, _SPAN)
    return max(0.0, float(low)), max(0.0, float(high))


def _rest(known: np.ndarray, elapsed: float, rng: np.random.Generator) -> np.ndarray:
    """What a trial that has run so long may still take."""
    longer = known[known > elapsed]
    if len(longer):
        return rng.choice(longer, _DRAWS) - elapsed
    return rng.uniform(0, elapsed, _DRAWS)
