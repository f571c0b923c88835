"""The time in which a run's trials were made, without the pauses between its drivers."""

from collections.abc import Iterable
from datetime import datetime

from cnn.rundir.trials import TrialResult

# After this many seconds without any trial, the run was interrupted and resumed.
_INTERRUPTION = 60.0


class Clock:
    """Converts times to seconds since the first trial began, excluding interruptions of the run."""

    def __init__(self, trials: Iterable[TrialResult]) -> None:
        spans = sorted((begin(trial), trial.ended.timestamp()) for trial in trials)
        # When the first trial began, as a timestamp.
        self.first = spans[0][0] if spans else 0.0
        self._gaps: list[tuple[float, float]] = []
        latest = self.first
        for start, end in spans:
            if start - latest > _INTERRUPTION:
                self._gaps.append((latest, start))
            latest = max(latest, end)

    def at(self, when: datetime | float) -> float:
        """The seconds of a time, which may be a timestamp."""
        moment = when if isinstance(when, float) else when.timestamp()
        lost = sum(max(0.0, min(moment, end) - start) for start, end in self._gaps)
        return moment - self.first - lost

    @property
    def interruptions(self) -> int:
        """How often the run was interrupted."""
        return len(self._gaps)


def begin(trial: TrialResult) -> float:
    """When the trial took its slot, which is before its process began."""
    return trial.started.timestamp() - max(0.0, trial.seconds.get("launch", 0.0))
