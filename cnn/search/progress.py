"""What a person sees while trials run: those that run, the best so far, and the time left."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType

from cnn.core.clock import clock, duration
from cnn.core.display import Display, OnStdout, Say, silent
from cnn.rundir.heartbeat import Reached
from cnn.rundir.trials import TrialResult, best_trial
from cnn.search.forecast import Forecast
from cnn.search.notebook_view import trials_html
from cnn.search.time_left import TimeLeft, seconds_of
from cnn.search.trials_table import Row, screen
from cnn.settings.schema import Objective


@contextlib.contextmanager
def hosts_progress(
    read: Callable[[], Sequence[float]], say: Callable[[str], None], *, seconds: float = 10.0
) -> Iterator[None]:
    """Says every few seconds how far the hosts are that get the images before trials begin.

    `read` finds the share of the images that each host has, from 0 to 1; it may fail.
    """
    began, over = time.monotonic(), threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(Exception):
                shares = read()
                if shares:
                    say(_hosts_line(shares, time.monotonic() - began))

    watcher = threading.Thread(target=watch, name="hosts", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # A file system that hangs holds up the thread, not the search.
        watcher.join(timeout=1)


def _hosts_line(shares: Sequence[float], elapsed: float) -> str:
    least = min(shares)
    where = "the host" if len(shares) == 1 else f"the slowest of {len(shares)} hosts"
    # Copying goes on at one speed, unlike trials.
    further = f", about {duration(elapsed * (1 - least) / least)} left" if least else ""
    return f"images on {where}: {least:.0%}{further}"


@dataclass(frozen=True)
class _Running:
    params: Mapping[str, Any]
    since: float


class SearchProgress:
    """Follows trials: a table of those that run where it can be redrawn, elsewhere lines.

    `launched` and `finished` cost nothing to speak of: the display's own thread reads and draws.
    """

    # A log has a line for each trial; between those, what runs is a line now and then.
    quiet_seconds = 60.0

    def __init__(
        self,
        title: str,
        objective: Objective,
        *,
        total: int,
        parallelism: int,
        first_number: int = 0,
        earlier: Sequence[TrialResult] = (),
        varying: Sequence[str] = (),
        timeout: float | None = None,
        forecast: Forecast | None = None,
        best: TrialResult | None = None,
        read: Callable[[Collection[int]], Mapping[int, Reached]] = lambda numbers: {},
        display: Display | None = None,
    ) -> None:
        """`earlier` are trials that were finished before, by another driver; `varying` names the
        parameters that the search varies; `best` is the trial that would win if none of these were
        done; `read` says what running trials have reached.
        """
        self._title = title
        self._total = total
        # Changes where executors come and go.
        self.parallelism = parallelism
        self._first_number = first_number
        self._objective = objective
        self._varying = varying
        self._read = read
        self._running: dict[int, _Running] = {}
        self._best: TrialResult | None = None
        self._would_win = best
        self._counts: Counter[str] = Counter()
        self._time_left = TimeLeft(forecast, timeout)
        for trial in earlier:
            self._take_in(trial)
        # What the display's thread has found.
        self._reached: Mapping[int, Reached] = {}
        self._left = self._said_left()
        self._shown = (display or OnStdout()).show(self)
        self._say: Say = silent

    def __enter__(self) -> Self:
        self._say = self._shown.__enter__()
        self._say(lambda: ", ".join([*self._done(), self._said_left()]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.__exit__(kind, error, trace)

    def launched(self, number: int, params: Mapping[str, Any] | None = None) -> None:
        self._running = {**self._running, number: _Running(params or {}, time.monotonic())}
        self._time_left.launched(number)

    def finished(self, trial: TrialResult) -> None:
        """Takes a result in; trials that were never launched are `invalid`."""
        self._running = {n: one for n, one in self._running.items() if n != trial.number}
        self._take_in(trial)
        score = "-" if trial.accuracy is None else f"{trial.accuracy:.4f}"
        self._say(lambda: f"trial {trial.number}: {trial.status} {score} | {self._standing()}")

    def _take_in(self, trial: TrialResult) -> None:
        self._counts[trial.status] += 1
        self._time_left.finished(trial)
        # Repetitions of a trial are compared with one another.
        alike = trial.model_copy(update={"repeats": None})
        known = [self._best, alike] if self._best else [alike]
        self._best = best_trial(known, self._objective)

    def _standing(self) -> str:
        parts = self._done()
        parts.insert(1, f"{len(self._running)} running")
        if self._best is not None:
            parts.append(f"best {self._best.accuracy:.4f} (trial {self._best.number})")
        return ", ".join([*parts, self._said_left()])

    def _done(self) -> list[str]:
        done = self._number_done()
        pruned = self._counts["pruned"]
        failed = done - pruned - self._counts["ok"]
        others = {"stopped early": pruned, "failed": failed, "cancelled": self._counts["cancelled"]}
        said = [f"{count} {what}" for what, count in others.items() if count]
        # Why a trial may have a higher number than there are trials.
        apart = numbering(self._counts["invalid"], self._first_number)
        brackets = f" ({', '.join(apart)})" if apart else ""
        return [f"{self._title}: {done} of {self._total} trials done{brackets}", *said]

    def _number_done(self) -> int:
        return self._counts.total() - self._counts["invalid"] - self._counts["cancelled"]

    def _said_left(self) -> str:
        waiting = max(0, self._total - self._number_done() - len(self._running))
        return self._time_left.said(waiting, self.parallelism, self._best or self._would_win)

    def refresh(self) -> None:
        """Reads what running trials have reached, and thinks of the time left."""
        # It passes also while nothing can be read.
        self._left = self._said_left()
        self._reached = self._read(sorted(self._running))
        self._time_left.reached(self._reached)

    def line(self) -> str:
        """How far the trials are that run."""
        running = [
            f"trial {number} at epoch {self._reached[number].epochs()}"
            for number in sorted(self._running)[:4]
            if number in self._reached
        ]
        return ", ".join([self._standing(), *running])

    def screen(self, console: Console) -> RenderableType:
        """The table for a terminal."""
        return screen(console, self._rows(), self._best_row(), self._varying, self._lines())

    def html(self) -> str:
        """The table for a notebook."""
        return trials_html(self._rows(), self._best_row(), self._varying, self._lines())

    def _lines(self) -> list[str]:
        lines = [", ".join(self._done())]
        if self._running:
            lines.append(f"{len(self._running)} of {self.parallelism} slots busy, {self._left}")
        return lines

    def _rows(self) -> list[Row]:
        running, reached = self._running, self._reached
        return [_row(number, running[number], reached.get(number)) for number in sorted(running)]

    def _best_row(self) -> Row | None:
        best = self._best
        if best is None:
            return None
        epochs = f"{len(best.epochs)}/{best.max_epochs or len(best.epochs)}"
        accuracy = "-" if best.accuracy is None else f"{best.accuracy:.4f}"
        cells = (f"best: {best.number}", epochs, accuracy, "-", clock(seconds_of(best)))
        return Row(cells, best.params)


def numbering(invalid: int, first: int) -> list[str]:
    """Why trials have higher numbers than there are trials, if they have."""
    said = [f"{invalid} more could not be built"] if invalid else []
    return [*said, f"numbers from {first} on"] if first else said


def _row(number: int, running: _Running, found: Reached | None) -> Row:
    epoch, accuracy, rung = "-", "-", "-"
    if found is not None:
        epoch = found.epochs()
        accuracy = accuracy if found.accuracy is None else f"{found.accuracy:.4f}"
        rung = f"{found.rungs}/{found.max_rungs}" if found.max_rungs else rung
    time_running = clock(time.monotonic() - running.since)
    return Row((str(number), epoch, accuracy, rung, time_running), running.params)
