"""What differs in the course of a run that had finished before and is extended.

Its winner may win again: it is neither trained nor tested a second time then. Of any other run
these functions do what is always done.
"""

from collections.abc import Callable
from datetime import datetime

from cnn.model.picture_file import PICTURES
from cnn.rundir.extension import as_earlier, write_extension
from cnn.rundir.result import RunResult, WinnerOutcome, read_result
from cnn.rundir.suspects import LabelCheck
from cnn.rundir.test_predictions import TESTED
from cnn.rundir.trial_clock import Clock
from cnn.rundir.trials import TrialResult
from cnn.search.context import Search
from cnn.search.journal import Start, write_start
from cnn.search.label_check import check_labels_of
from cnn.settings.final import FinalSettings
from cnn.settings.toml import read_settings, settings_text
from cnn.train.final import read_tested


def write_beginning(search: Search, start: Start) -> None:
    """Writes what the run, or its extension, begins with; its settings are there already."""
    if search.extension is None:
        write_start(search.run, start)
    else:
        write_extension(search.run, search.extension)


def trained_before(search: Search, winner: TrialResult) -> WinnerOutcome | None:
    """What training and testing the winner came to, if that was done; or None.

    It was done by a driver that has died since, or before the run was extended.
    """
    kept = _kept_final(search, winner.number)
    if kept is None:
        classes = len(search.manifest.classes)
        return read_tested(search.results, winner.number, classes=classes)
    return WinnerOutcome(
        final=kept.final,
        validation=kept.validation if kept.final.data == "train" else None,
        test=kept.test,
        versions=kept.versions,
        architecture=kept.architecture,
        layers=kept.layers,
        parameters=kept.parameters,
        seconds={name: kept.seconds[name] for name in ("final", "test") if name in kept.seconds},
        backbone=kept.backbone,
    )


def labels_of(
    search: Search, winner: TrialResult, note: Callable[[str], None]
) -> LabelCheck | None:
    """Looks for labels that are probably wrong, unless that was done with the same winner.

    `note` is called with what the user should know.
    """
    kept = _kept_final(search, winner.number)
    if kept is not None:
        if _final_before(search).suspects == search.settings.final.suspects:
            return kept.labels
        # They are judged by the test, and shown with its pictures.
        for name in (TESTED, PICTURES):
            if search.run.exists(name):
                search.results.write(name, search.run.read(name))
    return check_labels_of(search, winner, note)


def search_seconds(search: Search, start: Start, began: datetime, searched: datetime) -> float:
    """How long the search took.

    Interruptions are left out, and the time between a run's end and its extension.

    Args:
        search: What all phases share.
        start: What the run was started with.
        began: When this driver began.
        searched: When this driver had ended the search.
    """
    before, since = 0.0, start.started
    if search.extension is not None:
        before = read_result(search.run).seconds.get("search", 0.0)
        since = search.extension.started
    earlier = [trial for trial in search.earlier if trial.number >= search.first_new]
    if earlier:
        clock = Clock(earlier)
        before += max(0.0, clock.first - since.timestamp())
        before += clock.at(max(trial.ended for trial in earlier))
    return round(before + (searched - began).total_seconds(), 3)


def with_earlier_finals(search: Search, result: RunResult) -> RunResult:
    """The result of an extension with what the run had come to before; any other unchanged."""
    extension = search.extension
    if extension is None:
        return result
    before = read_result(search.run)
    kept = _kept_final(search, result.winner.number) is not None
    return result.model_copy(
        update={
            "earlier": (*before.earlier, as_earlier(before, kept=kept)),
            "command": extension.command,
            "configs": (*before.configs, *extension.configs),
        }
    )


def trained_alike(search: Search) -> RunResult | None:
    """What the run came to before it was extended, if winners are trained as they were then."""
    if search.extension is None:
        return None
    same = _of_training(_final_before(search)) == _of_training(search.settings.final)
    return read_result(search.run) if same else None


def _kept_final(search: Search, winner: int) -> RunResult | None:
    """The run's own final, if it stays: the same trial has won, to be trained in the same way."""
    before = trained_alike(search)
    return before if before is not None and before.winner.number == winner else None


def _final_before(search: Search) -> FinalSettings:
    """[final] of the run before it was extended."""
    return read_settings(settings_text(search.run)).final


def _of_training(final: FinalSettings) -> FinalSettings:
    """Without what does not change how a winner is trained."""
    others = {"suspects": "known", "choose": "best", "margin": None, "pareto": 0}
    return final.model_copy(update=others)
