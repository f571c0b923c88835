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

from cnn.pixels import open_pixels
from cnn.process import Ended
from cnn.seeds import derive_seed
from cnn.settings import ModelParams
from cnn.splits import TEST, TRAIN
from cnn.storage import Directory
from cnn.trial import Job, all_images, choose_images, compiled, run_fit

if TYPE_CHECKING:
    from cnn.training import Evaluation, Fit

MODEL = "model.keras"
_REPORTED = ("keras", "tensorflow", "pyspark", "hyperopt", "numpy", "pillow")


@dataclass(frozen=True)
class FinalJob:
    """The last training: which configuration, on what, for how long, and what is expected."""

    job: Job
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

    A training that lands more than `tolerance` below what its trial reached on the validation
    images is tried again with another seed. The model file is written whole, then read back, and
    that model alone sees the test images, once.
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
    epochs = final.epochs or job.phase.schedule(len(train), final.params.batch_size)[0]
    attempts: list[dict[str, Any]] = []
    kept: tuple[float, keras.Model, Fit, Evaluation] | None = None
    for attempt in range(final.attempts):
        seed = derive_seed(job.phase.seed, "final", attempt)
        model = compiled(job, final.params, seed)
        held_out = None if final.data == "all" else validation
        fitted = run_fit(job, model, final.params, train, held_out, seed=seed, epochs=epochs)
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
