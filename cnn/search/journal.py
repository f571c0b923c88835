"""What a run directory keeps so that its search can be resumed after its driver has died."""

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager

from pydantic import AwareDatetime, BaseModel, ConfigDict

from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.core.lock import held
from cnn.core.seeds import derive_seed
from cnn.rundir.data_of_run import START
from cnn.rundir.extension import Extension
from cnn.rundir.trials import CHECKPOINTS, TRIALS, TrialResult, read_trial, trial_file, trial_name
from cnn.settings.schema import Settings
from cnn.train.checkpoint_file import checkpoint_file
from cnn.train.heads import head_name
from cnn.train.out_of_fold import answers_name

SET_ASIDE = "set-aside"


class Start(BaseModel):
    """What a run was started with; `--resume` needs it. It is written after the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    fingerprint: str
    started: AwareDatetime
    configs: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    # How it was extended after it had finished.
    extensions: tuple[Extension, ...] = ()


def write_start(run: Directory, start: Start) -> None:
    """Writes run.json."""
    run.write(START, start.model_dump_json(indent=1).encode())


def read_start(run: Directory) -> Start:
    """Reads run.json. Raises InputError if `run` is not a run that can be resumed."""
    try:
        return read_model(Start, run, START)
    except (FileNotFoundError, NotADirectoryError):
        reason = f"has no {START}"
    except Malformed as error:
        reason = f"has a {START} that cannot be read: {error}"
    raise InputError("{} must name a run directory, but {} {}", Option("resume"), run.uri, reason)


def recover_trials(
    run: Directory, settings: Settings, say: Callable[[str], None] = say
) -> list[TrialResult]:
    """The finished trials by number.

    Files that are damaged or belong to another search are moved to `set-aside/` and reported.
    """
    trials = []
    for name in run.names(TRIALS):
        try:
            trial = read_trial(run, name)
            foreign = _foreign(trial, name, settings)
        except Malformed as error:
            foreign = str(error)
        if foreign is None:
            trials.append(trial)
            continue
        # Moved, not copied: it may be huge, or a link to a file that its author may not read.
        run.move(f"{TRIALS}/{name}", f"{SET_ASIDE}/{name}")
        say(f"{TRIALS}/{name} is not a trial of this search and was set aside: {foreign}")
    return sorted(trials, key=lambda trial: trial.number)


def drop_checkpoints(run: Directory, trials: Iterable[TrialResult], kept: Collection[int]) -> None:
    """Removes the checkpoints of finished trials, except those with the `kept` numbers.

    Cancelled trials keep theirs because they run again.
    """
    names = (
        trial_name(trial.number)
        for trial in trials
        if trial.status != "cancelled" and trial.number not in kept
    )
    _drop(run, {name for one in names for name in (one, head_name(one))})


def drop_answers(run: Directory, trials: Iterable[TrialResult], kept: Collection[int]) -> None:
    """Removes what the networks of finished trials said, except those with the `kept` numbers."""
    numbers = (trial.number for trial in trials if trial.number not in kept)
    _drop(run, {answers_name(trial_name(number)) for number in numbers})


def _drop(run: Directory, names: Collection[str]) -> None:
    for file in {*map(checkpoint_file, names)}.intersection(run.names(CHECKPOINTS)):
        run.delete(f"{CHECKPOINTS}/{file}")


def _foreign(trial: TrialResult, name: str, settings: Settings) -> str | None:
    """Why a trial does not belong to this search; None if it does."""
    if name != trial_file(trial.number):
        return f"it is trial {trial.number}"
    phase = next((phase for phase in settings.phases if phase.name == trial.phase), None)
    if phase is None:
        return f"there is no phase {trial.phase}"
    if trial.seed not in {None, derive_seed(phase.seed, "trial", phase.name, trial.number)}:
        return "its seed belongs to another search"
    return None


def claim_run(run: Directory) -> AbstractContextManager[None]:
    """Keeps other drivers out of a run directory. Raises InputError if another is using it."""
    return held(
        run,
        InputError("a run directory must have one driver, but another is using {}", run.uri),
    )
