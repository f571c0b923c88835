"""A whole run: the search, the winner's training and test, and the run directory."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from cnn.core.clock import now
from cnn.model.card import MODEL_CARD
from cnn.rundir.earlier_runs import write_earlier
from cnn.rundir.heartbeat import read_host_progress, remove_all_progress
from cnn.rundir.result import RunResult, write_result
from cnn.search.backbones import backbone_hint, store_backbones
from cnn.search.context import Search, method_of
from cnn.search.end_run import end_run
from cnn.search.extended_final import (
    labels_of,
    search_seconds,
    trained_before,
    with_earlier_finals,
    write_beginning,
)
from cnn.search.feature_job import compute_features, resolved_precision
from cnn.search.front_networks import train_front
from cnn.search.hosts_progress import hosts_progress
from cnn.search.journal import Start
from cnn.search.make_result import make_result, model_card
from cnn.search.network_check import check_network
from cnn.search.objective_check import check_objectives
from cnn.search.preflight import check_visible
from cnn.search.run_phases import choose_winner, run_phases
from cnn.search.tensorboard import write_events
from cnn.search.train_winner import train_winner
from cnn.settings.objective import has_own_field, metric_words
from cnn.settings.schema import SETTINGS
from cnn.settings.toml import dump_settings
from cnn.spark.slots import count_slots, task_profile, wait_for_executors
from cnn.spark.unsupported import refuse_python_memory
from cnn.train.hosts import prepare_hosts
from cnn.train.multi_worker import check_workers


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
    trained = trained or train_winner(search, winner, history.trials)

    def note(text: str) -> None:
        history.notes.append(text)
        search.say(text)

    objective = settings.phase(winner.phase).objective
    if not has_own_field(objective) and trained.test.objective is None:
        note(f"the {metric_words(objective)} of the test images could not be computed")
    pareto = train_front(search, winner, history.trials, note)
    labels = labels_of(search, winner, note)
    result = make_result(
        *(manifest, start, history, winner, trained),
        search_seconds=search_seconds(search, start, began, searched),
        labels=labels,
        pareto=pareto,
        hint=backbone_hint(settings, manifest, start),
    )
    result = with_earlier_finals(search, result)
    card = model_card(manifest, settings, winner, trained)
    search.results.write(MODEL_CARD, f"{card.model_dump_json(indent=1)}\n".encode())
    write_result(search.results, result)
    end_run(run)
    return result


def default_run_dir() -> Path:
    """The run directory of a search that is given none: runs/DATE-TIME."""
    return Path("runs") / now().strftime("%Y%m%d-%H%M%S")
