"""What a person sees while trials run: one line that redraws, or plain lines in a log."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cnn.results import TrialResult, best_trial
from cnn.settings import Objective


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


class SearchProgress:
    """Follows trials. On a terminal its line redraws; elsewhere each result is a line."""

    def __init__(
        self,
        title: str,
        objective: Objective,
        *,
        total: int,
        parallelism: int,
        earlier: Sequence[TrialResult] = (),
    ) -> None:
        """`earlier` are trials that were finished before, by another driver."""
        self._title = title
        self._total = total
        self._parallelism = parallelism
        self._objective = objective
        self._running = 0
        self._results = list(earlier)
        self._earlier = sum(trial.status != "invalid" for trial in earlier)
        self._started = time.monotonic()
        self._console = Console(file=sys.stdout, highlight=False)
        self._live = (
            Live(get_renderable=self._line, console=self._console, refresh_per_second=4)
            if self._console.is_terminal
            else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def launched(self) -> None:
        self._running += 1

    def finished(self, trial: TrialResult) -> None:
        """Takes a result in; trials that were never launched are `invalid`."""
        if trial.status != "invalid":
            self._running -= 1
        self._results.append(trial)
        if self._live is None:
            score = "-" if trial.accuracy is None else f"{trial.accuracy:.4f}"
            self._console.print(
                Text(f"trial {trial.number}: {trial.status} {score} | ") + self._line(),
                soft_wrap=True,
            )

    def _line(self) -> Text:
        done = [trial for trial in self._results if trial.status != "invalid"]
        failed = sum(trial.status not in {"ok", "pruned", "cancelled"} for trial in done)
        pruned = sum(trial.status == "pruned" for trial in done)
        # Repetitions of a trial are compared with one another.
        alike = [trial.model_copy(update={"repeats": None}) for trial in done]
        best = best_trial(alike, self._objective)
        parts = [f"{self._title}: {len(done)} of {self._total} trials done"]
        parts.append(f"{self._running} running")
        if pruned:
            parts.append(f"{pruned} stopped early")
        if failed:
            parts.append(f"{failed} failed")
        if best is not None:
            parts.append(f"best {best.accuracy:.4f} (trial {best.number})")
        left = self._seconds_left(len(done))
        parts.append("time left not yet known" if left is None else f"about {duration(left)} left")
        return Text(", ".join(parts))

    def _seconds_left(self, done: int) -> float | None:
        """From the rate so far, the start-up of the first trials included."""
        here = done - self._earlier
        if here <= 0:
            return None
        elapsed = time.monotonic() - self._started
        # Those under way are half done, on average.
        return max(0.0, elapsed / (here + self._running / 2) * (self._total - done) - 0.5)
