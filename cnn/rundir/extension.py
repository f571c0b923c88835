"""RUN/extension: a finished run's search that goes on, until its new final replaces the old one.

The finished run stays as it is meanwhile, so that its model can be used at any time; only trials
are added to it. The folder has the settings and `extension.json`, what the extension began with,
and later all that its winner's training and test left. Then the old final is kept in RUN/earlier/1
(2, 3, ...), the new one takes its place (`cnn.search.publish`), and the folder is gone.
"""

from pydantic import AwareDatetime

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError
from cnn.data.manifest import Count
from cnn.rundir.result import EarlierFinal, EarlierTest, RunResult
from cnn.rundir.trials import counted
from cnn.settings.validation import Frozen, PositiveInt

EXTENSION = "extension"
EARLIER_FINALS = "earlier"
# In RUN/extension; without it nothing has begun.
BEGUN = "extension.json"


class Extension(Frozen):
    """How a finished run is extended: RUN/extension/extension.json, and then a part of run.json."""

    started: AwareDatetime
    command: tuple[str, ...]
    configs: tuple[str, ...]
    # The number of the first new trial.
    first_number: Count
    # The trials that the phase which goes on had, and how many more it gets.
    trials: Count
    more: PositiveInt


def write_extension(run: Directory, extension: Extension) -> None:
    """Writes that the extension has begun; its settings must have been written before."""
    run.write(f"{EXTENSION}/{BEGUN}", extension.model_dump_json(indent=1).encode())


def read_extension(run: Directory) -> Extension | None:
    """The extension that a run is in the middle of, or None. Raises InputError if it is damaged."""
    try:
        return read_model(Extension, run, f"{EXTENSION}/{BEGUN}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Malformed as error:
        raise InputError(
            f"{run.uri}/{EXTENSION}/{BEGUN} must say how the run is extended, but: {error}; "
            f"without the folder {EXTENSION} the run is as it was before"
        ) from None


def remove_extension(run: Directory) -> None:
    """Removes what is left of an extension that has ended, or that never began."""
    begun = f"{EXTENSION}/{BEGUN}"
    if run.exists(begun):
        # First, so that what a killed process leaves does not look like one that goes on.
        run.delete(begun)
    run.sub(EXTENSION).remove()


def as_earlier(before: RunResult, *, kept: bool) -> EarlierFinal:
    """A run's final, as the result of its extension lists it.

    Args:
        before: The result that the run had.
        kept: Whether its winner won again, so that its model and its test stay the run's.
    """
    test = before.test.model_dump(include={*EarlierTest.model_fields})
    return EarlierFinal(
        params=before.params,
        winner=before.winner,
        validation=before.validation,
        test=EarlierTest.model_validate(test),
        trials=before.trials,
        command=before.command,
        ended=before.ended,
        kept=kept,
    )


def extension_lines(result: RunResult) -> list[str]:
    """What a run's user should know of its extensions; no lines without one."""
    if not result.earlier:
        return []
    finals = result.earlier
    counts = [counted(trials) for trials in (*(f.trials for f in finals), result.trials)]
    lines = [f"the search was extended from {' to '.join(map(str, counts))} trials"]
    for place, (final, count) in enumerate(zip(finals, counts, strict=False), 1):
        test = final.test
        if not final.kept:
            lines.append(
                f"after {count} trials, trial {final.winner.number} had won, with test accuracy "
                f"{test.accuracy:.4f} on {test.count} images (95 % confidence interval "
                f"{test.interval.low:.4f} to {test.interval.high:.4f}); its model is in "
                f"{EARLIER_FINALS}/{place}"
            )
    if finals[-1].kept:
        lines.append(
            f"nothing better was found: trial {result.winner.number} wins again, its model and its "
            "test result were kept, and the test set was not opened again for it"
        )
    again = opened_again(result)
    return lines if again is None else [*lines, again]


def opened_again(result: RunResult) -> str | None:
    """What it means that the test set was opened more than once; None if it was not."""
    times = 1 + sum(not final.kept for final in result.earlier)
    if times == 1:
        return None
    return (
        f"the test set has been opened {'twice' if times == 2 else f'{times} times'}: the search "
        "was extended when a test result was known, so the test accuracy is no longer quite "
        "unbiased; a strict figure needs test images that were never used"
    )
