"""Has an executor look for labels that are probably wrong, when the winner has been tested.

The run has its result by then: whatever fails here is a note, not the end of the run.
"""

import dataclasses
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from cnn.core.clock import about, duration
from cnn.core.failure_reason import failure, last_line
from cnn.data.splits import TRAIN
from cnn.rundir.heartbeat import read_progress, remove_all_progress
from cnn.rundir.suspects import LabelCheck
from cnn.rundir.trials import LOGS, TrialResult, write_log
from cnn.search.context import Search, isolation
from cnn.search.forecast import seconds_an_image, setup_seconds
from cnn.search.hosts_progress import said_regularly
from cnn.search.pace import Pace
from cnn.spark.retry import TaskFailed, launch
from cnn.spark.slots import count_slots, task_profile
from cnn.spark.task import Task, value_or_evidence
from cnn.train.out_of_fold import NETWORKS
from cnn.train.suspects import LabelJob, check_labels

LOG_OF_LABELS = "labels"
# Seconds between two lines about a cross-validation.
_PAUSE = 30.0


def check_labels_of(
    search: Search, winner: TrialResult, note: Callable[[str], None]
) -> LabelCheck | None:
    """Looks for labels that are probably wrong, as `final.suspects` says.

    Args:
        search: What all phases share.
        winner: The trial that won.
        note: Called with what the user should know.

    Returns:
        How many there are; None if they were not looked for, or that failed.
    """
    phase = search.settings.phase(winner.phase)
    if search.settings.final.suspects == "none":
        return None
    assert winner.seed is not None
    is_validated_whole = winner.folds > 1 and phase.train_images is None
    asked = LabelJob(
        job=search.job(phase),
        number=winner.number,
        params=search.settings.model.params_kind.model_validate(winner.params),
        seed=winner.seed,
        cross_validation=search.settings.final.suspects == "all" and not is_validated_whole,
    )
    context = search.spark.sparkContext
    slots = count_slots(context, phase)
    isolated = dataclasses.replace(isolation(search, phase, slots, 1), timeout=None)
    context.setJobDescription("looking for wrong labels")
    shown = _cross_validation(search, winner) if asked.cross_validation else nullcontext()
    try:
        with shown:
            found: LabelCheck | str = launch(
                context,
                Task(check_labels, isolated, value_or_evidence),
                asked,
                max_lost=phase.max_lost,
                profile=task_profile(context, phase.resource_profile),
            )
    except TaskFailed as error:
        note(f"the labels were not checked: {failure(error)}")
        return None
    finally:
        remove_all_progress(search.run)
    if isinstance(found, str):
        write_log(search.run, LOG_OF_LABELS, found)
        note(f"the labels were not checked: {last_line(found)}; see {LOGS}/{LOG_OF_LABELS}.log")
        return None
    if not found.judged[TRAIN]:
        note(
            "no label of a training image was checked: what trial "
            f"{winner.number} said of its validation images was not kept"
        )
    return found


def _cross_validation(search: Search, winner: TrialResult) -> AbstractContextManager[None]:
    """Says what is trained and how long that may take, and then how far it is."""
    count = search.manifest.total(TRAIN)
    an_epoch = (NETWORKS - 1) * count * (seconds_an_image(winner) or 0.0)
    fewest = len(winner.epochs)
    most = max(fewest, winner.max_epochs or 0)
    setup = setup_seconds(winner) + (winner.head.seconds * NETWORKS if winner.head else 0.0)
    expected = about(setup + fewest * an_epoch, setup + most * an_epoch)
    search.say(
        f"cross-validating the winner with {NETWORKS} networks, to judge the labels of all "
        f"{count:,} training images (final.suspects), {expected}"
    )

    pace = Pace()

    def line() -> str | None:
        found = read_progress(search.run, [winner.number]).get(winner.number)
        if found is None:
            return None
        pace.see(found.epoch, found.max_epochs, time.monotonic())
        rest = pace.rest(time.monotonic())
        left = "" if rest is None else f", at most about {duration(rest)} left"
        return f"cross-validating the winner: epoch {found.epochs()}{left}"

    return said_regularly(line, search.say, seconds=_PAUSE)
