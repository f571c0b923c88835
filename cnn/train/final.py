"""The winner's last steps, in a process on an executor: train it, save it, test it once.

TensorFlow is imported inside the functions because the driver imports this module too.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.seeds import derive_seed
from cnn.core.versions import installed_versions
from cnn.data.arrays import open_pixels
from cnn.data.splits import TEST, TRAIN
from cnn.model.file_check import MODEL
from cnn.rundir.heartbeat import ProgressReporter, report_testing
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
from cnn.train.job import Job, all_images, checkpoint, choose_images, compiled, part, run_fit
from cnn.train.scores import Evaluation, evaluate
from cnn.train.test_set import TestScores, run_test

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Images
    from cnn.train.fit import Fit, Progress
    from cnn.train.fit_parts import TrainingPart

# The outcome of the one test, kept until it is in result.json.
TEST_OUTCOME = "tested.json"


@dataclass(frozen=True)
class FinalJob:
    """The winner's last training: its configuration, images, length and expected accuracy."""

    job: Job
    # The winning trial.
    number: int
    seed: int
    params: TrainingParams
    # "all" trains on the validation images too.
    data: Literal["train", "all"]
    # None for as many as the phase has.
    epochs: int | None
    expected_accuracy: float
    attempts: int
    tolerance: float
    # The last part of the training, in which the learning rate falls.
    cooldown: float = 0.0
    # The executors that train it together, and the epochs that their checkpoint held at first.
    workers: int = 1
    continued: int = 0


class TestedWinner(Frozen):
    """RUN/tested.json: the outcome of training and testing a trial's network."""

    number: int
    outcome: WinnerOutcome


@dataclass(frozen=True)
class _Winner:
    """The trained winner: its model, its best attempt, and all attempts."""

    model: "keras.Model"
    fitted: "Fit"
    validation: Evaluation
    train_images: int
    attempts: tuple[Attempt, ...]


def final_value(number: int, final: FinalJob, ended: Ended) -> WinnerOutcome | str:
    """What `run_final` returned, or the evidence if its process died."""
    outcome: WinnerOutcome | str = ended.value if ended.returned else ended.evidence()
    return outcome


def read_tested(run: Directory, number: int, *, classes: int) -> WinnerOutcome | None:
    """What `run_final` returned for trial `number` before the driver died, or None."""
    try:
        found = read_model(TestedWinner, run, TEST_OUTCOME)
    except (FileNotFoundError, Malformed):
        return None
    known = found.number == number and len(found.outcome.test.confusion) == classes
    return found.outcome if known else None


def run_final(final: FinalJob) -> WinnerOutcome:
    """Trains the winner, saves it, and tests the saved model once.

    The outcome is also written to the run directory, so that a resumed driver does not open the
    test set again.

    Returns:
        The part of the run's result that describes the winner's model.
    """
    began = time.monotonic()
    run = Directory(final.job.run)
    winner = _train(final)
    saved = _save(final, winner.model)
    trained = time.monotonic()
    report_testing(run, final.number, final.job.manifest.total(TEST))
    scores = run_test(saved, final.job)
    seconds = {
        "final": round(trained - began, 3),
        "test": round(time.monotonic() - trained, 3),
    }
    outcome = _outcome(final, winner, saved, scores, seconds)
    tested = TestedWinner(number=final.number, outcome=outcome)
    run.write(TEST_OUTCOME, tested.model_dump_json().encode())
    return outcome


def _train(final: FinalJob) -> _Winner:
    """Trains the winner until an attempt is good enough; the best attempt counts.

    If the images are those of its trial, the first attempt continues the trial; no epochs are left
    if the trial had as many as are asked for. An attempt whose accuracy on the validation images
    is more than `tolerance` below the expected one is followed by another with a new seed.
    """
    train, validation = final_images(final)
    attempts: list[Attempt] = []
    best: tuple[keras.Model, Fit, Evaluation] | None = None
    for attempt in range(final.attempts):
        seed, model, fitted = _train_once(final, attempt, train, validation)
        scores = evaluate(model, validation, classes=len(final.job.manifest.classes))
        accepted = scores.accuracy >= final.expected_accuracy - final.tolerance
        attempts.append(Attempt(seed=seed, accuracy=scores.accuracy, accepted=accepted))
        if best is None or scores.accuracy > best[2].accuracy:
            best = (model, fitted, scores)
        if accepted:
            break
    assert best is not None
    return _Winner(*best, train_images=len(train), attempts=tuple(attempts))


def _save(final: FinalJob, model: "keras.Model") -> "keras.Model":
    """Writes the model file; returns the model that is read back from it."""
    import keras

    from cnn.model.randomness import without_randomness

    if model.dtype_policy.compute_dtype != "float32":
        # The model is to run on any machine, whatever precision suited the one that trained it.
        plain = compiled(final.job, final.params, final.seed, precision="float32")
        plain.set_weights(model.get_weights())
        model = plain
    model = without_randomness(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        Directory(final.job.run).write(MODEL, path.read_bytes())
        return keras.models.load_model(path, safe_mode=True)


def _outcome(
    final: FinalJob,
    winner: _Winner,
    saved: "keras.Model",
    scores: TestScores,
    seconds: dict[str, float],
) -> WinnerOutcome:
    """The winner's part of the run's result."""
    from cnn.model.network import layers, summary

    tested = scores.evaluation
    top5 = None if scores.in_top5 is None else scores.in_top5 / tested.count
    return WinnerOutcome(
        final=FinalTraining(
            data=final.data,
            best_epoch=winner.fitted.best_epoch,
            epochs=tuple(winner.fitted.epochs),
            train_images=winner.train_images,
            cooldown=final.cooldown,
            attempts=winner.attempts,
            workers=final.workers,
            continued=final.continued,
            batch_size=final.params.batch_size,
            learning_rate=final.params.learning_rate,
        ),
        # With data = "all" the validation images were trained on, so there is no validation result.
        validation=Metrics(**_scores(winner.validation)) if final.data == "train" else None,
        test=TestMetrics(
            **_scores(tested),
            roc_auc=scores.roc_auc,
            top5_accuracy=top5,
            confusion=tested.confusion.tolist(),
            interval=ConfidenceInterval.of(tested.accuracy, tested.count),
            top5_interval=None if top5 is None else ConfidenceInterval.of(top5, tested.count),
        ),
        architecture=summary(saved),
        layers=tuple(Layer(**layer) for layer in layers(saved)),
        parameters=saved.count_params(),
        versions=installed_versions(),
        seconds=seconds,
    )


def final_images(final: FinalJob) -> tuple["Images", "Images"]:
    """The winner's training and validation images; with data = "all" they overlap."""
    job = final.job
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
    train, validation = choose_images(job.phase.model_copy(update={"train_images": None}), split)
    return (all_images(split) if final.data == "all" else train), validation


def checkpoint_and_seed(final: FinalJob, attempt: int) -> tuple[str, int]:
    """An attempt's checkpoint and seed; the first attempt continues the trial if it can."""
    if attempt == 0 and final.job.keep_state:
        return trial_name(final.number), final.seed
    return f"final-{attempt}", derive_seed(final.job.phase.seed, "final", attempt)


def _train_once(
    final: FinalJob, attempt: int, train: "Images", validation: "Images"
) -> tuple[int, "keras.Model", "Fit"]:
    """One attempt, continued from the checkpoint of the trial or of several workers, if any."""
    job = final.job
    name, seed = checkpoint_and_seed(final, attempt)
    model = compiled(job, final.params, seed)
    saved = checkpoint(job, final.params, name, seed, [train])
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
    own: "TrainingPart",
    attempt: int,
    *,
    start: "Progress | None",
    on_epoch: Callable[["Progress"], None] = lambda progress: None,
    reports: bool = True,
    **options: Any,
) -> "Fit":
    """`run_fit` for as long as the winner is to be trained; `reports` whether progress is shown."""
    from cnn.train.fit import Cooldown

    epochs, patience = final.job.phase.schedule(len(own.train), final.params.batch_size)
    if final.epochs:
        epochs, patience = final.epochs, None
    reporter = ProgressReporter(
        Directory(final.job.run), final.number, epochs, 0, attempt=attempt + 1
    )
    cooldown = Cooldown(final.params.learning_rate, final.cooldown) if final.cooldown else None
    return run_fit(
        final.job,
        [own],
        final.params,
        reporter=reporter if reports else None,
        epochs=epochs,
        patience=patience,
        cooldown=cooldown,
        start=start,
        on_epoch=on_epoch,
        **options,
    )


def _scores(found: Evaluation) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "loss": found.loss,
        "balanced_accuracy": found.balanced_accuracy,
        "count": found.count,
    }
