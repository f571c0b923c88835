"""When a phase ends early.

Its target is reached, trials no longer improve, more of them would find nothing, or too many fail.
"""

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.rundir.trials import TRIALS, Key, TrialResult, counts, objective_value, trial_key
from cnn.search.saturation import saturated
from cnn.settings.network_size import NetworkSize
from cnn.settings.schema import PhaseSettings

_FAILED = {"diverged", "invalid", "timeout", "out_of_memory", "crashed", "lost"}
# So many networks in a row that are larger or slower than the limits: no other will be found.
_MOST_BEYOND_LIMITS = 100


class Stopping:
    """Decides from the trials of a phase, as they end, whether it is over."""

    def __init__(self, phase: PhaseSettings, run: Directory, chance: float = 0.0) -> None:
        """`chance` is the accuracy of guessing the largest class."""
        self._phase = phase
        self._run = run
        self._chance = chance
        self._best: Key | None = None
        self._reached = False
        self._stalled = 0
        self._trials: list[TrialResult] = []
        self._saturated: str | None = None
        self._failures: list[TrialResult] = []
        self._beyond_in_a_row = 0

    def add(self, trial: TrialResult) -> None:
        """Takes in a trial. Raises Error if too many in a row have failed."""
        self.remember(trial)
        if _beyond_limits(self._phase, trial):
            self._beyond_in_a_row += 1
            self._check_limits(trial)
            return
        if counts(trial):
            self._beyond_in_a_row = 0
        # A trial that was never launched (no host) says nothing about the cluster.
        if trial.status in _FAILED and (trial.status != "invalid" or trial.host is not None):
            self._failures.append(trial)
            self._check_failures()
        elif trial.status in {"ok", "pruned"}:
            self._failures.clear()

    def remember(self, trial: TrialResult) -> None:
        """Takes in a trial of an earlier driver, whose failures do not count for this one."""
        self._trials.append(trial)
        if not counts(trial):
            return
        key = trial_key(self._phase.objective, trial)
        if trial.status == "ok" and (self._best is None or key < self._best):
            self._best, self._stalled = key, 0
            self._reached = self._reached or self._reaches(trial)
        else:
            self._stalled += 1

    def go_on(self) -> None:
        """Lets a finished search go on: what had ended it does not by itself end it again."""
        self._stalled = 0
        self._saturated = None
        if self._reached:
            self._phase = self._phase.model_copy(update={"target": None})
            self._reached = False

    @property
    def is_saturated(self) -> bool:
        """Whether the phase is over because more trials would find nothing."""
        return self._saturated is not None

    def reason(self) -> str | None:
        """Why the phase is over; None if it goes on."""
        if self._reached:
            return f"the target of {self._phase.target:g} was reached"
        most = self._phase.max_stalled
        if most is not None and self._stalled >= most:
            return f"{self._stalled} trials in a row were no better"
        # Trials that were running then, and end all the same, change nothing about it.
        self._saturated = self._saturated or saturated(self._phase, self._trials, self._chance)
        return self._saturated

    def _reaches(self, trial: TrialResult) -> bool:
        target, objective = self._phase.target, self._phase.objective
        value = objective_value(objective, trial)
        if target is None or value is None:
            return False
        return value <= target if objective == "val_loss" else value >= target

    def _check_limits(self, last: TrialResult) -> None:
        if self._beyond_in_a_row >= _MOST_BEYOND_LIMITS:
            raise Error(
                f"{self._beyond_in_a_row} networks in a row were beyond the limits; the "
                f"last one, trial {last.number}: {last.cause()}"
            )

    def _check_failures(self) -> None:
        if len(self._failures) < self._phase.max_consecutive_failures:
            return
        first = self._failures[0]
        raise Error(
            f"{len(self._failures)} trials in a row failed (search.max_consecutive_failures); the "
            f"first, trial {first.number} ({first.status}): {first.cause()}; "
            f"see {self._run.uri}/{TRIALS}"
        )


def _beyond_limits(phase: PhaseSettings, trial: TrialResult) -> bool:
    """Whether a trial was refused for its network's size or time, which is no failure."""
    if trial.status != "invalid":
        return False
    most, taken = phase.max_latency_ms, trial.latency_ms
    if most is not None and taken is not None and taken > most:
        return True
    if trial.parameters is None:
        return False
    size = NetworkSize(trial.parameters, trial.operations)
    return size.beyond(phase.max_parameters, phase.max_operations) is not None
