"""What executors are told about the backbones of a run, and the backbone's file on a host.

Keras is imported inside the functions because the driver imports this module too.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.host_cache import Cache, Entry
from cnn.data.manifest import Manifest
from cnn.data.splits import TRAIN
from cnn.model.backbone_card import Backbone
from cnn.settings.schema import CacheSettings
from cnn.spark.machine import KERAS
from cnn.train.features import BATCH, FeatureSet

if TYPE_CHECKING:
    import keras

BACKBONES = "backbones"


@dataclass(frozen=True)
class Pretrained:
    """The backbones of a run and how their features are computed; small enough for a task."""

    backbones: tuple[Backbone, ...] = ()
    # As resolved for the executors' devices.
    precision: Literal["float32", "bfloat16"] = "float32"
    dtype: Literal["float16", "float32"] = "float16"
    views: int = 0
    views_seed: int = 0

    def backbone(self, name: str) -> Backbone:
        """The backbone of that name in the space."""
        return next(backbone for backbone in self.backbones if backbone.name == name)

    def features(self, name: str, manifest: Manifest) -> FeatureSet:
        """The features of a data set's training images."""
        return FeatureSet(
            backbone=self.backbone(name),
            fingerprint=manifest.fingerprint,
            count=manifest.total(TRAIN),
            views=self.views,
            seed=self.views_seed,
            precision=self.precision,
            dtype=self.dtype,
        )


# Of a run whose networks are all from scratch.
NONE = Pretrained()


def backbone_on_host(run: Directory, backbone: Backbone, cache: CacheSettings) -> Entry:
    """The backbone's file on this host, copied from the run directory once.

    Raises:
        Error: The run directory has no such file, or another.
    """
    source = f"{BACKBONES}/{backbone.file_name}"

    def copy(folder: Path) -> None:
        try:
            content = run.read(source)
        except FileNotFoundError:
            content = b""
        if hashlib.sha256(content).hexdigest() != backbone.sha256:
            raise Error(
                "a run directory must have its backbones, but "
                f"{run.uri}/{source} is missing or damaged"
            )
        (folder / backbone.file_name).write_bytes(content)

    filesystem, path = run.path(source)
    size = filesystem.get_file_info(path).size or 0
    entry, _ = Cache(cache).open(
        f"backbone-{backbone.sha256}",
        size=size,
        build=copy,
        check=lambda folder: _has_file(folder / backbone.file_name),
    )
    return entry


def _has_file(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def set_keras_defaults() -> None:
    """Overrides the host's keras.json."""
    import keras

    keras.config.set_image_data_format(KERAS["image_data_format"])
    keras.config.set_floatx(KERAS["floatx"])


def load_extractor(
    run: Directory,
    backbone: Backbone,
    cache: CacheSettings,
    *,
    size: int,
    channels: int,
    precision: Literal["float32", "bfloat16"],
) -> "keras.Model":
    """The network from pixels as stored to features; see `cnn.model.backbone.extractor`."""
    import keras

    from cnn.model.backbone import extractor, load_backbone
    from cnn.model.precision import policy

    set_keras_defaults()
    entry = backbone_on_host(run, backbone, cache)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy(precision))
    try:
        loaded = load_backbone(entry.folder / backbone.file_name)
        return extractor(loaded, size=size, channels=channels)
    finally:
        keras.config.set_dtype_policy(before)
        entry.mark.close()


def extract_function(model: "keras.Model") -> Callable[[np.ndarray], np.ndarray]:
    """A compiled function from BATCH images to their features."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return lambda pixels: np.asarray(model.predict_on_batch(pixels))
    import tensorflow as tf

    signature = [tf.TensorSpec((BATCH, *model.input_shape[1:]), tf.uint8)]
    function = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    return lambda pixels: np.asarray(function(pixels))
