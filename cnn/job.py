"""What every training on an executor is told, and what trials and the winner's training share.

TensorFlow is imported inside the functions: the driver imports this module too.
"""

import importlib
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.manifest import Manifest
from cnn.pixels import Pixels, choose
from cnn.results import CHECKPOINTS
from cnn.settings import CacheSettings, ModelParams, ModelSettings, PhaseSettings, Precision
from cnn.storage import Directory

if TYPE_CHECKING:
    import keras

    from cnn.batches import Images
    from cnn.snapshot import Snapshot
    from cnn.training import Fit


@dataclass(frozen=True)
class Job:
    """Small enough to be part of a task."""

    phase: PhaseSettings
    model: ModelSettings
    manifest: Manifest
    data: str
    run: str
    cache: CacheSettings
    # Whether the best trial's last state is kept, for the winner's training to go on from.
    keep_state: bool = False


def choose_images(phase: PhaseSettings, split: Pixels) -> tuple["Images", "Images"]:
    """The training and the validation images of a phase."""
    from cnn.batches import Images

    train, validation = choose(
        split.folds, phase.validation_folds, phase.train_images, phase.subset_seed
    )
    return (
        Images(split.pixels, split.labels, train),
        Images(split.pixels, split.labels, validation),
    )


def all_images(split: Pixels) -> "Images":
    from cnn.batches import Images

    return Images(split.pixels, split.labels, np.arange(len(split.labels)))


def compiled(
    job: Job, params: ModelParams, seed: int, precision: Precision | None = None
) -> "keras.Model":
    """The network with its first weights, which follow from the seed.

    It computes in the job's precision where no other is given.
    """
    import keras

    from cnn.model import compile_model
    from cnn.precision import policy, resolve

    module, _, name = job.model.builder.partition(":")
    build = getattr(importlib.import_module(module), name)
    keras.utils.set_random_seed(seed)
    classes = len(job.manifest.classes)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy(resolve(precision or job.model.precision, device())))
    try:
        size, channels = job.manifest.size, job.manifest.channels
        model = build(params, size=size, channels=channels, classes=classes)
    finally:
        keras.config.set_dtype_policy(before)
    compile_model(model, params)
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


def snapshot(job: Job, params: ModelParams, name: str, seed: int, train: "Images") -> "Snapshot":
    """Where a training keeps its state under the run directory, and for which one it holds."""
    from cnn.snapshot import Snapshot

    identity = {
        "params": params.model_dump(mode="json"),
        "seed": seed,
        "data": job.manifest.fingerprint,
        "rows": zlib.crc32(train.rows.tobytes()),
        "model": job.model.model_dump(mode="json"),
        "objective": job.phase.objective,
    }
    return Snapshot(Directory(job.run).sub(CHECKPOINTS), name, identity)


def device() -> str:
    """What this process computes on, as Keras names it."""
    import keras

    return str(keras.distribution.list_devices()[0])
