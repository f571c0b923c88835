"""A whole run: the search, the winner's training and test, and the run directory."""

import dataclasses
from pathlib import Path
from typing import Any

from cnn import outcome
from cnn.config import dump_settings
from cnn.final import FinalJob, final_value, run_final
from cnn.journal import Start, write_start
from cnn.launch import TaskFailed, launch
from cnn.phases import Search, isolation, run_phases
from cnn.preflight import SETTINGS, check_visible
from cnn.report import write_report
from cnn.results import CHECKPOINTS, LOGS, TrialResult, now, write_log
from cnn.session import count_slots, failure, task_profile
from cnn.settings import Error, ModelParams, PhaseSettings
from cnn.splits import TRAIN
from cnn.worker import Task

LOG_OF_FINAL = "final"


def run_search(search: Search, start: Start, *, resume: bool = False) -> dict[str, Any]:
    """Searches, trains and tests the winner, writes the run directory; returns result.json.

    What was at the run directory is replaced, unless it is the same run, resumed. Raises Error
    where every trial of a phase failed; what is in the run directory then stays.
    """
    began = now()
    run, settings, manifest = search.run, search.settings, search.manifest
    context = search.spark.sparkContext
    for phase in settings.phases:
        task_profile(context, phase.resource_profile)  # refused now, not after hours
    check_visible(search.spark, search.data, run, count_slots(context))
    if not resume:
        run.remove()
    run.create()
    run.write(SETTINGS, dump_settings(settings).encode())
    write_start(run, start)

    history = run_phases(search)
    searched = now()
    winner = list(history.best.values())[-1]
    search.say(f"training the winner, trial {winner.number}, on {_final_images(search, winner)}")
    trained = _train_final(search, winner)

    result = outcome.result(manifest, winner, history.entries, history.trials, trained)
    earlier = max((trial.ended for trial in search.earlier), default=start.started)
    result["seconds"] = {
        "preprocess": manifest.seconds,
        "search": round((searched - began + (earlier - start.started)).total_seconds(), 3),
        **trained["seconds"],
    }
    result |= {"command": list(start.command), "configs": list(start.configs)}
    result |= {"notes": history.notes}
    result |= {"started": start.started.isoformat(), "ended": now().isoformat()}
    card = outcome.model_card(manifest, settings, winner, trained)
    run.write(outcome.MODEL_CARD, outcome.to_json(card))
    run.write(outcome.RESULT, outcome.to_json(result))
    run.sub(CHECKPOINTS).remove()
    write_report(run)
    return result


def _final_images(search: Search, winner: TrialResult) -> str:
    if search.settings.final.data == "all":
        return f"all {search.manifest.total(TRAIN)} training images"
    folds = list(_phase_of(search, winner).validation_folds)
    return f"the training images outside folds {folds}"


def _phase_of(search: Search, winner: TrialResult) -> PhaseSettings:
    return next(phase for phase in search.settings.phases if phase.name == winner.phase)


def _train_final(search: Search, winner: TrialResult) -> dict[str, Any]:
    assert winner.accuracy is not None
    assert winner.seed is not None
    phase, final = _phase_of(search, winner), search.settings.final
    found = winner.best_epoch if final.data == "all" else None
    job = FinalJob(
        job=search.job(phase),
        number=winner.number,
        seed=winner.seed,
        params=ModelParams.model_validate(winner.params),
        data=final.data,
        epochs=final.epochs or found,
        expected_accuracy=winner.accuracy,
        attempts=final.attempts,
        tolerance=final.tolerance,
    )
    context = search.spark.sparkContext
    slots = count_slots(context, phase)
    apart = dataclasses.replace(isolation(search, phase, slots, 1), timeout=None)
    context.setJobDescription("training and testing the winner")
    try:
        trained: dict[str, Any] = launch(
            context,
            Task(run_final, apart, final_value),
            job,
            max_lost=phase.max_lost,
            profile=task_profile(context, phase.resource_profile),
        )
    except TaskFailed as error:
        raise Error(f"training the winner failed: {failure(error)}; see {search.run.uri}") from None
    if "error" in trained:
        write_log(search.run, LOG_OF_FINAL, trained["error"])
        cause = trained["error"].strip().splitlines()[-1]
        raise Error(
            f"training the winner failed: {cause}; see {search.run.uri}/{LOGS}/{LOG_OF_FINAL}.log"
        )
    return trained


def default_run_dir() -> Path:
    return Path("runs") / now().strftime("%Y%m%d-%H%M%S")
