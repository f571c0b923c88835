"""A whole run: phases of trials, the winner's training and test, and the run directory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hyperopt import fmin

from cnn import outcome
from cnn.config import dump_settings
from cnn.manifest import Manifest
from cnn.preflight import SETTINGS, check_visible, shortfalls
from cnn.progress import SearchProgress
from cnn.report import write_report
from cnn.results import (
    TrialResult,
    best_trial,
    count_by_status,
    now,
    write_trial,
)
from cnn.search import Refused, Result, Trials
from cnn.session import Slots, count_slots, failure
from cnn.settings import Error, ModelParams, PhaseSettings, Settings
from cnn.space import Point, SearchSpace
from cnn.splits import TRAIN
from cnn.storage import Directory
from cnn.worker import FinalJob, Job, TrialObjective, run_final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass
class _History:
    """What the phases have come to so far."""

    trials: list[TrialResult] = field(default_factory=list)
    # The best trial of each phase that has one, and what result.json says of it.
    best: dict[str, TrialResult] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run_search(
    spark: "SparkSession",
    data: Directory,
    run: Directory,
    settings: Settings,
    manifest: Manifest,
    *,
    configs: Sequence[str] = (),
    command: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Searches, trains and tests the winner, writes the run directory; returns result.json.

    Raises Error where every trial of a phase failed; what is in the run directory then stays.
    """
    started = now()
    slots = count_slots(spark.sparkContext)
    check_visible(spark, data, run, slots)
    run.remove()
    run.create()
    run.write(SETTINGS, dump_settings(settings).encode())

    def job_of(phase: PhaseSettings, parallelism: int) -> Job:
        return Job(
            phase=phase,
            model=settings.model,
            manifest=manifest,
            data=data.uri,
            cache_dir=settings.cache_dir,
            threads=slots.threads(parallelism),
        )

    history = _run_phases(spark, run, settings, manifest, slots, job_of, started, say)
    searched = now()
    winner = list(history.best.values())[-1]
    job = job_of(next(p for p in settings.phases if p.name == winner.phase), 1)
    say(f"training the winner, trial {winner.number}, on {_final_images(settings, job)}")
    trained = _train_final(spark, run, job, settings, winner)

    result = outcome.result(manifest, winner, history.entries, history.trials, trained)
    result["seconds"] = {
        "preprocess": manifest.seconds,
        "search": round((searched - started).total_seconds(), 3),
        **trained["seconds"],
    }
    result |= {"command": list(command), "configs": list(configs), "notes": history.notes}
    result |= {"started": started.isoformat(), "ended": now().isoformat()}
    card = outcome.model_card(manifest, settings, winner, trained)
    run.write(outcome.MODEL_CARD, outcome.to_json(card))
    run.write(outcome.RESULT, outcome.to_json(result))
    write_report(run)
    return result


def _run_phases(
    spark: "SparkSession",
    run: Directory,
    settings: Settings,
    manifest: Manifest,
    slots: Slots,
    job_of: Callable[[PhaseSettings, int], Job],
    started: datetime,
    say: Callable[[str], None],
) -> _History:
    """Runs the phases in order; when the time is up, what an earlier one found best stands."""
    history = _History()

    def note(text: str) -> None:
        history.notes.append(text)
        say(text)

    for phase in settings.phases:
        for shortfall in shortfalls(phase, manifest):
            note(shortfall)
        space = SearchSpace(phase, history.best[phase.fix].params if phase.fix else None)
        parallelism = _parallelism(phase, space, slots)
        if space.is_grid and space.grid_size() > phase.max_trials:
            note(f"phase {phase.name}: the first {phase.max_trials} of {space.grid_size()} points")
        first_number = history.trials[-1].number + 1 if history.trials else 0
        left = _time_left(phase, started)
        job = job_of(phase, parallelism)
        trials = _run_phase(spark, run, job, space, parallelism, first_number, left)
        history.trials += trials
        best = best_trial(trials, phase.objective)
        if best is None:
            if history.best and any(trial.status == "cancelled" for trial in trials):
                note(f"the time was up in phase {phase.name}, before one of its trials was done")
                return history
            raise _all_failed(run, phase, trials)
        history.best[phase.name] = best
        history.entries.append(_phase_entry(phase, best, trials))
        say(f"phase {phase.name}: best is trial {best.number}, {_describe(best)}")
    return history


def _parallelism(phase: PhaseSettings, space: SearchSpace, slots: Slots) -> int:
    """As many trials at a time as asked, but no more than there are slots or trials."""
    wanted = phase.parallelism or slots.total
    return max(1, min(wanted, slots.total, _trial_limit(phase, space)))


def _trial_limit(phase: PhaseSettings, space: SearchSpace) -> int:
    return min(phase.max_trials, space.grid_size()) if space.is_grid else phase.max_trials


def _time_left(phase: PhaseSettings, started: datetime) -> float | None:
    if phase.timeout is None:
        return None
    return max(0.1, phase.timeout - (now() - started).total_seconds())


def _run_phase(
    spark: "SparkSession",
    run: Directory,
    job: Job,
    space: SearchSpace,
    parallelism: int,
    first_number: int,
    timeout: float | None,
) -> list[TrialResult]:
    """Runs one phase's trials; each is on disk before the next is proposed from it."""
    phase = job.phase
    results: list[TrialResult] = []
    launched_at: dict[int, datetime] = {}
    checked = job.model.is_ours
    total = _trial_limit(phase, space)
    progress = SearchProgress(
        phase.name,
        total=total,
        parallelism=parallelism,
        objective=phase.objective,
        epochs=phase.epochs,
    )

    def prepare(point: Point) -> ModelParams:
        params = space.params(point)
        reason = params.impossible(job.manifest.size) if checked else None
        if reason is not None:
            raise Refused(reason)
        return params

    def on_launch(number: int) -> None:
        launched_at[number] = now()
        progress.launched()

    def on_result(number: int, point: Point, result: Result) -> None:
        trial = _trial_of(job, space.params(point), number, launched_at.get(number), result)
        write_trial(run, trial)
        results.append(trial)
        progress.finished(trial)

    with progress:
        fmin(
            TrialObjective(job),
            space.expression(),
            algo=space.suggest(first_number),
            max_evals=total,
            trials=Trials(
                spark,
                parallelism,
                first_number=first_number,
                timeout=timeout,
                prepare=prepare,
                on_launch=on_launch,
                on_result=on_result,
            ),
            rstate=np.random.default_rng(phase.seed),
            show_progressbar=False,
            return_argmin=False,
        )
    return sorted(results, key=lambda trial: trial.number)


def _trial_of(
    job: Job, params: ModelParams, number: int, launched: datetime | None, result: Result
) -> TrialResult:
    """The trial behind a result; of one that did not come back, what the driver knows."""
    if "trial" in result:
        return TrialResult.model_validate(result["trial"])
    ended = now()
    known: dict[str, Any] = {
        "number": number,
        "phase": job.phase.name,
        "params": params.model_dump(mode="json"),
        "started": launched or ended,
        "ended": ended,
    }
    if "refused" in result:
        return TrialResult(status="invalid", error=result["refused"], **known)
    if result.get("cancelled"):
        return TrialResult(status="cancelled", **known)
    return TrialResult(status="crashed", error=result["error"], **known)


def _all_failed(run: Directory, phase: PhaseSettings, trials: Sequence[TrialResult]) -> Error:
    failures = [trial for trial in trials if trial.error and trial.status != "invalid"]
    first = failures[0] if failures else next((t for t in trials if t.error), None)
    where = f"see {run.uri}/trials"
    if first is None:
        return Error(f"no trial of phase {phase.name!r} finished in time; {where}")
    reason = str(first.error).strip().splitlines()[-1]
    return Error(
        f"all {len(trials)} trials of phase {phase.name!r} failed; "
        f"the first, trial {first.number}, is {first.status}: {reason}; {where}"
    )


def _phase_entry(
    phase: PhaseSettings, best: TrialResult, trials: Sequence[TrialResult]
) -> dict[str, Any]:
    return {
        "name": phase.name,
        "strategy": phase.strategy,
        "objective": phase.objective,
        "best": best.number,
        "params": best.params,
        "trials": count_by_status(trials),
        "train_images": best.train_images,
        "epochs": phase.epochs,
    }


def _describe(trial: TrialResult) -> str:
    values = ", ".join(f"{key} {value}" for key, value in trial.params.items())
    return f"validation accuracy {trial.accuracy:.4f} with {values}"


def _final_images(settings: Settings, job: Job) -> str:
    if settings.final.data == "all":
        return f"all {job.manifest.total(TRAIN)} training images"
    folds = list(job.phase.validation_folds)
    return f"the training images outside folds {folds}"


def _train_final(
    spark: "SparkSession",
    run: Directory,
    job: Job,
    settings: Settings,
    winner: TrialResult,
) -> dict[str, Any]:
    assert winner.accuracy is not None
    assert winner.best_epoch is not None
    found = winner.best_epoch if settings.final.data == "all" else None
    final = FinalJob(
        job=job,
        params=ModelParams.model_validate(winner.params),
        run=run.uri,
        data=settings.final.data,
        epochs=settings.final.epochs or found,
        expected_accuracy=winner.accuracy,
        attempts=settings.final.attempts,
        tolerance=settings.final.tolerance,
    )
    context = spark.sparkContext
    context.setJobDescription("training and testing the winner")
    try:
        trained: dict[str, Any] = context.parallelize([final], 1).map(run_final).collect()[0]
    except Exception as error:
        raise Error(f"training the winner failed: {failure(error)}; see {run.uri}") from error
    return trained


def default_run_dir() -> Path:
    return Path("runs") / now().strftime("%Y%m%d-%H%M%S")
