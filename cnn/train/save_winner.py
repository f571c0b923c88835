"""Saves the trained winner as a network that takes pixels, and describes its backbone.

Keras is imported inside the functions because the driver imports this module too.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn.core.directory import Directory
from cnn.data.arrays import open_pixels
from cnn.data.splits import TRAIN
from cnn.model.file_check import MODEL
from cnn.rundir.winner_training import Agreement, BackboneUsed
from cnn.settings.params import ModelParams, TrainingParams
from cnn.train.batches import Images
from cnn.train.features import open_features
from cnn.train.job import Job, compiled
from cnn.train.scores import batch_of, predict
from cnn.train.stage import regime_of
from cnn.train.whole_network import saved_network, trained_layers

if TYPE_CHECKING:
    import keras

# How many training images the saved network and the head on features are compared on.
_COMPARED = 256


def save_winner(job: Job, params: TrainingParams, seed: int, model: "keras.Model") -> "keras.Model":
    """Writes the model file; returns the model that is read back from it."""
    import keras

    from cnn.model.randomness import without_randomness

    model = without_randomness(saveable(job, params, seed, model))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        model.save(path)
        job.winner_directory().write(MODEL, path.read_bytes())
        return keras.models.load_model(path, safe_mode=True)


def saveable(job: Job, params: TrainingParams, seed: int, model: "keras.Model") -> "keras.Model":
    """The trained network as it is saved: from pixels, and in float32.

    It is to run on any machine, whatever precision suited the one that trained it.
    """
    if regime_of(params) != "scratch":
        return saved_network(job, params, model)
    if model.dtype_policy.compute_dtype == "float32":
        return model
    plain = compiled(job, params, seed, precision="float32")
    plain.set_weights(model.get_weights())
    return plain


def backbone_used(
    job: Job, params: TrainingParams, trained: "keras.Model", saved: "keras.Model"
) -> BackboneUsed | None:
    """The winner's backbone; None if it is a network from scratch.

    Args:
        job: What the executor is told.
        params: The winner's configuration.
        trained: The network of its last stage: of a frozen backbone, the head.
        saved: The network that was read back from its file.
    """
    if not isinstance(params, ModelParams) or not params.has_backbone:
        return None
    backbone = job.pretrained.backbone(params.backbone)
    return BackboneUsed(
        name=backbone.name,
        sha256=backbone.sha256,
        side=backbone.side,
        features=backbone.features,
        parameters=backbone.parameters,
        trained_layers=trained_layers(saved, params.fine_tune),
        agreement=None if params.fine_tune else _agreement(job, params, trained, saved),
    )


def _agreement(
    job: Job, params: ModelParams, head: "keras.Model", saved: "keras.Model"
) -> Agreement:
    """How the saved network on pixels and the head on the computed features agree."""
    split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
    wanted = job.pretrained.features(params.backbone, job.manifest)
    features = open_features(Directory(job.run), wanted, job.cache)
    rows = np.unique(np.linspace(0, wanted.count - 1, min(_COMPARED, wanted.count)).astype(int))
    pixels = Images(split.pixels, split.labels, rows)
    on_pixels = predict(saved.predict_on_batch, pixels, batch_of(saved))
    on_features = np.asarray(head.predict_on_batch(features.plain[rows]))
    return Agreement(
        images=len(rows),
        same=int((on_pixels.argmax(axis=1) == on_features.argmax(axis=1)).sum()),
        largest_difference=float(np.abs(on_pixels - on_features).max()),
    )
