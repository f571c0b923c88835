"""A finished run for its report: the result, the trials and the settings."""

from collections.abc import Sequence
from dataclasses import dataclass

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.rundir.result import PhaseResult, RunResult, read_result
from cnn.rundir.trials import TRIALS, TrialResult, count_by_status, read_trials
from cnn.settings.schema import SETTINGS, PhaseSettings, Settings
from cnn.settings.toml import read_settings, settings_text
from cnn.settings.validation import shown


@dataclass(frozen=True)
class FinishedRun:
    """The contents of a run directory that has a result."""

    directory: Directory
    result: RunResult
    # Sorted by number; each belongs to a phase of the settings.
    trials: tuple[TrialResult, ...]
    settings: Settings
    # The text of settings.toml.
    settings_text: str

    def phases(self) -> list[PhaseResult]:
        """The phases that ran, in order, including those without a best trial."""
        known = {phase.name: phase for phase in self.result.phases}
        ran = {trial.phase for trial in self.trials} | known.keys()
        return [
            known.get(phase.name) or _without_best(phase, self.trials)
            for phase in self.settings.phases
            if phase.name in ran
        ]

    def winner(self) -> TrialResult | None:
        """The trial that won; None if its file is missing."""
        number = self.result.winner.number
        return next((trial for trial in self.trials if trial.number == number), None)


def _without_best(phase: PhaseSettings, trials: Sequence[TrialResult]) -> PhaseResult:
    return PhaseResult(
        name=phase.name,
        strategy=phase.strategy,
        objective=phase.objective,
        best=None,
        params={},
        trials=count_by_status(trial for trial in trials if trial.phase == phase.name),
        train_images=None,
        epochs=phase.epochs,
        confirmation=None,
        simplest=None,
    )


def searched(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials, without those that repeat another one with a different seed."""
    return [trial for trial in trials if trial.repeats is None]


def read_run(run: Directory) -> FinishedRun:
    """Reads a finished run; executes nothing in it and does not import its network's function.

    Raises InputError if there is no result of this schema version, if the settings are invalid, or
    if a trial belongs to a different search. Raises Error if a trial's file is invalid.
    """
    result, text = read_result(run), settings_text(run)
    try:
        settings = read_settings(text)
    except InputError as error:
        raise InputError(
            f"{run.uri}/{SETTINGS} must hold a run's settings, but does not: {error}"
        ) from None
    trials = read_trials(run)
    names = [phase.name for phase in settings.phases]
    for trial in trials:
        if trial.phase not in names:
            raise InputError(
                f"{run.uri}/{TRIALS} must hold trials of the phases {', '.join(names)}, "
                f"but trial {trial.number} is of {shown(trial.phase)}"
            )
    return FinishedRun(run, result, tuple(trials), settings, text)
