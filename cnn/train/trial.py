"""One trial: a configuration trained and validated, in a separate process on an executor.

TensorFlow is imported inside the functions because the driver imports this module too.
"""

import socket
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnn.core.clock import now
from cnn.core.directory import Directory, is_store_error
from cnn.core.seeds import derive_seed
from cnn.data.arrays import open_pixels
from cnn.data.splits import TRAIN
from cnn.model.contract import Broken
from cnn.rundir.heartbeat import ProgressReporter, remove_progress
from cnn.rundir.trials import Key, Status, TrialResult, trial_name, write_log, write_trial
from cnn.settings.network_size import NetworkSize
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.spark.child import Ended, send_to_parent
from cnn.spark.task import trial_number
from cnn.train.halving import Rungs, frugal_key, rung_epochs
from cnn.train.hyperopt_result import document
from cnn.train.job import Job, checkpoint, choose_folds, device, run_fit
from cnn.train.latency import measure_latency
from cnn.train.out_of_fold import keep_answers
from cnn.train.stage import Sides, Stage, Unbuildable, regime_of
from cnn.train.stages import Earlier, before_last, last_stage

if TYPE_CHECKING:
    from cnn.train.fit import Progress

# What frameworks write when memory runs out, in an exception or before they abort.
_MEMORY = ("std::bad_alloc", "OOM when allocating", "RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


class StoreLost(Exception):
    """A trial could not go on because the storage failed, which is not the trial's failure."""


class TrialObjective:
    """What Hyperopt minimizes.

    It is called in the trial's process; `before` and `conclude` are called outside of it.
    """

    def __init__(
        self,
        job: Job,
        repeats: Mapping[int, int] | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """`repeats` maps a trial's number to the number of the trial that it repeats."""
        self._job = job
        self._repeats = repeats or {}
        self.before = before

    def __call__(self, params: TrainingParams) -> TrialResult:
        return run_trial(self._job, params, trial_number())

    def conclude(self, number: int, params: TrainingParams, ended: Ended) -> dict[str, Any]:
        """Writes the trial to the run directory and returns its result for the driver.

        Raises:
            StoreLost: The storage failed; the trial is launched again, as after a lost executor.
        """
        trial = ended.value if ended.returned else dead_trial(self._job, params, number, ended)
        if trial.status == "lost":
            raise StoreLost(trial.error)
        seconds = {"launch": round(ended.launch_seconds, 4), **trial.seconds}
        repeats = self._repeats.get(number)
        trial = trial.model_copy(update={"seconds": seconds, "repeats": repeats})
        run = Directory(self._job.run)
        result = document(self._job, trial)
        try:
            if ended.log.strip():
                write_log(run, trial_name(number), ended.log)
            write_trial(run, trial)
        except OSError:
            # The driver writes the trial instead, or reports why it cannot.
            return {**result, "written": False}
        return {**result, "written": True}


def run_trial(job: Job, params: TrainingParams, number: int) -> TrialResult:
    """Trains one configuration; never raises, since a failure is a trial's result too.

    The trial's seed depends only on (seed, phase, number), so that the trial can be repeated
    anywhere. The result so far is sent after each epoch, in case the process dies.
    """
    started = now()
    seed = derive_seed(job.phase.seed, "trial", job.phase.name, number)
    known: dict[str, Any] = {"seed": seed, "host": socket.gethostname()}
    try:
        known |= _train(job, params, number, seed, known)
    except Unbuildable as error:
        known |= {"status": "invalid", "error": str(error)}
    except Exception as error:
        known |= {"status": status_of(error), "error": _explain(error)}
    if known["status"] != "lost":
        remove_progress(Directory(job.run), number)
    return trial_result(job.phase, params, number, started=started, ended=now(), **known)


def trial_result(
    phase: PhaseSettings, params: TrainingParams, number: int, **known: Any
) -> TrialResult:
    """A trial of a phase; `known` has the fields of its result."""
    return TrialResult(
        number=number, phase=phase.name, params=params.model_dump(mode="json"), **known
    )


def _train(
    job: Job, params: TrainingParams, number: int, seed: int, known: dict[str, Any]
) -> dict[str, Any]:
    """Trains and validates; fills in `known` on the way and returns the rest of the result."""
    clock = time.monotonic()
    known["device"] = device()
    send_to_parent(known)
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
    opened = time.monotonic()
    known["seconds"] = {"data": round(opened - clock, 4)}
    images = choose_folds(job.phase, split, job.networks())
    known |= {"train_images": max(len(train) for train, _ in images), "folds": len(images)}
    known["validation_images"] = sum(len(validation) for _, validation in images)
    earlier = before_last(job, params, seed, images, trial_name(number))
    if earlier is not None and earlier.head is not None:
        known["head"] = earlier.head.model_dump()
        send_to_parent(known)
    stage = _prepare(job, params, seed, images, earlier)
    models, epochs = stage.models, stage.epochs
    known |= {"precision": stage.precision, "parameters": stage.parameters}
    known["operations"] = stage.operations
    known["max_epochs"] = epochs
    phase = job.phase
    if not job.model.is_built_in:
        _check_size(NetworkSize(stage.parameters, stage.operations), phase)
    if phase.measures_latency:
        known["latency_ms"] = measure_latency(job, params, seed, models[0])
        _check_latency(known["latency_ms"], phase.max_latency_ms)
    built = time.monotonic()
    if isinstance(params, ModelParams) and params.has_backbone:
        known["backbone_sha256"] = job.pretrained.backbone(params.backbone).sha256
    rungs: tuple[float, ...] = ()
    if phase.halving:
        grace = phase.first_rung(known["train_images"], params.batch_size)
        if regime_of(params) == "frozen":
            # An epoch of a head takes little time and teaches little.
            grace = max(grace, stage.patience or 0.0)
        rungs = rung_epochs(epochs, grace, phase.eta)
    results = Rungs(Directory(job.run), phase.name, phase.eta, _group(job, params))
    saved = checkpoint(job, params, trial_name(number), seed, [train for train, _ in images])
    start = saved.load(models)
    known["continued"] = len(start.epochs) if start else 0
    save = saved.every(phase.checkpoint_seconds, models)

    keeps = job.keep_state or job.is_origin

    def go_on(rung: int, key: Key) -> bool:
        if job.frugal:
            key = frugal_key(key, known["validation_images"], known["operations"])
        return results.report(rung, number, key)

    def on_epoch(progress: "Progress") -> None:
        known["epochs"] = progress.epochs
        send_to_parent(known)
        save(progress)

    fitted = run_fit(
        job,
        stage.parts,
        stage.batch_size,
        reporter=ProgressReporter(Directory(job.run), number, epochs, len(rungs)),
        seed=seed,
        epochs=epochs,
        patience=stage.patience,
        learning_rate=stage.learning_rate,
        rungs=rungs,
        go_on=go_on,
        start=start,
        on_epoch=on_epoch,
        on_end=lambda progress: saved.try_save(models, progress) if keeps else None,
    )
    if job.keep_answers and fitted.stopped_at is None:
        keep_answers(job, trial_name(number), stage.parts)
    compiling = built - opened + (fitted.first_step or 0.0)
    known["seconds"]["compile"] = round(compiling, 4)
    known["seconds"]["train"] = round(time.monotonic() - opened - compiling, 4)
    assert fitted.best is not None
    return {
        "status": "ok" if fitted.stopped_at is None else "pruned",
        "rung": fitted.stopped_at,
        "accuracy": fitted.best.accuracy,
        "loss": fitted.best.loss,
        "balanced_accuracy": fitted.best.balanced_accuracy,
        "objective": fitted.best.objective,
        "best_epoch": fitted.best_epoch or None,
        "epochs": fitted.epochs,
    }


def _check_size(size: NetworkSize, phase: PhaseSettings) -> None:
    """Raises Unbuildable if a network is larger than is allowed."""
    reason = size.beyond(phase.max_parameters, phase.max_operations)
    if reason is not None:
        raise Unbuildable(reason)


def _check_latency(milliseconds: float, most: float | None) -> None:
    """Raises Unbuildable if a network takes longer for an image than is allowed."""
    if most is not None and milliseconds > most:
        raise Unbuildable(
            f"{milliseconds:.3g} ms for an image, but search.max_latency_ms allows {most:g}"
        )


def _prepare(
    job: Job, params: TrainingParams, seed: int, images: Sequence[Sides], earlier: Earlier | None
) -> Stage:
    """The last stage of a trial; a user's own network is checked."""
    if regime_of(params) != "scratch":
        return last_stage(job, params, seed, images, earlier)
    try:
        stage = last_stage(job, params, seed, images, earlier)
        if not job.model.is_built_in:
            job.contract().check_readable(stage.models[0])
            job.contract().check_values(stage.models[0])
    except ValueError as error:
        raise Unbuildable(traceback.format_exc()) from error
    except Broken as error:
        raise Unbuildable(str(error)) from None
    return stage


def _group(job: Job, params: TrainingParams) -> str:
    """The trials that are compared at rungs: those of one regime and backbone."""
    regime = regime_of(params)
    if regime == "scratch":
        return ""
    assert isinstance(params, ModelParams)
    return f"{regime}-{job.pretrained.backbone(params.backbone).sha256[:16]}"


def dead_trial(job: Job, params: TrainingParams, number: int, ended: Ended) -> TrialResult:
    """The result of a trial whose process returned none."""
    status: Status = "crashed"
    error = ended.evidence()
    if ended.timed_out:
        status = "timeout"
        error += " (search.trial_timeout)"
    elif ended.out_of_memory or any(sign in ended.log for sign in _MEMORY):
        status = "out_of_memory"
    return trial_result(
        job.phase,
        params,
        number,
        status=status,
        started=ended.started,
        ended=ended.ended,
        error=error,
        **(ended.last_message or {}),
    )


def status_of(error: Exception) -> Status:
    """The status of a trial that ended with an exception."""
    if is_store_error(error):
        return "lost"
    # Compared by name because this module does not import the frameworks of these classes.
    if type(error).__name__ == "Diverged":
        return "diverged"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out_of_memory"
    return "out_of_memory" if any(sign in str(error) for sign in _MEMORY) else "crashed"


def _explain(error: Exception) -> str:
    if type(error).__name__ == "Diverged" or is_store_error(error):
        return str(error)
    return "".join(traceback.format_exception(error))
