"""How long a search will still take, and how sure that is, from trials that are done or run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Simulated courses of the rest; what is said is the span of the middle 80 % of them.
_DRAWS = 200
_SPAN = (0.1, 0.9)
# Later trials are not quite like the first ones: how far their mean may be off, after one of them.
_STRANGENESS = 0.5
# More than so many are simulated together: their sum is as good as normal.
_ONE_BY_ONE = 200
# A pace that was watched for so long says something.
_WATCHED_SECONDS = 3.0


@dataclass(frozen=True)
class Running:
    """A trial that runs: for how long, and how far it is where that is known."""

    elapsed: float
    # Of its epochs.
    share: float | None = None
    # Seconds that the other epochs take, if it is not stopped before.
    rest: float | None = None


class Pace:
    """How fast a training goes, from how far it was seen to be and when."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None
        self._epochs = 0

    def see(self, epoch: float, epochs: int, at: float) -> None:
        """At a moment so many of the epochs were done. Another attempt begins again."""
        if self._last is not None and epoch < self._last[0]:
            self._first = self._last = None
        self._epochs = epochs
        # The first step is not counted: in it the framework compiles.
        if epoch <= 0 or (self._last is not None and epoch == self._last[0]):
            return
        self._last = (epoch, at)
        self._first = self._first or self._last

    @property
    def share(self) -> float | None:
        return self._last[0] / self._epochs if self._last and self._epochs else None

    @property
    def seconds_an_epoch(self) -> float | None:
        """None while too little is known."""
        if self._first is None or self._last is None:
            return None
        epochs, seconds = self._last[0] - self._first[0], self._last[1] - self._first[1]
        return seconds / epochs if seconds >= _WATCHED_SECONDS else None

    def rest(self, now: float) -> float | None:
        """Seconds that its other epochs take."""
        each = self.seconds_an_epoch
        if each is None or self._last is None:
            return None
        epoch, at = self._last
        return max(0.0, (self._epochs - epoch) * each - (now - at))


def seconds_left(
    durations: Sequence[float],
    running: Sequence[Running],
    waiting: int,
    slots: int,
    shares: Sequence[float] = (),
) -> tuple[float, float] | None:
    """The span of seconds until all trials are done; None where nothing is known of any.

    `durations` are those of trials that are done, `shares` the parts of their epochs after which
    they ended, `waiting` is how many trials are to come. Before one is done, what runs says how
    long they take. Each course draws the rest from what is known, gives every trial the slot that
    is free first, and ends with the last of them.
    """
    whole = [one.elapsed + one.rest for one in running if one.rest is not None]
    known = np.asarray(durations or whole, dtype=float)
    if not len(known):
        return None
    rng = np.random.default_rng(0)
    slots = max(1, slots, len(running))
    free = np.zeros((_DRAWS, slots))
    for slot, one in enumerate(running):
        free[:, slot] = _rest(known, np.asarray(shares, dtype=float), one, rng)
    together = max(0, waiting - _ONE_BY_ONE)
    spread = math.sqrt(together) * known.std()
    sums = rng.normal(together * known.mean(), spread, _DRAWS) if together else np.zeros(_DRAWS)
    free += sums[:, None] / slots
    for _ in range(waiting - together):
        free[np.arange(_DRAWS), free.argmin(axis=1)] += rng.choice(known, _DRAWS)
    strange = np.exp(rng.normal(0, _STRANGENESS / math.sqrt(len(known)), _DRAWS))
    low, high = np.quantile(free.max(axis=1) * strange, _SPAN)
    return max(0.0, float(low)), max(0.0, float(high))


def _rest(
    known: np.ndarray, shares: np.ndarray, one: Running, rng: np.random.Generator
) -> np.ndarray:
    """What a trial that runs may still take."""
    if one.rest is not None and one.share is not None:
        # As far as others went that came further than this one is.
        further = shares[shares > one.share]
        if not len(further):
            return np.full(_DRAWS, one.rest)
        ends = rng.choice(further, _DRAWS)
        return one.rest * (ends - one.share) / max(1e-9, 1 - one.share)
    longer = known[known > one.elapsed]
    if len(longer):
        return rng.choice(longer, _DRAWS) - one.elapsed
    return rng.uniform(0, one.elapsed, _DRAWS)
