"""The winner's last steps, in a process on an executor: train it, save it, test it once.

TensorFlow is imported inside the functions because the driver imports this module too.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.seeds import derive_seed
from cnn.core.versions import installed_versions
from cnn.data.arrays import open_pixels
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.heartbeat import ProgressReporter, report_testing
from cnn.rundir.metrics import Metrics
from cnn.rundir.result import WinnerOutcome
from cnn.rundir.trials import trial_name
from cnn.rundir.winner_training import Attempt, FinalTraining, Layer
from cnn.settings.params import TrainingParams
from cnn.settings.validation import Frozen
from cnn.train.heads import batch_of_head
from cnn.train.job import Job, all_images, checkpoint, choose_images, run_fit
from cnn.train.save_winner import backbone_used, save_winner
from cnn.train.scores import Evaluation
from cnn.train.stage import Sides, Stage, regime_of
from cnn.train.stages import Earlier, before_last, last_stage
from cnn.train.test_set import TestScores, run_test

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Images
    from cnn.train.fit import Fit, LearningRate, Progress
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
    # With fine-tuning: the epochs of the head before it.
    head_epochs: int | None = None


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
    saved = save_winner(final.job, final.params, final.seed, winner.model)
    used = backbone_used(final.job, final.params, winner.model, saved)
    trained = time.monotonic()
    report_testing(run, final.number, final.job.manifest.total(TEST))
    scores = run_test(saved, final.job)
    seconds = {
        "final": round(trained - began, 3),
        "test": round(time.monotonic() - trained, 3),
    }
    outcome = _outcome(final, winner, saved, scores, seconds)
    outcome = outcome.model_copy(update={"backbone": used})
    tested = TestedWinner(number=final.number, outcome=outcome)
    final.job.winner_directory().write(TEST_OUTCOME, tested.model_dump_json().encode())
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
        seed, model, fitted, scores = _train_once(final, attempt, train, validation)
        accepted = scores.accuracy >= final.expected_accuracy - final.tolerance
        attempts.append(Attempt(seed=seed, accuracy=scores.accuracy, accepted=accepted))
        if best is None or scores.accuracy > best[2].accuracy:
            best = (model, fitted, scores)
        if accepted:
            break
    assert best is not None
    return _Winner(*best, train_images=len(train), attempts=tuple(attempts))


def _outcome(
    final: FinalJob,
    winner: _Winner,
    saved: "keras.Model",
    scores: TestScores,
    seconds: dict[str, float],
) -> WinnerOutcome:
    """The winner's part of the run's result."""
    from cnn.model.network import layers, summary

    given, is_head = final.params.batch_size, regime_of(final.params) == "frozen"
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
            batch_size=batch_of_head(given, winner.train_images) if is_head else given,
            learning_rate=final.params.learning_rate,
        ),
        # With data = "all" the validation images were trained on, so there is no validation result.
        validation=Metrics(**winner.validation.means()) if final.data == "train" else None,
        test=scores.metrics(),
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
) -> tuple[int, "keras.Model", "Fit", Evaluation]:
    """One attempt, continued from the checkpoint of the trial or of several workers, if any.

    The network that is returned is that of the last stage, so a frozen backbone's head alone.
    """
    job = final.job
    name, seed = checkpoint_and_seed(final, attempt)
    earlier = winner_before(final, attempt, train, validation)
    stage = winner_stage(final, attempt, train, validation, earlier)
    (model,), (own,) = stage.models, stage.parts
    saved = checkpoint(job, final.params, name, seed, [train])
    fitted = fit_winner(
        final,
        own,
        attempt,
        stage,
        start=saved.load([model]),
        on_epoch=saved.every(job.phase.checkpoint_seconds, [model]),
    )
    judged = dataclasses.replace(validation, inputs=own.train.inputs)
    scores = own.where().evaluate(judged, len(job.manifest.classes))
    if fitted.best is not None:
        # The model has the weights of that epoch.
        scores = dataclasses.replace(scores, objective=fitted.best.objective)
    return seed, model, fitted, scores


def winner_before(
    final: FinalJob, attempt: int, train: "Images", validation: "Images"
) -> Earlier | None:
    """What comes before the last stage of an attempt."""
    name, seed = checkpoint_and_seed(final, attempt)
    return before_last(
        final.job,
        final.params,
        seed,
        _sides(final, train, validation),
        name,
        whole=final.data == "all",
        head_epochs=final.head_epochs,
        learning_rate=_cooled(final),
    )


def winner_stage(
    final: FinalJob,
    attempt: int,
    train: "Images",
    validation: "Images",
    earlier: Earlier | None,
) -> Stage:
    """The last stage of an attempt, after what `winner_before` returned."""
    _, seed = checkpoint_and_seed(final, attempt)
    return last_stage(final.job, final.params, seed, _sides(final, train, validation), earlier)


def _sides(final: FinalJob, train: "Images", validation: "Images") -> list[Sides]:
    return [(train, None if final.data == "all" else validation)]


def _cooled(final: FinalJob) -> "LearningRate | None":
    from cnn.train.fit import LearningRate

    if not final.cooldown:
        return None
    return LearningRate(final.params.learning_rate, cooldown=final.cooldown)


def fit_winner(
    final: FinalJob,
    own: "TrainingPart",
    attempt: int,
    stage: Stage,
    *,
    start: "Progress | None",
    on_epoch: Callable[["Progress"], None] = lambda progress: None,
    reports: bool = True,
    **options: Any,
) -> "Fit":
    """`run_fit` for as long as the winner is to be trained; `reports` whether progress is shown."""
    epochs, patience = stage.epochs, stage.patience
    if final.epochs:
        epochs, patience = final.epochs, None
    reporter = ProgressReporter(
        Directory(final.job.run), final.number, epochs, 0, attempt=attempt + 1
    )
    return run_fit(
        final.job,
        [own],
        stage.batch_size,
        reporter=reporter if reports else None,
        seed=checkpoint_and_seed(final, attempt)[1],
        epochs=epochs,
        patience=patience,
        learning_rate=stage.learning_rate or _cooled(final),
        start=start,
        on_epoch=on_epoch,
        **options,
    )
