"""The head of a network on a backbone: from features to the probabilities of the classes.

A head is trained alone on features that were computed once, and then becomes the last layers of a
whole network, which takes pixels.
"""

import keras
import numpy as np

from cnn.settings.params import ModelParams

STANDARDISATION = "standardisation"
# Keeps features that hardly vary from being divided by nearly nothing.
_EPSILON = 1e-4


def build_head(
    params: ModelParams, *, classes: int, mean: np.ndarray, variance: np.ndarray
) -> keras.Model:
    """Builds a head: standardisation, a dense layer if `head_units`, dropout, and a softmax.

    All layers compute in float32, whatever precision the backbone has.

    Args:
        params: The configuration; its network's backbone does not matter here.
        classes: The number of classes.
        mean: float32 (features,), the means of the training images' features.
        variance: float32 (features,), their variances.

    Returns:
        A network that is not compiled, from float32 (batch, features) to float32 (batch, classes).

    >>> head = build_head(ModelParams(backbone="any"), classes=2, mean=np.zeros(8, np.float32),
    ...                   variance=np.ones(8, np.float32))
    >>> head.input_shape, head.output_shape
    ((None, 8), (None, 2))
    """
    decay = keras.regularizers.L2(params.l2) if params.l2 else None
    inputs = keras.Input(mean.shape, dtype="float32", name="features")
    # A frozen batch normalisation standardises by weights, which every exporter understands.
    standardise = keras.layers.BatchNormalization(
        *(-1, 0.99, _EPSILON, False, False),
        trainable=False,
        dtype="float32",
        name=STANDARDISATION,
    )
    x = standardise(inputs)
    standardise.set_weights([mean, variance])
    if params.head_units:
        x = keras.layers.Dense(
            params.head_units,
            activation="relu",
            kernel_regularizer=decay,
            dtype="float32",
            name="head_dense",
        )(x)
    if params.dropout:
        x = keras.layers.Dropout(params.dropout, dtype="float32", name="dropout")(x)
    outputs = keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_regularizer=decay,
        dtype="float32",
        name="probabilities",
    )(x)
    return keras.Model(inputs, outputs, name="head")


def whole_network(extractor: keras.Model, head: keras.Model) -> keras.Model:
    """The network from pixels to probabilities; its layers are those of its parts, not copies.

    Args:
        extractor: From uint8 (batch, size, size, channels) to float32 (batch, features).
        head: From `build_head`.
    """
    x = extractor.outputs[0]
    for layer in head.layers[1:]:
        x = layer(x)
    return keras.Model(extractor.inputs[0], x, name="cnn")
