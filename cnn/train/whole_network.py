"""Whole networks on a backbone, from pixels to probabilities: to be fine-tuned, or to be saved.

Keras is imported inside the functions because the driver imports this module too.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np

from cnn.core.directory import Directory
from cnn.settings.params import ModelParams, TrainingParams
from cnn.train.job import Job
from cnn.train.pretrained import load_extractor
from cnn.train.stage import regime_of

if TYPE_CHECKING:
    import keras


def whole_for_training(job: Job, params: ModelParams, head: "keras.Model") -> "keras.Model":
    """The compiled network from pixels to probabilities, with the layers of `head`."""
    import keras

    from cnn.model.head import whole_network
    from cnn.model.network import compile_model
    from cnn.model.trainable import set_trainable

    # Where several executors train together, all variables must be created in their strategy.
    own_head = keras.models.clone_model(head)
    own_head.set_weights(head.get_weights())
    extractor = _extractor(job, params, job.pretrained.precision)
    extractor.trainable = False
    backbone = _backbone_of(extractor)
    set_trainable(backbone, params.fine_tune)
    slow = backbone.trainable_variables
    model = whole_network(extractor, own_head)
    compile_model(model, params, slow=slow)
    return model


def saved_network(job: Job, params: TrainingParams, trained: "keras.Model") -> "keras.Model":
    """The network that is saved, in float32 and not compiled, with trained weights.

    Args:
        job: What the executor is told.
        params: The configuration, with a backbone.
        trained: The head on a frozen backbone, or the whole fine-tuned network.
    """
    from cnn.model.head import build_head, whole_network

    assert isinstance(params, ModelParams)
    extractor = _extractor(job, params, "float32")
    zeros = np.zeros(extractor.output_shape[-1], np.float32)
    head = build_head(params, classes=len(job.manifest.classes), mean=zeros, variance=zeros)
    model = whole_network(extractor, head)
    part = head if regime_of(params) == "frozen" else model
    part.set_weights(trained.get_weights())
    return model


def _extractor(
    job: Job, params: ModelParams, precision: Literal["float32", "bfloat16"]
) -> "keras.Model":
    return load_extractor(
        Directory(job.run),
        job.pretrained.backbone(params.backbone),
        job.cache,
        size=job.manifest.size,
        channels=job.manifest.channels,
        precision=precision,
    )


def trained_layers(network: "keras.Model", share: float) -> tuple[str, ...]:
    """The names of the backbone's layers that fine-tuning a share of them trains."""
    from cnn.model.trainable import set_trainable

    return set_trainable(_backbone_of(network), share) if share else ()


def _backbone_of(network: "keras.Model") -> "keras.Model":
    """The backbone is the only network among the layers of an extractor or a whole network."""
    import keras

    (backbone,) = (layer for layer in network.layers if isinstance(layer, keras.Model))
    return backbone
