"""What the networks of a configuration say of images that they were not trained on.

A trial's networks are validated on such images, each by one network. What they say at their best
epoch is kept in a few bytes an image until the winner is known, beside the checkpoints and removed
with them. A cross-validation of the winner's configuration gives the same for all training images.
TensorFlow is imported inside the functions because the driver imports this module too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnn.core.directory import Directory
from cnn.data.arrays import open_pixels
from cnn.data.splits import TRAIN
from cnn.rundir.heartbeat import ProgressReporter
from cnn.rundir.trials import CHECKPOINTS
from cnn.settings.params import TrainingParams
from cnn.settings.schema import FOLDS_OF_FEW
from cnn.train.checkpoint_file import read_checkpoint, write_checkpoint
from cnn.train.job import Job, checkpoint, choose_folds, run_fit
from cnn.train.label_errors import Answers
from cnn.train.stages import before_last, last_stage

if TYPE_CHECKING:
    from cnn.train.fit_parts import TrainingPart

# The name of the training that cross-validates the winner, and its networks.
CROSS_VALIDATION = "cross-validation"
NETWORKS = FOLDS_OF_FEW
# A row, the probability of its label, and the classes that are kept with theirs.
_MOST_BYTES_A_ROW = 8 + 4 + 8 * 8


def answers_name(name: str) -> str:
    """The name of the file with what the networks of the training `name` say."""
    return f"{name}-answers"


def keep_answers(job: Job, name: str, parts: "Sequence[TrainingPart]") -> None:
    """Keeps what trained networks say of their validation images; only the storage may fail it."""
    from cnn.train.fit_parts import OneMachine

    rows, answers = [], []
    for own in parts:
        machine = own.where()
        assert isinstance(machine, OneMachine)
        if own.validation:
            rows.append(own.validation.rows)
            said = machine.predict(own.validation)
            answers.append(Answers.of(said, own.validation.row_labels()))
    if not rows:
        return
    every = Answers.joined(*answers)
    arrays = {
        "rows": [np.concatenate(rows)],
        "answers": [every.own, every.classes, every.probabilities],
    }
    state = {"data": job.manifest.fingerprint}
    try:
        write_checkpoint(_directory(job), answers_name(name), arrays, state)
    except OSError as error:
        print(f"what the networks said of validation images was not kept: {error}", flush=True)


def read_answers(job: Job, name: str) -> tuple[np.ndarray, Answers] | None:
    """What `keep_answers` kept: rows of the training images, int (n,), and what is said of them.

    Returns:
        None if it is missing, damaged, or of other data.
    """
    count, classes = job.manifest.total(TRAIN), len(job.manifest.classes)
    found = read_checkpoint(_directory(job), answers_name(name), count * _MOST_BYTES_A_ROW)
    if found is None or found[1].get("data") != job.manifest.fingerprint:
        return None
    try:
        (rows,) = found[0]["rows"]
        own, kinds, probabilities = found[0]["answers"]
    except (LookupError, ValueError):
        return None
    sound = (
        (rows.ndim, kinds.ndim) == (1, 2)
        and len(rows) > 0
        and own.shape == rows.shape
        and kinds.shape == probabilities.shape
        and len(kinds) == len(rows)
        and kinds.shape[1] > 0
        and all(np.issubdtype(array.dtype, np.integer) for array in (rows, kinds))
        and 0 <= rows.min() <= rows.max() < count
        and len(np.unique(rows)) == len(rows)
        and 0 <= kinds.min() <= kinds.max() < classes
        and np.isfinite(own).all()
        and np.isfinite(probabilities).all()
    )
    return (rows, Answers(own, kinds, probabilities)) if sound else None


def cross_validate(job: Job, params: TrainingParams, seed: int, number: int) -> None:
    """Trains the configuration of trial `number` once for each part of all training images.

    What the networks say of the parts that they were not trained on is kept. A killed training is
    continued from its last checkpoint.
    """
    run = Directory(job.run)
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
    whole = job.phase.model_copy(update={"train_images": None})
    images = choose_folds(whole, split, NETWORKS)
    earlier = before_last(job, params, seed, images, CROSS_VALIDATION)
    stage = last_stage(job, params, seed, images, earlier)
    saved = checkpoint(job, params, CROSS_VALIDATION, seed, [train for train, _ in images])
    start = saved.load(stage.models)
    run_fit(
        job,
        stage.parts,
        stage.batch_size,
        reporter=ProgressReporter(run, number, stage.epochs, 0),
        seed=seed,
        epochs=stage.epochs,
        patience=stage.patience,
        learning_rate=stage.learning_rate,
        start=start,
        on_epoch=saved.every(job.phase.checkpoint_seconds, stage.models),
    )
    keep_answers(job, CROSS_VALIDATION, stage.parts)


def _directory(job: Job) -> Directory:
    return Directory(job.run).sub(CHECKPOINTS)
