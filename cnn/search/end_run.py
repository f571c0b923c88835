"""The last steps of a run that has its result, each of which can be repeated.

The final of an extension replaces the run's own, which is kept in RUN/earlier. A driver that is
killed in between is followed by one that does the rest.
"""

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.model.card import MODEL_CARD
from cnn.model.file_check import MODEL
from cnn.model.picture_file import PICTURES
from cnn.report.page import REPORT, write_report
from cnn.rundir.data_of_run import START
from cnn.rundir.extension import (
    BEGUN,
    EARLIER_FINALS,
    EXTENSION,
    read_extension,
    remove_extension,
)
from cnn.rundir.front import PARETO
from cnn.rundir.result import RESULT, read_result
from cnn.rundir.suspects import OUT_OF_FOLD, SUSPECTS
from cnn.rundir.test_predictions import TESTED
from cnn.rundir.trials import CHECKPOINTS
from cnn.search.front_networks import of_front, remove_others
from cnn.search.journal import read_start, write_start
from cnn.settings.schema import SETTINGS
from cnn.train.features import FEATURES
from cnn.train.final import TEST_OUTCOME

# What comes of training and testing a winner.
_OF_WINNER = (MODEL, MODEL_CARD, TESTED, PICTURES, SUSPECTS, OUT_OF_FOLD)
# What is kept of an earlier final; the winner's files only if another winner replaces them.
_KEPT = (SETTINGS, START, REPORT, SUSPECTS)
_KEPT_OF_WINNER = (MODEL, MODEL_CARD, TESTED)


def has_ended(run: Directory) -> bool:
    """Whether the extension of a run has its result, which `end_run` makes the run's own."""
    return run.exists(f"{EXTENSION}/{RESULT}") and run.exists(f"{EXTENSION}/{BEGUN}")


def is_left(run: Directory) -> bool:
    """Whether a driver of a run has died in `end_run`, so that only this is left to do.

    That of an extension ends with removing its folder, from `extension.json` on.
    """
    removing = run.exists(RESULT) and run.sub(EXTENSION).exists() and read_extension(run) is None
    return has_ended(run) or removing


def end_run(run: Directory) -> None:
    """Removes what only an unfinished run needs, and writes the report.

    The result of an extension, with all that belongs to it, becomes the run's own.
    """
    if has_ended(run):
        publish(run)
    run.sub(CHECKPOINTS).remove()
    run.sub(FEATURES).remove()
    if run.exists(TEST_OUTCOME):
        run.delete(TEST_OUTCOME)
    remove_others(run, [network.number for network in read_result(run).pareto])
    run.drop_unfinished()
    write_report(run)
    remove_extension(run)


def publish(run: Directory) -> None:
    """Puts the final of an extension in the place of the run's own.

    Each file is replaced whole, the result last: until then readers find the old one, and the
    winner's model all the time.
    """
    new, extension, start = run.sub(EXTENSION), read_extension(run), read_start(run)
    result = read_result(new)
    if not result.earlier:
        raise InputError(f"{new.uri}/{RESULT} must list an earlier final, but lists none")
    kept = result.earlier[-1].kept
    _keep(run, run.sub(f"{EARLIER_FINALS}/{len(result.earlier)}"), whole=not kept)
    for name in _OF_WINNER:
        if _is_file(new, name):
            run.write(name, new.read(name))
        elif not kept and _is_file(run, name):
            # It is about the winner that is replaced.
            run.delete(name)
    numbers = [network.number for network in result.pareto]
    run.sub(PARETO).remove()
    for name in of_front(new, numbers):
        run.write(name, new.read(name))
    run.write(SETTINGS, new.read(SETTINGS))
    if extension is not None and extension not in start.extensions:
        extensions = (*start.extensions, extension)
        write_start(run, start.model_copy(update={"extensions": extensions}))
    run.write(RESULT, new.read(RESULT))


def _is_file(directory: Directory, name: str) -> bool:
    """Whether a file is there, which can be read without waiting: a pipe is none."""
    return directory.sub(name).is_file()


def _keep(run: Directory, place: Directory, *, whole: bool) -> None:
    """Copies a run's final to `place`, the result last; without the winner if not `whole`."""
    if place.exists(RESULT):
        return
    place.create()
    for name in (*_KEPT, *(_KEPT_OF_WINNER if whole else ())):
        if _is_file(run, name):
            run.copy(name, place)
    for name in of_front(run, [network.number for network in read_result(run).pareto]):
        place.write(name, run.read(name))
    # Whole or not at all, unlike a copy: it says that the others are there.
    place.write(RESULT, run.read(RESULT))
