"""One trial: a configuration trained and validated, in a process of its own on an executor.

TensorFlow is imported inside the functions: the driver imports this module too.
"""

import importlib
import socket
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.halving import Rungs, ranking_loss, rung_epochs
from cnn.manifest import Manifest
from cnn.pixels import Pixels, choose, open_pixels
from cnn.process import Ended, tell
from cnn.results import EpochResult, Status, TrialResult, now, write_log, write_trial
from cnn.seeds import derive_seed
from cnn.settings import ModelParams, ModelSettings, PhaseSettings
from cnn.splits import TRAIN
from cnn.storage import Directory
from cnn.worker import trial_number

if TYPE_CHECKING:
    import keras

    from cnn.training import Fit, Images

# What frameworks write when they are out of memory, as an exception or before they abort.
_MEMORY = ("std::bad_alloc", "OOM when allocating", "RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


@dataclass(frozen=True)
class Job:
    """What every training on an executor is told; small enough to be part of a task."""

    phase: PhaseSettings
    model: ModelSettings
    manifest: Manifest
    data: str
    run: str
    cache_dir: str | None


class TrialObjective:
    """What Hyperopt minimises. It is called in the trial's process, its `conclude` in the task."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, params: ModelParams) -> TrialResult:
        return run_trial(self._job, params, trial_number())

    def conclude(self, number: int, params: ModelParams, ended: Ended) -> dict[str, Any]:
        """What the driver gets. The trial is in the run directory before the driver knows of it."""
        trial = ended.value if ended.returned else died(self._job, params, number, ended)
        run = Directory(self._job.run)
        result = document(self._job.phase, trial)
        try:
            if ended.log.strip():
                write_log(run, f"{number:05d}", ended.log)
            write_trial(run, trial)
        except OSError:
            # The driver writes it, or is the one to say why that cannot be done.
            return {**result, "written": False}
        return {**result, "written": True}


def document(phase: PhaseSettings, trial: TrialResult) -> dict[str, Any]:
    """A trial as Hyperopt's result."""
    loss = ranking_loss(phase.objective, trial)
    content = {"trial": trial.model_dump(mode="json")}
    if trial.status == "invalid":
        return {"status": "fail", "refused": trial.error, **content}
    if loss is None:
        # Without a loss: what failed ranks last with every strategy.
        return {"status": "fail", **content}
    return {"status": "ok", "loss": loss, **content}


def run_trial(job: Job, params: ModelParams, number: int) -> TrialResult:
    """Trains one configuration and says what came of it; never raises.

    Its seed follows from (seed, phase, number), so that it can be repeated anywhere. What is known
    after each epoch is told, for the case that the process does not live to return.
    """
    started = now()
    seed = derive_seed(job.phase.seed, "trial", job.phase.name, number)
    known: dict[str, Any] = {"seed": seed, "host": socket.gethostname()}
    epochs: list[EpochResult] = []

    def on_epoch(epoch: EpochResult) -> None:
        epochs.append(epoch)
        tell({**known, "epochs": tuple(epochs)})

    try:
        known |= _train(job, params, number, seed, known, on_epoch)
    except _Unbuildable as error:
        known |= {"status": "invalid", "error": str(error)}
    except Exception as error:
        known |= {"status": _status_of(error), "error": _explain(error), "epochs": tuple(epochs)}
    return trial_result(job.phase, params, number, started=started, ended=now(), **known)


def trial_result(
    phase: PhaseSettings, params: ModelParams, number: int, **known: Any
) -> TrialResult:
    """A trial of a phase; `known` are the fields that say what came of it."""
    return TrialResult(
        number=number, phase=phase.name, params=params.model_dump(mode="json"), **known
    )


class _Unbuildable(Exception):
    """The builder says that there is no such network."""


def _train(
    job: Job, params: ModelParams, number: int, seed: int, known: dict[str, Any], on_epoch: Any
) -> dict[str, Any]:
    """Trains and validates; fills `known` on the way and returns the rest of the result."""
    clock = time.monotonic()
    known["device"] = _device()
    tell(known)
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache_dir)
    opened = time.monotonic()
    known["seconds"] = {"data": round(opened - clock, 4)}
    train, validation = choose_images(job.phase, split)
    known["train_images"] = len(train)
    try:
        model = compiled(job, params, seed)
    except ValueError as error:
        raise _Unbuildable(traceback.format_exc()) from error
    phase = job.phase
    epochs, patience = phase.schedule(len(train), params.batch_size)
    rungs: tuple[float, ...] = ()
    if phase.halving:
        # Few images: rungs are stretched as epochs are.
        grace = phase.grace_epochs * epochs / phase.epochs
        rungs = rung_epochs(epochs, grace, phase.eta)
    board = Rungs(Directory(job.run), phase.name, phase.eta)
    fitted = run_fit(
        job,
        model,
        params,
        train,
        validation,
        seed=seed,
        epochs=epochs,
        patience=patience,
        rungs=rungs,
        go_on=lambda rung, key: board.report(rung, number, key),
        on_epoch=on_epoch,
    )
    known["seconds"]["train"] = round(time.monotonic() - opened, 4)
    assert fitted.best is not None
    return {
        "status": "ok" if fitted.stopped_at is None else "pruned",
        "rung": fitted.stopped_at,
        "accuracy": fitted.best.accuracy,
        "loss": fitted.best.loss,
        "balanced_accuracy": fitted.best.balanced_accuracy,
        "best_epoch": fitted.best_epoch or None,
        "epochs": fitted.epochs,
    }


def died(job: Job, params: ModelParams, number: int, ended: Ended) -> TrialResult:
    """The result of a trial whose process did not return one."""
    status: Status = "crashed"
    error = ended.evidence()
    if ended.timed_out:
        status = "timeout"
        error = f"--set search.trial_timeout={job.phase.trial_timeout:g}: {error}"
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
        **(ended.told or {}),
    )


def choose_images(phase: PhaseSettings, split: Pixels) -> tuple["Images", "Images"]:
    """The training and the validation images of a phase."""
    from cnn.training import Images

    train, validation = choose(
        split.folds, phase.validation_folds, phase.train_images, phase.subset_seed
    )
    return (
        Images(split.pixels, split.labels, train),
        Images(split.pixels, split.labels, validation),
    )


def compiled(job: Job, params: ModelParams, seed: int) -> "keras.Model":
    """The network with its first weights, which follow from the seed."""
    import keras

    from cnn.model import compile_model

    module, _, name = job.model.builder.partition(":")
    build = getattr(importlib.import_module(module), name)
    keras.utils.set_random_seed(seed)
    classes = len(job.manifest.classes)
    model = build(params, size=job.manifest.size, channels=job.manifest.channels, classes=classes)
    compile_model(model, params, classes)
    return model


def run_fit(
    job: Job,
    model: "keras.Model",
    params: ModelParams,
    train: "Images",
    validation: "Images | None",
    **options: Any,
) -> "Fit":
    """`cnn.training.fit` with what the job says of classes and objective."""
    from cnn.training import balanced_weights, fit

    classes = len(job.manifest.classes)
    weights = None
    if job.model.class_weights == "balanced":
        weights = balanced_weights(train.row_labels(), classes)
    return fit(
        model,
        train,
        validation,
        classes=classes,
        batch_size=params.batch_size,
        objective=job.phase.objective,
        class_weights=weights,
        **options,
    )


def all_images(split: Pixels) -> "Images":
    from cnn.training import Images

    return Images(split.pixels, split.labels, np.arange(len(split.labels)))


def _device() -> str:
    import keras

    return str(keras.distribution.list_devices()[0])


def _status_of(error: Exception) -> Status:
    # By name: the classes belong to frameworks that this module does not import.
    if type(error).__name__ == "Diverged":
        return "diverged"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out_of_memory"
    return "out_of_memory" if any(sign in str(error) for sign in _MEMORY) else "crashed"


def _explain(error: Exception) -> str:
    if type(error).__name__ == "Diverged":
        return str(error)
    return "".join(traceback.format_exception(error))
