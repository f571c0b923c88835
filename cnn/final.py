"""The winner's last training, its file, and the one test; in a process of its own on an executor.

TensorFlow is imported inside the functions: the driver imports this module too.
"""

import dataclasses
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.job import Job, all_images, choose_images, compiled, run_fit, snapshot
from cnn.pixels import open_pixels
from cnn.process import Ended
from cnn.results import trial_name
from cnn.seeds import derive_seed
from cnn.settings import ModelParams
from cnn.splits import TEST, TRAIN
from cnn.storage import Directory

if TYPE_CHECKING:
    import keras

    from cnn.batches import Images
    from cnn.training import Evaluation, Fit

MODEL = "model.keras"
_REPORTED = ("keras", "tensorflow", "pyspark", "hyperopt", "numpy", "pillow")


@dataclass(frozen=True)
class FinalJob:
    """The last training: which configuration, on what, for how long, and what is expected."""

    job: Job
    # The trial that won.
    number: int
    seed: int
    params: ModelParams
    data: str
    # None: as many as the phase's.
    epochs: int | None
    expected_accuracy: float
    attempts: int
    tolerance: float


def final_value(number: int, final: FinalJob, ended: Ended) -> dict[str, Any]:
    """What `run_final` returned, or {"error": the evidence} where its process did not return."""
    return dict(ended.value) if ended.returned else {"error": ended.evidence()}


def run_final(final: FinalJob) -> dict[str, Any]:
    """Trains the winner, saves it, and tests what was saved: the part of result.json that is new.

    On the images that its trial was trained on it goes on from that trial's end: there is nothing
    left to train where the trial had as many epochs as are asked for. A training that lands more
    than `tolerance` below what its trial reached on the validation images is tried again with
    another seed. The model file is written whole, then read back, and that model alone sees the
    test images, once.
    """
    job = final.job
    import keras

    from cnn.model import summary
    from cnn.training import evaluate

    clock = time.monotonic()
    run, data, classes = Directory(job.run), Directory(job.data), len(job.manifest.classes)
    split = open_pixels(data, job.manifest, TRAIN, job.cache_dir)
    whole = job.phase.model_copy(update={"train_images": None})
    train, validation = choose_images(whole, split)
    if final.data == "all":
        train = dataclasses.replace(train, rows=np.arange(len(split.labels)))
    attempts: list[dict[str, Any]] = []
    kept: tuple[float, keras.Model, Fit, Evaluation] | None = None
    for attempt in range(final.attempts):
        held_out = None if final.data == "all" else validation
        seed, model, fitted = _attempt(final, attempt, train, held_out)
        found = evaluate(model, validation, classes=classes)
        accepted = found.accuracy >= final.expected_accuracy - final.tolerance
        attempts.append({"seed": seed, "accuracy": found.accuracy, "accepted": accepted})
        if kept is None or found.accuracy > kept[0]:
            kept = (found.accuracy, model, fitted, found)
        if accepted:
            break
    assert kept is not None
    _, model, fitted, found = kept
    if model.dtype_policy.compute_dtype != "float32":
        # It is to run anywhere: what units the machine has that trained it is no property of it.
        plain = compiled(job, final.params, final.seed, precision="float32")
        plain.set_weights(model.get_weights())
        model = plain
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        run.write(MODEL, path.read_bytes())
        saved = keras.models.load_model(path, safe_mode=True)
    trained = time.monotonic()
    test = all_images(open_pixels(data, job.manifest, TEST, job.cache_dir))
    tested = evaluate(saved, test, classes=classes)
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


def _attempt(
    final: FinalJob, attempt: int, train: "Images", validation: "Images | None"
) -> tuple[int, "keras.Model", "Fit"]:
    """One training of the winner, the first one from where its trial had come to."""
    job, params, phase = final.job, final.params, final.job.phase
    if attempt == 0 and job.keep_state:
        name, seed = trial_name(final.number), final.seed
    else:
        name, seed = f"final-{attempt}", derive_seed(phase.seed, "final", attempt)
    model = compiled(job, params, seed)
    saved = snapshot(job, params, name, seed, train)
    epochs, patience = phase.schedule(len(train), params.batch_size)
    fitted = run_fit(
        job,
        model,
        params,
        train,
        validation,
        seed=seed,
        epochs=final.epochs or epochs,
        patience=None if final.epochs else patience,
        start=saved.load(model),
        on_epoch=saved.every(phase.checkpoint_seconds, model),
    )
    return seed, model, fitted


def versions() -> dict[str, str]:
    """Versions of what results depend on, as installed here."""
    found = {"python": platform.python_version()}
    for package in ("spark-cnn-search", *_REPORTED):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _scores(found: "Evaluation") -> Mapping[str, Any]:
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "balanced_accuracy": found.balanced_accuracy,
        "count": found.count,
    }
