"""The winner's last training, its file, and the one test; in a process of its own on an executor.

TensorFlow is imported inside the functions: the driver imports this module too.
"""

import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.seeds import derive_seed
from cnn.data.arrays import open_pixels
from cnn.data.splits import TEST, TRAIN
from cnn.model.file_check import MODEL
from cnn.rundir.heartbeat import Teller, tell_testing
from cnn.rundir.result import (
    Attempt,
    ConfidenceInterval,
    FinalTraining,
    Layer,
    Metrics,
    TestMetrics,
    WinnerOutcome,
)
from cnn.rundir.trials import trial_name
from cnn.settings.params import TrainingParams
from cnn.settings.validation import Frozen
from cnn.spark.child import Ended
from cnn.train.job import Job, all_images, choose_images, compiled, part, run_fit, snapshot
from cnn.train.scores import Evaluation, evaluate
from cnn.train.test_set import examine

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Images
    from cnn.train.fit import Fit, Part, Progress

# What came of the one test, until it is in result.json.
TESTED = "tested.json"
_REPORTED = ("keras", "tensorflow", "pyspark", "hyperopt", "numpy", "pillow")


@dataclass(frozen=True)
class FinalJob:
    """The last training: which configuration, on what, for how long, and what is expected."""

    job: Job
    # The trial that won.
    number: int
    seed: int
    params: TrainingParams
    data: Literal["train", "all"]
    # None: as many as the phase's.
    epochs: int | None
    expected_accuracy: float
    attempts: int
    tolerance: float
    # The last part of it in which the learning rate falls.
    cooldown: float = 0.0
    # How many executors have trained it together, and how many epochs a checkpoint already held.
    workers: int = 1
    continued: int = 0


class Tested(Frozen):
    """RUN/tested.json: what training and testing a trial's network came to."""

    number: int
    outcome: WinnerOutcome


def final_value(number: int, final: FinalJob, ended: Ended) -> WinnerOutcome | str:
    """What `run_final` returned, or the evidence where its process did not return."""
    outcome: WinnerOutcome | str = ended.value if ended.returned else ended.evidence()
    return outcome


def read_tested(run: Directory, number: int, *, classes: int) -> WinnerOutcome | None:
    """What `run_final` returned for trial `number` before the driver died, if it came to that."""
    try:
        found = read_model(Tested, run, TESTED)
    except (FileNotFoundError, Malformed):
        return None
    known = found.number == number and len(found.outcome.test.confusion) == classes
    return found.outcome if known else None


def run_final(final: FinalJob) -> WinnerOutcome:
    """Trains the winner, saves it, and tests what was saved.

    What came of it is left in the run directory too: a driver that dies here and is resumed does
    not open the test set again.

    On the images that its trial was trained on it goes on from that trial's end: there is nothing
    left to train where the trial had as many epochs as are asked for. A training that lands more
    than `tolerance` below what its trial reached on the validation images is tried again with
    another seed. The model file is written whole, then read back, and that model alone sees the
    test images, once.
    """
    job = final.job
    import keras

    from cnn.model.network import layers, summary
    from cnn.model.randomness import without_randomness

    clock = time.monotonic()
    run, classes = Directory(job.run), len(job.manifest.classes)
    train, validation = final_images(final)
    attempts: list[Attempt] = []
    kept: tuple[float, keras.Model, Fit, Evaluation] | None = None
    for attempt in range(final.attempts):
        seed, model, fitted = _attempt(final, attempt, train, validation)
        found = evaluate(model, validation, classes=classes)
        accepted = found.accuracy >= final.expected_accuracy - final.tolerance
        attempts.append(Attempt(seed=seed, accuracy=found.accuracy, accepted=accepted))
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
    model = without_randomness(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        run.write(MODEL, path.read_bytes())
        saved = keras.models.load_model(path, safe_mode=True)
    trained = time.monotonic()
    tell_testing(run, final.number, job.manifest.total(TEST))
    examined = examine(saved, job)
    tested = examined.scores
    in_top5 = None if examined.in_top5 is None else examined.in_top5 / tested.count
    outcome = WinnerOutcome(
        final=FinalTraining(
            data=final.data,
            best_epoch=fitted.best_epoch,
            epochs=tuple(fitted.epochs),
            train_images=len(train),
            cooldown=final.cooldown,
            attempts=tuple(attempts),
            workers=final.workers,
            continued=final.continued,
            batch_size=final.params.batch_size,
            learning_rate=final.params.learning_rate,
        ),
        # With final.data = "all" these images were trained on: not a validation result.
        validation=Metrics(**_scores(found)) if final.data == "train" else None,
        test=TestMetrics(
            **_scores(tested),
            roc_auc=examined.roc_auc,
            top5_accuracy=in_top5,
            confusion=tested.confusion.tolist(),
            interval=ConfidenceInterval.of(tested.accuracy, tested.count),
            top5_interval=None if in_top5 is None else ConfidenceInterval.of(in_top5, tested.count),
        ),
        architecture=summary(saved),
        layers=tuple(Layer(**layer) for layer in layers(saved)),
        parameters=saved.count_params(),
        versions=versions(),
        seconds={
            "final": round(trained - clock, 3),
            "test": round(time.monotonic() - trained, 3),
        },
    )
    run.write(TESTED, Tested(number=final.number, outcome=outcome).model_dump_json().encode())
    return outcome


def final_images(final: FinalJob) -> tuple["Images", "Images"]:
    """What the winner is trained on, and the validation images: part of it with data = "all"."""
    job = final.job
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
    train, validation = choose_images(job.phase.model_copy(update={"train_images": None}), split)
    return (all_images(split) if final.data == "all" else train), validation


def attempt_of(final: FinalJob, attempt: int) -> tuple[str, int]:
    """An attempt's checkpoint and seed: the first one goes on with the trial where that can be."""
    if attempt == 0 and final.job.keep_state:
        return trial_name(final.number), final.seed
    return f"final-{attempt}", derive_seed(final.job.phase.seed, "final", attempt)


def _attempt(
    final: FinalJob, attempt: int, train: "Images", validation: "Images"
) -> tuple[int, "keras.Model", "Fit"]:
    """One training of the winner, from where its trial or other workers had come to."""
    job = final.job
    name, seed = attempt_of(final, attempt)
    model = compiled(job, final.params, seed)
    saved = snapshot(job, final.params, name, seed, [train])
    fitted = fit_winner(
        final,
        part(job, model, train, None if final.data == "all" else validation),
        attempt,
        seed=seed,
        start=saved.load([model]),
        on_epoch=saved.every(job.phase.checkpoint_seconds, [model]),
    )
    return seed, model, fitted


def fit_winner(
    final: FinalJob,
    own: "Part",
    attempt: int,
    *,
    start: "Progress | None",
    on_epoch: Callable[["Progress"], None] = lambda progress: None,
    tells: bool = True,
    **options: Any,
) -> "Fit":
    """`run_fit` for as long as the winner is to be trained; one of several workers `tells`."""
    from cnn.train.fit import Cooldown

    epochs, patience = final.job.phase.schedule(len(own.train), final.params.batch_size)
    if final.epochs:
        epochs, patience = final.epochs, None
    teller = Teller(Directory(final.job.run), final.number, epochs, 0, attempt=attempt + 1)
    cooldown = Cooldown(final.params.learning_rate, final.cooldown) if final.cooldown else None
    return run_fit(
        final.job,
        [own],
        final.params,
        teller=teller if tells else None,
        epochs=epochs,
        patience=patience,
        cooldown=cooldown,
        start=start,
        on_epoch=on_epoch,
        **options,
    )


def versions() -> dict[str, str]:
    """Versions of what results depend on, as installed here."""
    found = {"python": platform.python_version()}
    for package in ("spark-cnn-search", *_REPORTED):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _scores(found: Evaluation) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "balanced_accuracy": found.balanced_accuracy,
        "count": found.count,
    }
