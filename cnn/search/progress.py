"""What a user sees while trials run: the running trials, the best so far, and the time left."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType

from cnn.core.clock import clock
from cnn.core.console import shortened
from cnn.core.display import Display, OnStdout, Say, silent
from cnn.rundir.heartbeat import TrialProgress
from cnn.rundir.trials import Status, TrialResult, best_trial, counted
from cnn.search.forecast import Forecast
from cnn.search.time_left import TimeLeft, seconds_of
from cnn.search.trials_table import HEADINGS, TrialRow, html_table, terminal_table
from cnn.settings.objective import Objective, has_own_field, metric_words

# The characters of the heading of an objective of one's own.
_MOST_HEADING = 12


@dataclass(frozen=True)
class _Running:
    params: Mapping[str, Any]
    since: float


class SearchProgress:
    """Shows how far a round of trials is: as a table where it can be redrawn, else as lines.

    `launched` and `finished` return quickly: the display's thread does the reading and drawing.
    """

    # Seconds without a finished trial after which a log gets a line about the running ones.
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
        read: Callable[[Collection[int]], Mapping[int, TrialProgress]] = lambda numbers: {},
        display: Display | None = None,
    ) -> None:
        """Prepares the display of a round of trials.

        Args:
            title: What the round is called.
            objective: What trials are ranked by.
            total: The number of trials in the round.
            parallelism: The number of trials that run at the same time.
            first_number: The number of the round's first trial.
            earlier: Trials that an earlier driver finished.
            varying: The parameters that the search varies.
            timeout: Seconds until the round is cancelled.
            forecast: What follows the round.
            best: The best trial before the round.
            read: Returns the progress of the running trials with the given numbers.
            display: Where the progress is shown; standard output by default.
        """
        self._title = title
        self._total = total
        # Changes as executors come and go.
        self.parallelism = parallelism
        self._first_number = first_number
        self._objective = objective
        # An objective that is no accuracy and no loss is shown beside the accuracy.
        self._metric = None if has_own_field(objective) else metric_words(objective)
        self._varying = varying
        self._read = read
        self._running: dict[int, _Running] = {}
        self._best: TrialResult | None = None
        self._would_win = best
        self._counts: Counter[Status] = Counter()
        self._time_left = TimeLeft(forecast, timeout)
        for trial in earlier:
            self._take_in(trial)
        # Written by the display's thread.
        self._reached: Mapping[int, TrialProgress] = {}
        self._left = self._time_left_text()
        self._shown = (display or OnStdout()).show(self)
        self._say: Say = silent

    def __enter__(self) -> Self:
        self._say = self._shown.__enter__()
        self._say(lambda: ", ".join([*self._done(), self._time_left_text()]))
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
        """Takes in a result; trials that were never launched are `invalid`."""
        self._running = {n: one for n, one in self._running.items() if n != trial.number}
        self._take_in(trial)
        score = self._score(trial)
        self._say(lambda: f"trial {trial.number}: {trial.status} {score} | {self._status()}")

    def _take_in(self, trial: TrialResult) -> None:
        self._counts[trial.status] += 1
        self._time_left.finished(trial)
        # Repetitions of a trial are compared with one another.
        alike = trial.model_copy(update={"repeats": None})
        known = [self._best, alike] if self._best else [alike]
        self._best = best_trial(known, self._objective)

    def _status(self) -> str:
        parts = self._done()
        parts.insert(1, f"{len(self._running)} running")
        if self._best is not None:
            parts.append(f"best {self._score(self._best)} (trial {self._best.number})")
        return ", ".join([*parts, self._time_left_text()])

    def _score(self, trial: TrialResult) -> str:
        accuracy = _accuracy(trial.accuracy)
        if self._metric is None or trial.accuracy is None:
            return accuracy
        return f"{self._metric} {_number(trial.objective)}, accuracy {accuracy}"

    def _done(self) -> list[str]:
        done = self._number_done()
        pruned = self._counts["pruned"]
        failed = done - pruned - self._counts["ok"]
        others = {"stopped early": pruned, "failed": failed, "cancelled": self._counts["cancelled"]}
        said = [f"{count} {what}" for what, count in others.items() if count]
        # Explains why a trial's number may exceed the number of trials.
        reasons = numbering(self._counts["invalid"], self._first_number)
        brackets = f" ({', '.join(reasons)})" if reasons else ""
        return [f"{self._title}: {done} of {self._total} trials done{brackets}", *said]

    def _number_done(self) -> int:
        return counted(self._counts)

    def _time_left_text(self) -> str:
        waiting = max(0, self._total - self._number_done() - len(self._running))
        return self._time_left.text(waiting, self.parallelism, self._best or self._would_win)

    def refresh(self) -> None:
        """Reads the running trials' progress and estimates the time left."""
        # The time left decreases even if the progress cannot be read.
        self._left = self._time_left_text()
        self._reached = self._read(sorted(self._running))
        self._time_left.reached(self._reached)

    def line(self) -> str:
        """The round's progress in one line."""
        running = [
            f"trial {number} at epoch {self._reached[number].epochs()}"
            for number in sorted(self._running)[:4]
            if number in self._reached
        ]
        return ", ".join([self._status(), *running])

    def screen(self, console: Console) -> RenderableType:
        """The table for a terminal."""
        table = self._rows(), self._best_row(), self._varying, self._lines(), self._headings()
        return terminal_table(console, *table)

    def html(self) -> str:
        """The table for a notebook."""
        table = self._rows(), self._best_row(), self._varying, self._lines(), self._headings()
        return html_table(*table)

    def _headings(self) -> Sequence[str]:
        return self._with_objective(HEADINGS, shortened(self._metric or "", _MOST_HEADING))

    def _with_objective(self, cells: Sequence[str], own: str) -> tuple[str, ...]:
        """Cells of the table, with that of an objective that has a column."""
        return (*cells[:3], *([own] if self._metric else []), *cells[3:])

    def _lines(self) -> list[str]:
        lines = [", ".join(self._done())]
        if self._running:
            lines.append(f"{len(self._running)} of {self.parallelism} slots busy, {self._left}")
        return lines

    def _rows(self) -> list[TrialRow]:
        running, reached = self._running, self._reached
        return [
            self._row(number, running[number], reached.get(number)) for number in sorted(running)
        ]

    def _row(self, number: int, running: _Running, found: TrialProgress | None) -> TrialRow:
        epoch, accuracy, objective, rung = "-", "-", "-", "-"
        if found is not None:
            epoch, accuracy = found.epochs(), _accuracy(found.accuracy)
            objective = _number(found.objective)
            rung = f"{found.rungs}/{found.max_rungs}" if found.max_rungs else rung
        cells = str(number), epoch, accuracy, rung, clock(time.monotonic() - running.since)
        return TrialRow(self._with_objective(cells, objective), running.params)

    def _best_row(self) -> TrialRow | None:
        best = self._best
        if best is None:
            return None
        epochs = f"{len(best.epochs)}/{best.max_epochs or len(best.epochs)}"
        accuracy, seconds = _accuracy(best.accuracy), clock(seconds_of(best))
        cells = f"best: {best.number}", epochs, accuracy, "-", seconds
        return TrialRow(self._with_objective(cells, _number(best.objective)), best.params)


def _accuracy(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def numbering(invalid: int, first: int) -> list[str]:
    """Why the trials' numbers exceed their count; empty if they do not."""
    said = [f"{invalid} more could not be built"] if invalid else []
    return [*said, f"numbers from {first} on"] if first else said
