"""A whole run: the search, the winner's training and test, and the run directory."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pyspark.resource import ResourceProfile

from cnn.core.clock import now
from cnn.core.errors import Error
from cnn.core.failure_reason import failure, last_line
from cnn.data.splits import TEST, TRAIN
from cnn.model.card import MODEL_CARD
from cnn.rundir.earlier_runs import write_earlier
from cnn.rundir.heartbeat import read_host_progress, read_progress, remove_all_progress
from cnn.rundir.result import RunResult, WinnerOutcome, write_result
from cnn.rundir.trials import LOGS, TrialResult, write_log
from cnn.search.backbones import backbone_hint, store_backbones
from cnn.search.context import Search, isolation, method_of
from cnn.search.end_run import end_run
from cnn.search.extended_final import (
    labels_of,
    search_seconds,
    trained_before,
    with_earlier_finals,
    write_beginning,
)
from cnn.search.feature_job import compute_features, resolved_precision
from cnn.search.forecast import images_outside, seconds_an_image
from cnn.search.hosts_progress import hosts_progress
from cnn.search.journal import Start
from cnn.search.make_result import make_result, model_card
from cnn.search.network_check import check_network
from cnn.search.objective_check import check_objectives
from cnn.search.preflight import check_visible
from cnn.search.run_phases import choose_winner, run_phases
from cnn.search.tensorboard import write_events
from cnn.search.winner import expected_accuracy
from cnn.search.winner_progress import WinnerProgress
from cnn.settings.objective import metric_words
from cnn.settings.schema import SETTINGS, PhaseSettings
from cnn.settings.toml import dump_settings
from cnn.spark.retry import SparkGone, TaskFailed, is_gone, launch
from cnn.spark.slots import Slots, count_slots, task_profile, wait_for_executors
from cnn.spark.task import Isolation, Task, value_or_evidence
from cnn.spark.unsupported import refuse_python_memory
from cnn.train.final import FinalJob, run_final
from cnn.train.hosts import prepare_hosts
from cnn.train.multi_worker import (
    BeforeTogether,
    check_workers,
    run_before,
    train_together,
)
from cnn.train.stage import regime_of

LOG_OF_FINAL = "final"


def run_search(
    search: Search,
    start: Start,
    *,
    resume: bool = False,
    on_start: Callable[[], None] = lambda: None,
) -> RunResult:
    """Searches, trains and tests the winner, and writes the run directory.

    Args:
        search: What all phases share.
        start: What the run is started with.
        resume: Whether to continue the run in the run directory instead of replacing it.
        on_start: Called once the run directory is there.

    Returns:
        The run's result.

    Raises:
        Error: Every trial of a phase failed. The run directory keeps its files.
    """
    began = now()
    run, settings, manifest = search.run, search.settings, search.manifest
    context = search.spark.sparkContext
    refuse_python_memory(context.getConf())
    wait_for_executors(context, search.say)
    for phase in settings.phases:
        task_profile(context, phase.resource_profile)  # a bad profile fails now, not after hours
    slots = count_slots(context, settings.phases[-1])
    check_workers(context, settings.final.workers, slots.total)
    max_lost = settings.phases[0].max_lost
    check_visible(search.spark, search.data, run, slots, max_lost=max_lost)
    check_network(search)
    check_objectives(search)
    if not resume:
        run.remove()
    remove_all_progress(run)
    run.create()
    if search.backbone_files is not None:
        store_backbones(run, search.pretrained.backbones, search.backbone_files)
    search.results.write(SETTINGS, dump_settings(settings).encode())
    write_earlier(run, search.known)
    write_beginning(search, start)
    on_start()
    for trial in search.earlier:
        # The driver may have died after it wrote a trial and before it passed the trial on.
        write_events(run, trial)
        search.on_trial(trial)

    first = settings.phases[0]
    job, method = search.job(first), method_of(search, first)
    with hosts_progress(lambda: read_host_progress(run), search.say):
        prepare_hosts(context, job, slots.total, method, search.say)
    if search.pretrained.backbones:
        precision = resolved_precision(search, slots)
        pretrained = dataclasses.replace(search.pretrained, precision=precision)
        search = dataclasses.replace(search, pretrained=pretrained)
        compute_features(search, slots)
    try:
        history = run_phases(search)
    finally:
        remove_all_progress(run)
    search = dataclasses.replace(search, origins=history.origins)
    searched = now()
    winner = choose_winner(search, history)
    trained = trained_before(search, winner)
    trained = trained or _train_final(search, winner, history.trials)

    def note(text: str) -> None:
        history.notes.append(text)
        search.say(text)

    labels = labels_of(search, winner, note)
    result = make_result(
        *(manifest, start, history, winner, trained),
        search_seconds=search_seconds(search, start, began, searched),
        labels=labels,
        hint=backbone_hint(settings, manifest, start),
    )
    result = with_earlier_finals(search, result)
    card = model_card(manifest, settings, winner, trained)
    search.results.write(MODEL_CARD, f"{card.model_dump_json(indent=1)}\n".encode())
    write_result(search.results, result)
    end_run(run)
    return result


def _winner_progress(search: Search, winner: TrialResult, slots: Slots) -> WinnerProgress:
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
        f"training the winner, trial {winner.number}, on {images}{together}",
        winner.number,
        images=count,
        tested=manifest.total(TEST),
        expected=expected.winner(winner, seconds_an_image(winner) or 0.0),
        read=partial(read_progress, search.run),
        attempts=final.attempts,
        metric=metric_words(phase.objective),
    )


def _train_final(
    search: Search, winner: TrialResult, trials: Sequence[TrialResult]
) -> WinnerOutcome:
    assert winner.seed is not None
    phase, final = search.settings.phase(winner.phase), search.settings.final
    found = winner.best_epoch if final.data == "all" else None
    params = search.settings.model.params_kind.model_validate(winner.params)
    regime = regime_of(params)
    if regime == "frozen" and final.workers > 1:
        search.say("the winner is the head of a frozen backbone, which one executor trains alone")
    job = FinalJob(
        job=search.job(phase),
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
        return _winner_progress(search, winner, slots).run(
            lambda: _train_and_test(search, phase, job, slots), search.display
        )
    finally:
        remove_all_progress(search.run)


def _train_and_test(
    search: Search, phase: PhaseSettings, job: FinalJob, slots: Slots
) -> WinnerOutcome:
    context = search.spark.sparkContext
    profile = task_profile(context, phase.resource_profile)
    if job.workers > 1:
        isolated = isolation(search, phase, slots, job.workers)
        job = _train_together(search, job, dataclasses.replace(isolated, timeout=None), profile)
    isolated = dataclasses.replace(isolation(search, phase, slots, 1), timeout=None)
    context.setJobDescription("training and testing the winner")
    try:
        trained: WinnerOutcome | str = launch(
            context,
            Task(run_final, isolated, value_or_evidence),
            job,
            max_lost=phase.max_lost,
            profile=profile,
        )
    except TaskFailed as error:
        raise _failed(search, failure(error)) from None
    if isinstance(trained, str):
        raise _died(search, trained)
    return trained


def _train_together(
    search: Search, job: FinalJob, isolated: Isolation, profile: ResourceProfile | None
) -> FinalJob:
    """Trains the winner on several executors; the returned job finds its checkpoint."""
    context = search.spark.sparkContext
    for attempt in range(job.attempts):
        _train_before(search, job, attempt, isolated, profile)
        context.setJobDescription(f"training the winner on {job.workers} executors")
        for left in reversed(range(job.job.phase.max_lost + 1)):
            try:
                found = train_together(context, job, attempt, isolated, profile)
                break
            except Exception as error:
                if is_gone(context):
                    raise SparkGone(error) from None
                if not left:
                    raise _failed(search, failure(error), f"/{LOGS}") from None
                search.say(f"{failure(error)}; all {job.workers} go on from their last epoch")
        if "error" in found:
            raise _failed(search, found["error"])
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
    context.setJobDescription("training the winner's head")
    try:
        evidence: str | None = launch(
            context,
            Task(run_before, isolated, value_or_evidence),
            BeforeTogether(job, attempt),
            max_lost=job.job.phase.max_lost,
            profile=profile,
        )
    except TaskFailed as error:
        raise _failed(search, failure(error)) from None
    if evidence is not None:
        raise _died(search, evidence)


def _died(search: Search, evidence: str) -> Error:
    write_log(search.run, LOG_OF_FINAL, evidence)
    return _failed(search, last_line(evidence), f"/{LOGS}/{LOG_OF_FINAL}.log")


def _failed(search: Search, cause: str, where: str = "") -> Error:
    return Error(f"training the winner failed: {cause}; see {search.run.uri}{where}")


def default_run_dir() -> Path:
    """The run directory of a search that is given none: runs/DATE-TIME."""
    return Path("runs") / now().strftime("%Y%m%d-%H%M%S")
