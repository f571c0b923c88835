"""How long a search will still take, estimated from the trials that are done and those that run."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cnn.core.clock import about, duration
from cnn.rundir.heartbeat import TrialProgress
from cnn.rundir.trials import TrialResult, counts
from cnn.search.forecast import Forecast, Span, seconds_an_image, setup_seconds
from cnn.search.pace import Pace

# Estimates are based on at most this many of the last trials.
_LAST = 1000
# Simulated courses of the remaining trials; the estimate spans the middle 80 % of them.
_DRAWS = 200
_SPAN = (0.1, 0.9)
# Later trials differ somewhat from the first ones: the standard deviation of the logarithm of the
# ratio of their mean durations, if one trial is known.
_DRIFT = 0.5
# Trials beyond this number are simulated together: their sum is practically normal.
_MOST_SIMULATED = 200


@dataclass(frozen=True)
class Running:
    """A running trial: its time so far and, if known, its progress."""

    # Seconds.
    elapsed: float
    # The part of its epochs that is done.
    share: float | None = None
    # The seconds that its other epochs take if it is not stopped early.
    rest: float | None = None


class TimeLeft:
    """The time left in a round of trials and, if a forecast is given, in what follows it."""

    def __init__(
        self,
        forecast: Forecast | None,
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forecast = forecast
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        # Trial number -> when it was launched, and its pace.
        self._running: dict[int, tuple[float, Pace]] = {}
        # For each finished trial: the seconds that it occupied a slot, the part of its epochs that
        # it trained, the seconds per image, and the seconds before the first image.
        self._durations: deque[float] = deque(maxlen=_LAST)
        self._shares: deque[float] = deque(maxlen=_LAST)
        self._rates: deque[float] = deque(maxlen=_LAST)
        self._setups: deque[float] = deque(maxlen=_LAST)

    def launched(self, number: int) -> None:
        self._running = {**self._running, number: (self._clock(), Pace())}

    def finished(self, trial: TrialResult) -> None:
        self._running = {n: one for n, one in self._running.items() if n != trial.number}
        if not counts(trial):
            return
        self._durations.append(seconds_of(trial))
        rate = seconds_an_image(trial)
        if rate is not None:
            self._rates.append(rate)
            self._setups.append(setup_seconds(trial))
            if trial.max_epochs:
                self._shares.append(min(1.0, len(trial.epochs) / trial.max_epochs))

    def reached(self, found: Mapping[int, TrialProgress]) -> None:
        """Takes in the progress of running trials, by number."""
        now = self._clock()
        for number, (_, pace) in self._running.items():
            if number in found:
                pace.see(found[number].epoch, found[number].max_epochs, now)

    def text(self, waiting: int, slots: int, best: TrialResult | None) -> str:
        """The time left in words.

        Args:
            waiting: The number of trials that have not started.
            slots: The number of trials that run at the same time.
            best: The trial that would win now.
        """
        now = self._clock()
        most = None if self._deadline is None else max(0.0, self._deadline - now)
        trials = seconds_left(
            list(self._durations),
            [
                Running(now - since, pace.share, pace.rest(now))
                for since, pace in self._running.values()
            ],
            waiting,
            slots,
            list(self._shares),
        )
        after = self._after(best)
        if trials is None and most is None:
            return "time left not yet known"
        if trials is None or (self._forecast and after is None):
            # Nothing is known yet about what follows the trials.
            left = f"at most {duration(most or 0)}"
            if trials is not None:
                left = about(*_cut(trials, most))
            return f"{left} left{self._then()}"
        if self._forecast is None or after is None:
            return f"{about(*_cut(trials, most))} left"
        further, winner = after
        search = _cut((trials[0] + further[0], trials[1] + further[1]), most)
        left = about(search[0] + winner[0], search[1] + winner[1])
        return f"{left} left, {self._forecast.covers}"

    def _then(self) -> str:
        """What comes after the trials, if it is not known how long it takes."""
        if self._forecast is None:
            return ""
        later = "later phases and " if self._forecast.is_unforeseen else ""
        return f" for trials, then {later}the winner's training"

    def _after(self, best: TrialResult | None) -> tuple[Span, Span] | None:
        """Seconds of further trials and of the winner's training; None while they are unknown."""
        rate = self._rate()
        if self._forecast is None or rate is None or self._forecast.is_unforeseen:
            return None
        setup = fmean(self._setups) if self._setups else 0.0
        of_best = rate if best is None else seconds_an_image(best) or rate
        further = self._forecast.further(setup, best, rate)
        return further, self._forecast.finals(best, of_best)

    def _rate(self) -> float | None:
        """Seconds per image: of finished trials or, before there are any, of running ones."""
        if self._rates:
            return fmean(self._rates)
        if self._forecast is None:
            return None
        images = self._forecast.images_an_epoch(self._forecast.phase)
        paces = [pace.seconds_an_epoch for _, pace in self._running.values()]
        known = [pace / images for pace in paces if pace is not None]
        return fmean(known) if known else None


def seconds_left(
    durations: Sequence[float],
    running: Sequence[Running],
    waiting: int,
    slots: int,
    shares: Sequence[float] = (),
) -> tuple[float, float] | None:
    """Estimates the seconds until all trials are done, by simulation.

    Each simulated course draws the durations of the remaining trials from the known ones, gives
    every trial the first free slot, and ends with the last trial. Until one trial is done, the
    running trials' expected durations serve instead.

    Args:
        durations: Seconds that each finished trial took.
        running: The running trials.
        waiting: The number of trials that have not started.
        slots: The number of trials that run at the same time.
        shares: The part of its epochs after which each finished trial ended, from 0 to 1.

    Returns:
        The 10 % and 90 % quantiles; None if nothing is known about any trial.
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
    together = max(0, waiting - _MOST_SIMULATED)
    spread = math.sqrt(together) * known.std()
    sums = rng.normal(together * known.mean(), spread, _DRAWS) if together else np.zeros(_DRAWS)
    free += sums[:, None] / slots
    for _ in range(waiting - together):
        free[np.arange(_DRAWS), free.argmin(axis=1)] += rng.choice(known, _DRAWS)
    drift = np.exp(rng.normal(0, _DRIFT / math.sqrt(len(known)), _DRAWS))
    low, high = np.quantile(free.max(axis=1) * drift, _SPAN)
    return max(0.0, float(low)), max(0.0, float(high))


def _rest(
    known: np.ndarray, shares: np.ndarray, one: Running, rng: np.random.Generator
) -> np.ndarray:
    """Draws of the seconds that a running trial may still take."""
    if one.rest is not None and one.share is not None:
        # It ends where one of the finished trials that got further ended.
        further = shares[shares > one.share]
        if not len(further):
            return np.full(_DRAWS, one.rest)
        ends = rng.choice(further, _DRAWS)
        return one.rest * (ends - one.share) / max(1e-9, 1 - one.share)
    longer = known[known > one.elapsed]
    if len(longer):
        return rng.choice(longer, _DRAWS) - one.elapsed
    return rng.uniform(0, one.elapsed, _DRAWS)


def seconds_of(trial: TrialResult) -> float:
    """The seconds that a trial occupied a slot, including its launch."""
    return (trial.ended - trial.started).total_seconds() + trial.seconds.get("launch", 0.0)


def _cut(span: Span, most: float | None) -> Span:
    """A span cut to the time limit, if there is one."""
    return span if most is None else (min(span[0], most), min(span[1], most))
