"""What executors are told about a phase, and what trials and the winner's training share.

TensorFlow is imported inside the functions because the driver imports this module too.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.core.directory import Directory
from cnn.data.arrays import Pixels, choose
from cnn.data.manifest import Manifest
from cnn.data.splits import TRAIN
from cnn.model.contract import Contract
from cnn.model.own_function import load_function
from cnn.rundir.heartbeat import ProgressReporter
from cnn.rundir.trials import CHECKPOINTS
from cnn.settings.objective import is_function
from cnn.settings.params import TrainingParams
from cnn.settings.schema import (
    FEW_IMAGES,
    FOLDS,
    CacheSettings,
    ModelSettings,
    PhaseSettings,
    Precision,
)
from cnn.train.objective import Measure
from cnn.train.pretrained import NONE, Pretrained, set_keras_defaults

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Change, Images
    from cnn.train.checkpoint import Checkpoint
    from cnn.train.fit import Fit, Progress
    from cnn.train.fit_parts import Machines, TrainingPart


@dataclass(frozen=True)
class Job:
    """What executors are told about a phase; small enough to be part of a task."""

    phase: PhaseSettings
    model: ModelSettings
    manifest: Manifest
    data: str
    run: str
    cache: CacheSettings
    # Whether the best trial's last state is kept, so that the winner's training can continue it.
    keep_state: bool = False
    # Whether what networks say of their validation images is kept, to find wrong labels.
    keep_answers: bool = False
    # Whether trials that cannot be told apart by their accuracy rank by their cost.
    frugal: bool = False
    # Whether the state is kept because a later phase trains the best networks on.
    is_origin: bool = False
    # What the networks of this phase start from.
    origin: "Origin | None" = None
    # The backbones and their features.
    pretrained: Pretrained = NONE
    # With fewer images in a class, "auto" is a cross-validation.
    few_images: int = FEW_IMAGES
    # The last part of a fine-tuning, in which the learning rate falls.
    cooldown: float = 0.0
    # The network's function, and the objective's, from `cnn.model.own_function.pack`, if they
    # cannot be imported.
    build: bytes | None = None
    objective: bytes | None = None
    # Where the winner's files go, if not to the run directory: its finished run is extended.
    results: str | None = None

    def winner_directory(self) -> Directory:
        """Where the winner's model, its test and what was found with it go."""
        return Directory(self.results or self.run)

    def contract(self) -> Contract:
        """What the network must satisfy."""
        classes = len(self.manifest.classes)
        return Contract(self.model.builder, self.manifest.size, self.manifest.channels, classes)

    def measure(self) -> Measure:
        """How the phase's objective is computed."""
        name = self.phase.objective
        if is_function(name):
            return Measure(name, load_function(name, self.objective))
        return Measure.of(name)

    def networks(self) -> int:
        """The number of networks in a trial: one, or one for each part of a cross-validation."""
        return self.phase.networks(self.manifest.smallest_class(TRAIN), self.few_images)


@dataclass(frozen=True)
class Origin:
    """The best trial of an earlier phase, whose networks a phase trains on."""

    # What executors were told about the earlier phase.
    job: Job
    number: int
    params: TrainingParams
    seed: int
    # The epochs until its best one, and those of the head before, if it was fine-tuned.
    epochs: int
    head_epochs: int | None = None


def choose_images(phase: PhaseSettings, split: Pixels) -> tuple["Images", "Images"]:
    """The training and the validation images of a phase."""
    return _chosen(phase, split, phase.validation_folds)


def choose_folds(
    phase: PhaseSettings, split: Pixels, networks: int
) -> list[tuple["Images", "Images"]]:
    """The training and the validation images of each network of a trial.

    In a cross-validation the data set's ten folds are divided among the networks, so that each
    image is validated once.
    """
    if networks == 1:
        return [choose_images(phase, split)]
    return [_chosen(phase, split, range(part, FOLDS, networks)) for part in range(networks)]


def _chosen(
    phase: PhaseSettings, split: Pixels, validation_folds: Sequence[int]
) -> tuple["Images", "Images"]:
    from cnn.train.batches import Images

    train, validation = choose(split.folds, validation_folds, phase.train_images, phase.subset_seed)
    return (
        Images(split.pixels, split.labels, train, split.weights),
        Images(split.pixels, split.labels, validation),
    )


def all_images(split: Pixels) -> "Images":
    """All images of a split."""
    from cnn.train.batches import Images

    return Images(split.pixels, split.labels, np.arange(len(split.labels)), split.weights)


def compiled(
    job: Job, params: TrainingParams, seed: int, precision: Precision | None = None
) -> "keras.Model":
    """The compiled network with its initial weights, which depend on the seed.

    Args:
        job: What the executor is told.
        params: The configuration.
        seed: The network's seed.
        precision: The precision it computes in; the job's by default.

    Raises:
        Broken: The network breaks its contract (`cnn.model.contract`).
    """
    from cnn.model.network import compile_model

    model = network(job, params, seed, precision)
    compile_model(model, params)
    return model


def network(
    job: Job, params: TrainingParams, seed: int, precision: Precision | None = None
) -> "keras.Model":
    """The network of the builder, not compiled; see `compiled`. Raises Broken."""
    import keras

    from cnn.model.precision import policy, resolve

    set_keras_defaults()
    build = load_function(job.model.builder, job.build)
    keras.utils.set_random_seed(seed)
    contract = job.contract()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy(resolve(precision or job.model.precision, device())))
    try:
        model = build(
            params, size=contract.size, channels=contract.channels, classes=contract.classes
        )
    finally:
        keras.config.set_dtype_policy(before)
    if not job.model.is_built_in:
        contract.check_structure(model)
    built: keras.Model = model
    return built


def part(
    job: Job,
    model: "keras.Model",
    train: "Images",
    validation: "Images | None",
    machines: "Machines | None" = None,
    change: "Change | None" = None,
) -> "TrainingPart":
    """A network and its images, with the class weights of the job."""
    from cnn.train.fit_parts import TrainingPart, balanced_weights

    weights = None
    if job.model.class_weights == "balanced":
        weights = balanced_weights(train.row_labels(), len(job.manifest.classes))
    return TrainingPart(model, train, validation, weights, machines, change)


def augmentation(params: TrainingParams, seed: int) -> "Change | None":
    """What is done to training images, differently in each epoch; None for nothing."""
    from cnn.train.augmentation import augmented

    return partial(augmented, seed=seed) if params.augment else None


def run_fit(
    job: Job,
    parts: Sequence["TrainingPart"],
    batch_size: int,
    *,
    reporter: ProgressReporter | None = None,
    start: "Progress | None" = None,
    on_epoch: Callable[["Progress"], None] = lambda progress: None,
    **options: Any,
) -> "Fit":
    """`cnn.train.fit.fit` with the job's classes and objective; `reporter` publishes progress."""
    from cnn.train.fit import Progress, fit

    def after_epochs(progress: "Progress") -> None:
        if reporter is not None:
            reporter.after_epochs(
                len(progress.epochs),
                accuracy=progress.best.accuracy if progress.best else None,
                objective=progress.best.objective if progress.best else None,
                train_accuracy=progress.epochs[-1].accuracy if progress.epochs else None,
                rungs=progress.last_rung[0] + 1 if progress.last_rung else 0,
            )

    def after_epoch(progress: "Progress") -> None:
        on_epoch(progress)
        after_epochs(progress)

    if reporter is not None:
        options["on_step"] = reporter.on_step
    after_epochs(start or Progress())
    return fit(
        parts,
        classes=len(job.manifest.classes),
        batch_size=batch_size,
        objective=job.phase.objective,
        measure=job.measure(),
        start=start,
        on_epoch=after_epoch,
        **options,
    )


def checkpoint(
    job: Job, params: TrainingParams, name: str, seed: int, trained_on: Sequence["Images"]
) -> "Checkpoint":
    """The checkpoint of a training in the run directory."""
    from cnn.train.checkpoint import Checkpoint

    identity = {
        "params": params.model_dump(mode="json"),
        "seed": seed,
        "data": job.manifest.fingerprint,
        "rows": [zlib.crc32(images.rows.tobytes()) for images in trained_on],
        "model": job.model.model_dump(mode="json"),
        "objective": job.phase.objective,
    }
    return Checkpoint(Directory(job.run).sub(CHECKPOINTS), name, identity)


def device() -> str:
    """The device on which this process computes, as Keras calls it."""
    import keras

    return str(keras.distribution.list_devices()[0])
