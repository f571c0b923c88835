"""A whole run: phases of trials, the winner's training and test, and the run directory."""

import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from cnn.report import write_report
from hyperopt import fmin

from cnn.config import dump_settings
from cnn.manifest import Manifest, read_manifest
from cnn.pixels import choose
from cnn.progress import SearchProgress
from cnn.results import (
    TrialResult,
    best_trial,
    count_by_status,
    now,
    wilson_interval,
    write_trial,
)
from cnn.search import Refused, Result, Trials
from cnn.session import Slots, count_slots
from cnn.settings import Error, InputError, ModelParams, ModelSettings, PhaseSettings, Settings
from cnn.space import Point, SearchSpace
from cnn.splits import TRAIN
from cnn.storage import Directory
from cnn.worker import FinalJob, Job, TrialObjective, run_final

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SETTINGS = "settings.toml"
RESULT = "result.json"
MODEL_CARD = "model.json"
SCHEMA_VERSION = 1
_TOKEN = "token"


def check_inputs(data: Directory, settings: Settings) -> Manifest:
    """All that can be known to be wrong before Spark starts. Raises InputError."""
    manifest = read_manifest(data)
    builder_is_ours = settings.model.builder == ModelSettings().builder
    folds, labels = _read_columns(data, manifest)
    for phase in settings.phases:
        if builder_is_ours and phase.fix is None:
            SearchSpace(phase).check_possible(lambda params: params.impossible(manifest.size))
        _check_validation(phase, manifest, folds, labels)
    return manifest


def _read_columns(data: Directory, manifest: Manifest) -> tuple[np.ndarray, np.ndarray]:
    filesystem, path = data.path(TRAIN)
    if not data.exists(TRAIN):
        raise InputError(f"--data must hold what its manifest says, but {data.uri} has no {TRAIN}")
    table = pq.read_table(path, columns=["fold", "label"], filesystem=filesystem)
    if table.num_rows != manifest.total(TRAIN):
        raise InputError(
            "--data must hold what its manifest says, but "
            f"{data.uri}/{TRAIN} has {table.num_rows} rows of {manifest.total(TRAIN)}"
        )
    return table["fold"].to_numpy(), table["label"].to_numpy()


def _check_validation(
    phase: PhaseSettings, manifest: Manifest, folds: np.ndarray, labels: np.ndarray
) -> None:
    sides = choose(folds, phase.validation_folds, phase.train_images, phase.subset_seed)
    for side, rows in zip(("train", "validate"), sides, strict=True):
        for label, name in enumerate(manifest.classes):
            if not (labels[rows] == label).any():
                raise InputError(
                    f"every class must have images to {side} on, but {name!r} has none "
                    f"with validation_folds = {list(phase.validation_folds)}"
                    + (f", train_images = {phase.train_images}" if phase.train_images else "")
                )


def check_run_dir(run: Directory, *, overwrite: bool) -> None:
    """Raises InputError where `run` holds something that must not be replaced."""
    if not run.exists():
        return
    if not run.is_dir():
        raise InputError(f"--out must be a directory, but {run.uri} is a file")
    if not run.names():
        return
    if not run.exists(SETTINGS):
        raise InputError(
            f"--out must be a new or empty directory or a run's, but {run.uri} is neither"
        )
    if not overwrite:
        raise InputError(f"--out must not exist without --overwrite, but {run.uri} holds a run")


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
    _check_visible(spark, data, run, slots)
    run.remove()
    run.create()
    run.write(SETTINGS, dump_settings(settings).encode())
    notes: list[str] = []
    found: dict[str, TrialResult] = {}
    trials: list[TrialResult] = []
    phases: list[dict[str, Any]] = []
    first_number = 0
    for phase in settings.phases:
        for note in _shortfalls(phase, manifest):
            notes.append(note)
            say(note)
        space = SearchSpace(phase, found[phase.fix].params if phase.fix else None)
        parallelism = _parallelism(phase, space, slots)
        job = Job(
            phase=phase,
            model=settings.model,
            manifest=manifest,
            data=data.uri,
            cache_dir=settings.cache_dir,
            threads=slots.threads(parallelism),
        )
        left = _time_left(phase, started)
        of_phase = _run_phase(spark, run, job, space, parallelism, first_number, left)
        trials += of_phase
        first_number = trials[-1].number + 1 if trials else 0
        best = best_trial(of_phase, phase.objective)
        if best is None:
            raise _all_failed(run, phase, of_phase)
        found[phase.name] = best
        phases.append(_phase_entry(phase, best, of_phase))
        say(f"phase {phase.name}: best is trial {best.number}, {_describe(best)}")
    searched = now()

    winner_phase = settings.phases[-1]
    winner = found[winner_phase.name]
    say(f"training the winner, trial {winner.number}, on {_final_images(settings, manifest)}")
    outcome = _train_final(spark, run, job, settings, winner, slots)
    result = _result(settings, manifest, winner, phases, trials, outcome)
    result["seconds"] = {
        "preprocess": manifest.seconds,
        "search": round((searched - started).total_seconds(), 3),
        **outcome["seconds"],
    }
    result |= {"command": list(command), "configs": list(configs), "notes": notes}
    result |= {"started": started.isoformat(), "ended": now().isoformat()}
    run.write(MODEL_CARD, _json(_model_card(manifest, settings, winner, outcome)))
    run.write(RESULT, _json(result))
    write_report(run)
    return result


def _check_visible(spark: "SparkSession", data: Directory, run: Directory, slots: Slots) -> None:
    """Executors must read what the driver writes: a token beside the run tells.

    Raises InputError where one cannot; nothing of the token is left then.
    """
    probe = Directory(f"{run.uri}.probe")
    token = now().isoformat().encode()
    probe.write(_TOKEN, token)

    def sees(_: int) -> tuple[bool, bool]:
        try:
            seen = probe.read(_TOKEN) == token
        except OSError:
            seen = False
        return seen, data.exists("manifest.json")

    try:
        tasks = 2 * slots.total
        answers = spark.sparkContext.parallelize(range(tasks), tasks).map(sees).collect()
    finally:
        probe.remove()
    if not all(seen for seen, _ in answers):
        raise InputError(
            f"--out must be a directory that every executor can see, but {run.uri} is not: "
            "use a shared file system or a URI"
        )
    if not all(data_seen for _, data_seen in answers):
        raise InputError(
            f"--data must be a directory that every executor can see, but {data.uri} is not: "
            "use a shared file system or a URI"
        )


def _shortfalls(phase: PhaseSettings, manifest: Manifest) -> list[str]:
    available = manifest.total(TRAIN)
    if phase.train_images is None or phase.train_images <= available:
        return []
    return [
        f"phase {phase.name} asks for {phase.train_images} training images; "
        f"there are {available}, and all are used"
    ]


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
    checked = job.model.builder == ModelSettings().builder
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
    known = {
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


def _final_images(settings: Settings, manifest: Manifest) -> str:
    count = manifest.total(TRAIN)
    if settings.final.data == "all":
        return f"all {count} training images"
    folds = list(settings.phases[-1].validation_folds)
    return f"the training images outside folds {folds}"


def _train_final(
    spark: "SparkSession",
    run: Directory,
    job: Job,
    settings: Settings,
    winner: TrialResult,
    slots: Slots,
) -> dict[str, Any]:
    assert winner.accuracy is not None
    assert winner.best_epoch is not None
    alone = Job(**{**vars(job), "threads": slots.threads(1)})
    final = FinalJob(
        job=alone,
        params=ModelParams.model_validate(winner.params),
        run=run.uri,
        data=settings.final.data,
        epochs=winner.best_epoch if settings.final.data == "all" else job.phase.epochs,
        expected_accuracy=winner.accuracy,
        attempts=settings.final.attempts,
        tolerance=settings.final.tolerance,
    )
    context = spark.sparkContext
    context.setJobDescription("training and testing the winner")
    try:
        outcome: dict[str, Any] = context.parallelize([final], 1).map(run_final).collect()[0]
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if "Error" in line), str(error))
        raise Error(f"training the winner failed: {reason.strip()}; see {run.uri}") from error
    return outcome


def _result(
    settings: Settings,
    manifest: Manifest,
    winner: TrialResult,
    phases: Sequence[dict[str, Any]],
    trials: Sequence[TrialResult],
    outcome: dict[str, Any],
) -> dict[str, Any]:
    trained = manifest.counts[TRAIN]
    larger = max(trained, key=lambda name: trained[name])
    test = outcome["test"]
    right = round(test["accuracy"] * test["count"])
    low, high = wilson_interval(right, test["count"])
    validation = outcome["validation"] or {
        "accuracy": winner.accuracy,
        "loss": winner.loss,
        "balanced_accuracy": winner.balanced_accuracy,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "params": winner.params,
        "winner": {
            "number": winner.number,
            "phase": winner.phase,
            "accuracy": winner.accuracy,
            "loss": winner.loss,
        },
        "phases": list(phases),
        "validation": validation,
        "test": {**test, "interval": {"low": low, "high": high}},
        "baseline": {
            "accuracy": manifest.counts["test"][larger] / manifest.total("test"),
            "class": larger,
        },
        "final": outcome["final"],
        "trials": count_by_status(trials),
        "versions": outcome["versions"],
        "architecture": outcome["architecture"],
        "parameters": outcome["parameters"],
        "data": {
            "classes": list(manifest.classes),
            "counts": manifest.counts,
            "rejects": manifest.rejects,
            "size": manifest.size,
            "channels": manifest.channels,
            "fingerprint": manifest.fingerprint,
            "source": manifest.source.model_dump(),
        },
    }


def _model_card(
    manifest: Manifest, settings: Settings, winner: TrialResult, outcome: dict[str, Any]
) -> dict[str, Any]:
    """What the model expects of an image, and what it was made with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "size": manifest.size,
        "channels": manifest.channels,
        "color_mode": manifest.settings.color_mode,
        "fit": "stretch",
        "scaling": "none: the network takes uint8 pixels and scales them itself",
        "classes": list(manifest.classes),
        "params": winner.params,
        "builder": settings.model.builder,
        "versions": outcome["versions"],
    }


def _json(content: dict[str, Any]) -> bytes:
    # NaN is no JSON; what is missing is null.
    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return (json.dumps(clean(content), indent=1, allow_nan=False) + "\n").encode()


def default_run_dir() -> Path:
    return Path("runs") / now().strftime("%Y%m%d-%H%M%S")
