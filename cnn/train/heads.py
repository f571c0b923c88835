"""Heads: trained on the features of a frozen backbone, for themselves or before fine-tuning.

Keras is imported inside the functions because the driver imports this module too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cnn.core.directory import Directory
from cnn.rundir.trials import HeadResult
from cnn.settings.params import ModelParams, TrainingParams
from cnn.train.features import FeatureSet, open_features
from cnn.train.job import Job, checkpoint, part, run_fit
from cnn.train.pretrained import set_keras_defaults
from cnn.train.stage import Sides, Stage

if TYPE_CHECKING:
    import keras

    from cnn.train.fit import Fit, LearningRate

# A head's batch is at most so many of `batch_size`, and its epoch has at least so many steps.
_BATCHES, _FEWEST_STEPS = 8, 10
# Of the features of all heads of a trial, in bytes.
_MOST_IN_MEMORY = 2**26


def head_stage(job: Job, params: TrainingParams, seed: int, sides: Sequence[Sides]) -> Stage:
    """Heads on the features of the images, each standardised by its own training images."""
    import keras

    from cnn.model.head import build_head
    from cnn.model.network import compile_model
    from cnn.model.operations import with_backbone
    from cnn.train.head_steps import ManySteps

    assert isinstance(params, ModelParams)
    set_keras_defaults()
    wanted = job.pretrained.features(params.backbone, job.manifest)
    features = open_features(Directory(job.run), wanted, job.cache)
    augments = bool(params.augment and wanted.views)
    inputs, table, change = features.plain, None, features.change
    if _stay_in_memory(wanted, augments, len(sides)):
        inputs, change = np.arange(wanted.count), features.change_of_table
        table = features.table() if augments else features.plain
    most = max(len(train) for train, _ in sides)
    batch = batch_of_head(params.batch_size, most)
    models, parts = [], []
    for train, validation in sides:
        mean, variance = moments(features.plain, train.rows)
        keras.utils.set_random_seed(seed)
        model = build_head(params, classes=len(job.manifest.classes), mean=mean, variance=variance)
        compile_model(model, params)
        own = [replace(images, inputs=inputs) for images in (train, validation) if images]
        parts.append(
            part(
                job,
                model,
                own[0],
                own[1] if validation else None,
                ManySteps(model, batch, table),
                change(seed) if augments else None,
            )
        )
        models.append(model)
    steps = -(-most // batch)
    epochs = min(job.phase.head_epochs, max(1, job.phase.head_steps // steps))
    patience = job.phase.head_patience
    parameters = wanted.backbone.parameters + models[0].count_params()
    return Stage(
        *(models, parts, epochs, batch, patience),
        parameters=parameters,
        operations=with_backbone(wanted.backbone, models[0]),
        precision=wanted.precision,
    )


def batch_of_head(batch_size: int, images: int) -> int:
    """The images in a batch of a head: more than `batch_size`, because a step hardly takes longer.

    >>> batch_of_head(32, images=10_000), batch_of_head(32, images=200)
    (256, 32)
    """
    return max(batch_size, min(_BATCHES * batch_size, -(-images // _FEWEST_STEPS)))


def _stay_in_memory(features: FeatureSet, augments: bool, heads: int) -> bool:
    """Whether each head may hold all features that it sees, in float32."""
    import keras

    rows = features.count * (1 + features.views if augments else 1)
    size = 4 * rows * features.backbone.features * heads
    return keras.backend.backend() == "tensorflow" and size <= _MOST_IN_MEMORY


def trained_heads(
    job: Job,
    params: TrainingParams,
    seed: int,
    sides: Sequence[Sides],
    name: str,
    *,
    epochs: int | None = None,
    learning_rate: "LearningRate | None" = None,
) -> "tuple[list[keras.Model], HeadResult]":
    """Trains the heads of a configuration that is to be fine-tuned.

    If an earlier process has left them in a checkpoint, they are read from there.

    Args:
        job: What the executor is told.
        params: The configuration.
        seed: That of the training.
        sides: The images of each network.
        name: The name of the training's checkpoint; that of the heads is derived from it.
        epochs: How long they are trained, without patience; by default as the phase says.
        learning_rate: How the learning rate changes.
    """
    stage = head_stage(job, params, seed, sides)
    own = params.model_copy(update={"fine_tune": 0.0})
    saved = checkpoint(job, own, head_name(name), seed, [train for train, _ in sides])
    fitted = run_fit(
        job,
        stage.parts,
        stage.batch_size,
        seed=seed,
        epochs=epochs or stage.epochs,
        patience=None if epochs else stage.patience,
        learning_rate=learning_rate,
        start=saved.load(stage.models),
        on_end=lambda progress: saved.try_save(stage.models, progress),
    )
    return stage.models, _head_result(fitted)


def head_name(name: str) -> str:
    """The name of the checkpoint of the heads of a training with checkpoint `name`."""
    return f"{name}-head"


def _head_result(fitted: "Fit") -> HeadResult:
    best = fitted.best
    return HeadResult(
        best_epoch=fitted.best_epoch or len(fitted.epochs),
        epochs=len(fitted.epochs),
        seconds=round(sum(epoch.seconds for epoch in fitted.epochs), 4),
        accuracy=best.accuracy if best else None,
        loss=best.loss if best else None,
        balanced_accuracy=best.balanced_accuracy if best else None,
        objective=best.objective if best else None,
    )


def moments(features: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means and variances of the features of some rows, float32 (features,) each.

    They are summed over a few rows at a time, so that the memory needed does not depend on `rows`.
    """
    sums = np.zeros((2, features.shape[1]))
    shift = features[rows[:1]][0].astype(np.float64)
    for start in range(0, len(rows), 1024):
        some = features[rows[start : start + 1024]].astype(np.float64) - shift
        sums += some.sum(axis=0), np.square(some).sum(axis=0)
    mean, square = sums / len(rows)
    variance = np.maximum(square - np.square(mean), 0)
    return (mean + shift).astype(np.float32), variance.astype(np.float32)
