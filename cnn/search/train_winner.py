"""The winner's training and test, seen from the driver: where it runs, and what may fail."""

import dataclasses
from collections.abc import Sequence
from functools import partial

from pyspark.resource import ResourceProfile

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure, last_line
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.heartbeat import read_progress, remove_all_progress
from cnn.rundir.result import WinnerOutcome
from cnn.rundir.trials import LOGS, TrialResult, write_log
from cnn.search.context import Search, isolation
from cnn.search.forecast import images_outside, seconds_an_image
from cnn.search.winner import expected_accuracy
from cnn.search.winner_progress import WinnerProgress
from cnn.settings.objective import metric_words
from cnn.settings.schema import PhaseSettings
from cnn.spark.retry import SparkGone, TaskFailed, is_gone, launch
from cnn.spark.slots import Slots, count_slots, task_profile
from cnn.spark.task import Isolation, Task, value_or_evidence
from cnn.train.final import FinalJob, run_final
from cnn.train.multi_worker import BeforeTogether, run_before, train_together
from cnn.train.stage import regime_of

LOG_OF_FINAL = "final"


def train_winner(
    search: Search,
    winner: TrialResult,
    trials: Sequence[TrialResult],
    place: Directory | None = None,
) -> WinnerOutcome:
    """Trains, saves and tests the winner on an executor, or on several together.

    Args:
        search: What all phases share.
        winner: The trial that won, or another that is trained like it.
        trials: All trials of the search.
        place: Where its files go if it is another; None for the winner's own place.

    Raises:
        Error: It failed; the message says where the evidence is.
    """
    assert winner.seed is not None
    phase, final = search.settings.phase(winner.phase), search.settings.final
    found = winner.best_epoch if final.data == "all" else None
    params = search.settings.model.params_kind.model_validate(winner.params)
    regime = regime_of(params)
    if regime == "frozen" and final.workers > 1:
        head = f"trial {winner.number} is the head of a frozen backbone"
        search.say(f"{head}, which one executor trains alone")
    results = search.results if place is None else place
    job = FinalJob(
        job=dataclasses.replace(search.job(phase), results=results.uri),
        number=winner.number,
        seed=winner.seed,
        params=final.params(params),
        data=final.data,
        epochs=final.epochs or found,
        expected_accuracy=expected_accuracy(winner, trials),
        attempts=final.attempts,
        tolerance=final.tolerance,
        # With data = "train" the validation images pick the epoch instead.
        cooldown=final.cooldown if final.data == "all" else 0.0,
        workers=1 if regime == "frozen" else final.workers,
        head_epochs=winner.head.best_epoch if winner.head else None,
    )
    slots = count_slots(search.spark.sparkContext, phase)
    try:
        what = "the winner" if place is None else "a network of the front"
        return _winner_progress(search, winner, slots, what).run(
            lambda: _train_and_test(search, phase, job, slots), search.display
        )
    finally:
        remove_all_progress(search.run)


def _winner_progress(
    search: Search, winner: TrialResult, slots: Slots, what: str
) -> WinnerProgress:
    manifest, final = search.manifest, search.settings.final
    phase = search.settings.phase(winner.phase)
    count, images = manifest.total(TRAIN), f"all {manifest.total(TRAIN):,} training images"
    if final.data == "train":
        count = images_outside(phase.model_copy(update={"train_images": None}), manifest)
        images = f"the training images outside folds {list(phase.validation_folds)}"
    together = f" with {final.workers} executors" if final.workers > 1 else ""
    parallelism = min(phase.parallelism or slots.total, slots.total)
    expected = search.forecast(search.settings.phases[-1], slots, parallelism)
    return WinnerProgress(
        f"training {what}, trial {winner.number}, on {images}{together}",
        winner.number,
        images=count,
        tested=manifest.total(TEST),
        expected=expected.winner(winner, seconds_an_image(winner) or 0.0),
        read=partial(read_progress, search.run),
        attempts=final.attempts,
        metric=metric_words(phase.objective),
    )


def _train_and_test(
    search: Search, phase: PhaseSettings, job: FinalJob, slots: Slots
) -> WinnerOutcome:
    context = search.spark.sparkContext
    profile = task_profile(context, phase.resource_profile)
    if job.workers > 1:
        isolated = isolation(search, phase, slots, job.workers)
        job = _train_together(search, job, dataclasses.replace(isolated, timeout=None), profile)
    isolated = dataclasses.replace(isolation(search, phase, slots, 1), timeout=None)
    context.setJobDescription(f"training and testing {_name(search, job)}")
    try:
        trained: WinnerOutcome | str = launch(
            context,
            Task(run_final, isolated, value_or_evidence),
            job,
            max_lost=phase.max_lost,
            profile=profile,
        )
    except TaskFailed as error:
        raise _failed(search, job, failure(error)) from None
    if isinstance(trained, str):
        raise _died(search, job, trained)
    return trained


def _train_together(
    search: Search, job: FinalJob, isolated: Isolation, profile: ResourceProfile | None
) -> FinalJob:
    """Trains the winner on several executors; the returned job finds its checkpoint."""
    context = search.spark.sparkContext
    for attempt in range(job.attempts):
        _train_before(search, job, attempt, isolated, profile)
        context.setJobDescription(f"training {_name(search, job)} on {job.workers} executors")
        for left in reversed(range(job.job.phase.max_lost + 1)):
            try:
                found = train_together(context, job, attempt, isolated, profile)
                break
            except Exception as error:
                if is_gone(context):
                    raise SparkGone(error) from None
                if not left:
                    raise _failed(search, job, failure(error), f"/{LOGS}") from None
                search.say(f"{failure(error)}; all {job.workers} go on from their last epoch")
        if "error" in found:
            raise _failed(search, job, found["error"])
        job = dataclasses.replace(job, continued=found["continued"])
        if found["accuracy"] >= job.expected_accuracy - job.tolerance:
            return dataclasses.replace(job, attempts=attempt + 1)
    return job


def _train_before(
    search: Search,
    job: FinalJob,
    attempt: int,
    isolated: Isolation,
    profile: ResourceProfile | None,
) -> None:
    """Trains what comes before the last stage on one executor; several read it from there."""
    if job.head_epochs is None and job.job.origin is None:
        return
    context = search.spark.sparkContext
    context.setJobDescription(f"training the head of {_name(search, job)}")
    try:
        evidence: str | None = launch(
            context,
            Task(run_before, isolated, value_or_evidence),
            BeforeTogether(job, attempt),
            max_lost=job.job.phase.max_lost,
            profile=profile,
        )
    except TaskFailed as error:
        raise _failed(search, job, failure(error)) from None
    if evidence is not None:
        raise _died(search, job, evidence)


def _name(search: Search, job: FinalJob) -> str:
    is_winner = job.job.results == search.results.uri
    return "the winner" if is_winner else f"trial {job.number}, of the front,"


def _died(search: Search, job: FinalJob, evidence: str) -> Error:
    write_log(search.run, LOG_OF_FINAL, evidence)
    return _failed(search, job, last_line(evidence), f"/{LOGS}/{LOG_OF_FINAL}.log")


def _failed(search: Search, job: FinalJob, cause: str, where: str = "") -> Error:
    return Error(f"training {_name(search, job)} failed: {cause}; see {search.run.uri}{where}")
