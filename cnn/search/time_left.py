"""The time that a search has left, as it is said: from trials that are done, and those that run."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from statistics import fmean

from cnn.core.clock import about, duration
from cnn.rundir.heartbeat import Reached
from cnn.rundir.trials import TrialResult
from cnn.search.forecast import Forecast, Span, images_an_epoch, seconds_an_image, setup_seconds
from cnn.search.remaining import Pace, Running, seconds_left

# As many trials as say how long the next ones take.
_LAST = 1000


class TimeLeft:
    """Follows a round of trials. What comes after it is in what it says, where that is known."""

    def __init__(
        self,
        forecast: Forecast | None,
        timeout: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._forecast = forecast
        self._clock = clock
        self._deadline = None if timeout is None else clock() + timeout
        # Number -> since when it runs, and how fast.
        self._running: dict[int, tuple[float, Pace]] = {}
        # Of trials that are done: seconds that a slot was taken, the part of their epochs that they
        # had, seconds for each image, and those before the first one.
        self._durations: deque[float] = deque(maxlen=_LAST)
        self._shares: deque[float] = deque(maxlen=_LAST)
        self._rates: deque[float] = deque(maxlen=_LAST)
        self._setups: deque[float] = deque(maxlen=_LAST)

    def launched(self, number: int) -> None:
        self._running = {**self._running, number: (self._clock(), Pace())}

    def finished(self, trial: TrialResult) -> None:
        self._running = {n: one for n, one in self._running.items() if n != trial.number}
        if trial.status in {"invalid", "cancelled"}:
            return
        self._durations.append(seconds_of(trial))
        rate = seconds_an_image(trial)
        if rate is not None:
            self._rates.append(rate)
            self._setups.append(setup_seconds(trial))
            if trial.max_epochs:
                self._shares.append(min(1.0, len(trial.epochs) / trial.max_epochs))

    def reached(self, found: Mapping[int, Reached]) -> None:
        """Takes in what running trials have reached."""
        now = self._clock()
        for number, (_, pace) in self._running.items():
            if number in found:
                pace.see(found[number].epoch, found[number].max_epochs, now)

    def said(self, waiting: int, slots: int, best: TrialResult | None) -> str:
        """`waiting` trials are to come; `best` is the one that would win now."""
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
            # Of what comes after the trials nothing is known.
            left = f"at most {duration(most or 0)}"
            if trials is not None:
                left = about(*_cut(trials, most))
            then = " for trials, then the winner's training" if self._forecast else ""
            return f"{left} left{then}"
        if self._forecast is None or after is None:
            return f"{about(*_cut(trials, most))} left"
        further, winner = after
        search = _cut((trials[0] + further[0], trials[1] + further[1]), most)
        left = about(search[0] + winner[0], search[1] + winner[1])
        return f"{left} left, {self._forecast.covers}"

    def _after(self, best: TrialResult | None) -> tuple[Span, Span] | None:
        """Seconds of further trials and of the winner; None while nothing is known of them."""
        rate = self._rate()
        if self._forecast is None or rate is None:
            return None
        setup = fmean(self._setups) if self._setups else 0.0
        of_best = rate if best is None else seconds_an_image(best) or rate
        further = self._forecast.further(setup, best, rate)
        return further, self._forecast.winner(best, of_best)

    def _rate(self) -> float | None:
        if self._rates:
            return fmean(self._rates)
        if self._forecast is None:
            return None
        images = images_an_epoch(self._forecast.phase, self._forecast.manifest)
        paces = [pace.seconds_an_epoch for _, pace in self._running.values()]
        known = [pace / images for pace in paces if pace is not None]
        return fmean(known) if known else None


def seconds_of(trial: TrialResult) -> float:
    """How long a slot was taken by a trial, its start included."""
    return (trial.ended - trial.started).total_seconds() + trial.seconds.get("launch", 0.0)


def _cut(span: Span, most: float | None) -> Span:
    """No longer than the time that there is."""
    return span if most is None else (min(span[0], most), min(span[1], most))
