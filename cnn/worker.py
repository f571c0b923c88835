"""The executor's side: one trial or the final training, in a Python process of its own.

TensorFlow is imported inside the functions: the driver imports this module too.
"""

import dataclasses
import importlib
import os
import platform
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark import TaskContext

from cnn.manifest import Manifest
from cnn.pixels import Pixels, choose, open_pixels
from cnn.results import TrialResult, now, scalar_objective, trial_key
from cnn.seeds import derive_seed
from cnn.settings import ModelParams, ModelSettings, PhaseSettings
from cnn.splits import TEST, TRAIN
from cnn.storage import Directory

if TYPE_CHECKING:
    import keras

    from cnn.training import Evaluation, Fit, Images

MODEL = "model.keras"
# The local property in which a task finds the number of its trial.
NUMBER_PROPERTY = "cnn.trial.number"
_REPORTED = ("keras", "tensorflow", "pyspark", "hyperopt", "numpy", "pillow")


@dataclass(frozen=True)
class Job:
    """What every training on an executor is told; small enough to be part of a task."""

    phase: PhaseSettings
    model: ModelSettings
    manifest: Manifest
    data: str
    cache_dir: str | None
    threads: int


@dataclass(frozen=True)
class FinalJob:
    """The last training: which configuration, on what, for how long, and what is expected."""

    job: Job
    params: ModelParams
    run: str
    data: str
    # None: as many as the phase's.
    epochs: int | None
    expected_accuracy: float
    attempts: int
    tolerance: float


def trial_number() -> int:
    """The number of the trial that the calling task runs."""
    context = TaskContext.get()
    number = context.getLocalProperty(NUMBER_PROPERTY) if context else None
    if number is None:
        raise RuntimeError("trial_number must be called in a task that cnn.search.Trials launched")
    return int(number)


class Guarded:
    """An objective whose exceptions come back as failed results, with their tracebacks."""

    def __init__(self, objective: Callable[[Any], dict[str, Any] | float]) -> None:
        self._objective = objective

    def __call__(self, argument: Any) -> dict[str, Any] | float:
        try:
            return self._objective(argument)
        except Exception:
            return {"status": "fail", "error": traceback.format_exc()}


class TrialObjective:
    """What Hyperopt minimises: runs one trial where it is called, in a task on an executor."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, params: ModelParams) -> dict[str, Any]:
        trial = run_trial(self._job, params, trial_number())
        document = {"trial": trial.model_dump(mode="json")}
        if trial.status != "ok":
            # Without a loss: what failed ranks last with every strategy.
            return {"status": "fail", **document}
        loss = scalar_objective(trial_key(self._job.phase.objective, trial))
        return {"status": "ok", "loss": loss, **document}


def versions() -> dict[str, str]:
    """Versions of what results depend on, as installed here."""
    found = {"python": platform.python_version()}
    for package in ("spark-cnn-search", *_REPORTED):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_trial(job: Job, params: ModelParams, number: int) -> TrialResult:
    """Trains one configuration and says what came of it; never raises.

    Its seed follows from (seed, phase, number), so that it can be repeated anywhere.
    """
    started = now()
    seed = derive_seed(job.phase.seed, "trial", job.phase.name, number)
    clock = time.monotonic()
    known: dict[str, Any] = {}
    try:
        _use_threads(job.threads)
        from cnn.training import Diverged, OutOfTime

        try:
            known["device"] = _device()
            split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache_dir)
            opened = time.monotonic()
            known["seconds"] = {"data": round(opened - clock, 4)}
            deadline = None if job.phase.trial_timeout is None else clock + job.phase.trial_timeout
            train, validation = _choose_images(job.phase, split)
            known["train_images"] = len(train)
            model = _compiled(job, params, seed)
            schedule = job.phase.schedule(len(train), params.batch_size)
            fitted = _fit(job, model, params, train, validation, seed, schedule, deadline)
            known["seconds"]["train"] = round(time.monotonic() - opened, 4)
            assert fitted.best is not None
            known |= {
                "status": "ok",
                "accuracy": fitted.best.accuracy,
                "loss": fitted.best.loss,
                "balanced_accuracy": fitted.best.balanced_accuracy,
                "best_epoch": fitted.best_epoch,
                "epochs": fitted.epochs,
            }
        except Diverged as error:
            known |= {"status": "diverged", "epochs": tuple(error.epochs), "error": str(error)}
        except OutOfTime as error:
            rule = f"--set search.trial_timeout={job.phase.trial_timeout:g}: {error}"
            known |= {"status": "timeout", "epochs": tuple(error.epochs), "error": rule}
    except Exception as error:
        known |= {"status": _status_of(error), "error": traceback.format_exc()}
    return TrialResult(
        number=number,
        phase=job.phase.name,
        params=params.model_dump(mode="json"),
        seed=seed,
        host=socket.gethostname(),
        started=started,
        ended=now(),
        **known,
    )


def run_final(final: FinalJob) -> dict[str, Any]:
    """Trains the winner, saves it, and tests what was saved: the part of result.json that is new.

    A training that lands more than `tolerance` below what its trial reached on the validation
    images is tried again with another seed. The model file is written whole, then read back, and
    that model alone sees the test images, once.
    """
    job = final.job
    _use_threads(job.threads)
    import keras

    from cnn.model import summary
    from cnn.training import evaluate

    clock = time.monotonic()
    run, data, classes = Directory(final.run), Directory(job.data), len(job.manifest.classes)
    split = open_pixels(data, job.manifest, TRAIN, job.cache_dir)
    whole = job.phase.model_copy(update={"train_images": None})
    train, validation = _choose_images(whole, split)
    if final.data == "all":
        train = dataclasses.replace(train, rows=np.arange(len(split.labels)))
    epochs = final.epochs or job.phase.schedule(len(train), final.params.batch_size)[0]
    attempts: list[dict[str, Any]] = []
    kept: tuple[float, keras.Model, Fit, Evaluation] | None = None
    for attempt in range(final.attempts):
        seed = derive_seed(job.phase.seed, "final", attempt)
        model = _compiled(job, final.params, seed)
        held_out = None if final.data == "all" else validation
        fitted = _fit(job, model, final.params, train, held_out, seed, (epochs, None), None)
        found = evaluate(model, validation, classes=classes)
        accepted = found.accuracy >= final.expected_accuracy - final.tolerance
        attempts.append({"seed": seed, "accuracy": found.accuracy, "accepted": accepted})
        if kept is None or found.accuracy > kept[0]:
            kept = (found.accuracy, model, fitted, found)
        if accepted:
            break
    assert kept is not None
    _, model, fitted, found = kept
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        run.write(MODEL, path.read_bytes())
        saved = keras.models.load_model(path, safe_mode=True)
    trained = time.monotonic()
    tested = evaluate(saved, _all_images(open_test(job)), classes=classes)
    return {
        "final": {
            "data": final.data,
            "best_epoch": fitted.best_epoch,
            "epochs": [epoch.model_dump() for epoch in fitted.epochs],
            "train_images": len(train),
            "attempts": attempts,
        },
        # With final.data = "all" these images were trained on: not a validation result.
        "validation": _scores(found) if final.data == "train" else None,
        "test": {**_scores(tested), "confusion": tested.confusion.tolist()},
        "architecture": summary(saved),
        "parameters": saved.count_params(),
        "versions": versions(),
        "seconds": {
            "final": round(trained - clock, 3),
            "test": round(time.monotonic() - trained, 3),
        },
    }


def open_test(job: Job) -> Pixels:
    return open_pixels(Directory(job.data), job.manifest, TEST, job.cache_dir)


def _scores(found: "Evaluation") -> Mapping[str, Any]:
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "balanced_accuracy": found.balanced_accuracy,
        "count": found.count,
    }


def _use_threads(threads: int) -> None:
    """Limits the framework to this task's share of the cores; read when it first computes."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(threads)


def _device() -> str:
    import keras

    return str(keras.distribution.list_devices()[0])


def _choose_images(phase: PhaseSettings, split: Pixels) -> tuple["Images", "Images"]:
    from cnn.training import Images

    train, validation = choose(
        split.folds, phase.validation_folds, phase.train_images, phase.subset_seed
    )
    return (
        Images(split.pixels, split.labels, train),
        Images(split.pixels, split.labels, validation),
    )


def _all_images(split: Pixels) -> "Images":
    from cnn.training import Images

    return Images(split.pixels, split.labels, np.arange(len(split.labels)))


def _compiled(job: Job, params: ModelParams, seed: int) -> "keras.Model":
    """The network with its first weights, which follow from the seed."""
    import keras

    from cnn.model import compile_model

    keras.utils.set_random_seed(seed)
    module, _, name = job.model.builder.partition(":")
    build = getattr(importlib.import_module(module), name)
    classes = len(job.manifest.classes)
    model = build(params, size=job.manifest.size, channels=job.manifest.channels, classes=classes)
    compile_model(model, params, classes)
    return model


def _fit(
    job: Job,
    model: "keras.Model",
    params: ModelParams,
    train: "Images",
    validation: "Images | None",
    seed: int,
    schedule: tuple[int, int | None],
    deadline: float | None,
) -> "Fit":
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
        epochs=schedule[0],
        seed=seed,
        objective=job.phase.objective,
        patience=schedule[1],
        class_weights=weights,
        deadline=deadline,
    )


def _status_of(error: Exception) -> str:
    # By name: the classes belong to frameworks that this module does not import.
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "out_of_memory"
    return "crashed"
