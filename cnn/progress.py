"""What a person sees while trials run: a live table on a terminal, plain lines in a log."""

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from cnn.formats import plain
from cnn.live import Row, screen
from cnn.remaining import seconds_left
from cnn.results import TrialResult, best_trial
from cnn.running import Reached
from cnn.settings import Objective

# How often it is read what running trials have reached.
_READ_SECONDS = 1.0


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def span(low: float, high: float) -> str:
    """Between two lengths of time, the unit said once where it is the same."""
    shorter, longer = duration(low), duration(high)
    number, unit = shorter.split()
    if shorter == longer:
        return longer
    return f"{number if unit == longer.split()[1] else shorter} to {longer}"


def clock(seconds: float) -> str:
    """A length of time in little room: 1:48, or 1:02:33 from an hour on."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_jupyter:
        return console
    # Its output calls itself a terminal, but nothing in it redraws.
    return Console(file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=False)


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
    """Follows trials: on a terminal in a table of those that run, elsewhere each result is a line.

    `launched` and `finished` cost nothing to speak of: a thread of its own reads, and draws.
    """

    def __init__(
        self,
        title: str,
        objective: Objective,
        *,
        total: int,
        parallelism: int,
        earlier: Sequence[TrialResult] = (),
        varying: Sequence[str] = (),
        timeout: float | None = None,
        read: Callable[[Collection[int]], Mapping[int, Reached]] = lambda numbers: {},
    ) -> None:
        """`earlier` are trials that were finished before, by another driver; `varying` names the
        parameters that the search varies; `read` says what running trials have reached.
        """
        self._title = title
        self._total = total
        # Changes where executors come and go.
        self.parallelism = parallelism
        self._objective = objective
        self._varying = varying
        self._read = read
        self._running: dict[int, _Running] = {}
        self._best: TrialResult | None = None
        self._counts: Counter[str] = Counter()
        # Seconds that a slot was taken by each trial that is done.
        self._durations: list[float] = []
        for trial in earlier:
            self._take_in(trial)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        # What the thread has found: the table is drawn from it.
        self._reached: Mapping[int, Reached] = {}
        self._left = "time left not yet known"
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._console = _console()
        self._live = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._screen, console=self._console, refresh_per_second=2
            )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._live:
            # A file system that hangs holds up the thread, not the search.
            self._watcher.join(timeout=1)
            self._live.stop()

    def launched(self, number: int, params: Mapping[str, Any] | None = None) -> None:
        self._running = {**self._running, number: _Running(params or {}, time.monotonic())}

    def finished(self, trial: TrialResult) -> None:
        """Takes a result in; trials that were never launched are `invalid`."""
        self._running = {n: one for n, one in self._running.items() if n != trial.number}
        self._take_in(trial)
        if self._live is None:
            score = "-" if trial.accuracy is None else f"{trial.accuracy:.4f}"
            self._console.print(
                Text(plain(f"trial {trial.number}: {trial.status} {score} | {self._line()}")),
                soft_wrap=True,
            )

    def _take_in(self, trial: TrialResult) -> None:
        self._counts[trial.status] += 1
        if trial.status not in {"invalid", "cancelled"}:
            self._durations.append(_seconds(trial))
        # Repetitions of a trial are compared with one another.
        alike = trial.model_copy(update={"repeats": None})
        known = [self._best, alike] if self._best else [alike]
        self._best = best_trial(known, self._objective)

    def _line(self) -> str:
        parts = self._done()
        parts.insert(1, f"{len(self._running)} running")
        if self._best is not None:
            parts.append(f"best {self._best.accuracy:.4f} (trial {self._best.number})")
        return ", ".join([*parts, self._time_left()])

    def _done(self) -> list[str]:
        done = self._number_done()
        pruned = self._counts["pruned"]
        failed = done - pruned - self._counts["ok"]
        others = {"stopped early": pruned, "failed": failed, "cancelled": self._counts["cancelled"]}
        said = [f"{count} {what}" for what, count in others.items() if count]
        return [f"{self._title}: {done} of {self._total} trials done", *said]

    def _number_done(self) -> int:
        return self._counts.total() - self._counts["invalid"] - self._counts["cancelled"]

    def _time_left(self) -> str:
        now, running = time.monotonic(), self._running
        left = seconds_left(
            list(self._durations),
            [now - one.since for one in running.values()],
            max(0, self._total - self._number_done() - len(running)),
            self.parallelism,
        )
        if left is None:
            return "time left not yet known"
        most = float("inf") if self._deadline is None else max(0.0, self._deadline - now)
        return f"about {span(*(min(seconds, most) for seconds in left))} left"

    def _watch(self) -> None:
        while True:
            self._left = self._time_left()
            # What cannot be read now may be the next time; meanwhile the search goes on.
            with contextlib.suppress(Exception):
                self._reached = self._read(sorted(self._running))
            if self._over.wait(_READ_SECONDS):
                return

    def _screen(self) -> RenderableType:
        running, reached, best = self._running, self._reached, self._best
        lines = [", ".join(self._done())]
        if running:
            lines.append(f"{len(running)} of {self.parallelism} slots busy, {self._left}")
        best_row = None if best is None else _best_row(best)
        rows = [self._row(number, running[number], reached) for number in sorted(running)]
        return screen(self._console, rows, best_row, self._varying, lines)

    def _row(self, number: int, running: _Running, reached: Mapping[int, Reached]) -> Row:
        epoch, accuracy, rung = "-", "-", "-"
        found = reached.get(number)
        if found is not None:
            epoch = f"{found.epoch}/{found.max_epochs}"
            accuracy = accuracy if found.accuracy is None else f"{found.accuracy:.4f}"
            rung = f"{found.rungs}/{found.max_rungs}" if found.max_rungs else rung
        time_running = clock(time.monotonic() - running.since)
        return Row((str(number), epoch, accuracy, rung, time_running), running.params)


def _seconds(trial: TrialResult) -> float:
    """How long a slot was taken by a trial, its start included."""
    return (trial.ended - trial.started).total_seconds() + trial.seconds.get("launch", 0.0)


def _best_row(best: TrialResult) -> Row:
    epochs = f"{len(best.epochs)}/{best.max_epochs or len(best.epochs)}"
    accuracy = "-" if best.accuracy is None else f"{best.accuracy:.4f}"
    cells = (f"best: {best.number}", epochs, accuracy, "-", clock(_seconds(best)))
    return Row(cells, best.params)
