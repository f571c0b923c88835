"""Builds the network from parameters, with Keras 3's own interface, so that any backend runs it."""

from collections.abc import Sequence
from typing import Any

import keras

from cnn.model.optimizer import TwoRateAdam
from cnn.model.pixel_scaling import scale_pixels
from cnn.settings.params import ModelParams, TrainingParams


def build(params: TrainingParams, *, size: int, channels: int, classes: int) -> keras.Model:
    """Builds the built-in network: that of the course project, with all its sizes as parameters.

    Each convolutional layer is a 3x3 convolution, 2x2 max pooling, batch normalisation if
    `params.batch_norm`, and ReLU. Dense layers, dropout and a softmax follow. The network scales
    pixels to [0, 1] itself.

    A user's own builder takes the same arguments, and may call this one: parameters that its space
    does not name then have the defaults of ModelParams.

    Args:
        params: The sizes of the network.
        size: Height and width of the images, in pixels.
        channels: 1 for grayscale, 3 for RGB.
        classes: The number of classes.

    Returns:
        A network that is not compiled. Its input is uint8 (batch, size, size, channels), its output
        float32 (batch, classes): the probabilities of the classes.

    Raises:
        ValueError: The images are too small for the layers (see `ModelParams.impossible`).

    >>> from cnn.model import build
    >>> from cnn.settings.params import ModelParams
    >>> network = build(ModelParams(conv_layers=1), size=32, channels=1, classes=2)
    >>> network.input_shape, network.output_shape
    ((None, 32, 32, 1), (None, 2))
    """
    if not isinstance(params, ModelParams):
        params = ModelParams.model_validate(params.model_dump())
    inputs = keras.Input((size, size, channels), dtype="uint8", name="pixels")
    x = scale_pixels(inputs)
    for number, filters in enumerate(params.layer_filters(), start=1):
        x = keras.layers.Conv2D(
            filters, 3, use_bias=not params.batch_norm, name=f"convolution_{number}"
        )(x)
        # Pooling before ReLU gives the same numbers from a quarter of the pixels. Normalisation
        # comes after it too: before it, it would take longer than everything else.
        x = keras.layers.MaxPooling2D(name=f"pooling_{number}")(x)
        if params.batch_norm:
            # Keras's default momentum, 0.99, needs more steps than a small data set has.
            x = keras.layers.BatchNormalization(momentum=0.9, name=f"normalisation_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    if params.pooling == "average":
        x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    else:
        x = keras.layers.Flatten(name="flatten")(x)
    for number, units in enumerate(params.layer_units(), start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"dense_{number}")(x)
    if params.dropout:
        x = keras.layers.Dropout(params.dropout, name="dropout")(x)
    outputs = keras.layers.Dense(
        classes, activation="softmax", dtype="float32", name="probabilities"
    )(x)
    return keras.Model(inputs, outputs, name="cnn")


def compile_model(
    model: keras.Model, params: TrainingParams, slow: Sequence[keras.Variable] = ()
) -> None:
    """Compiles a network with Adam and categorical cross-entropy.

    With two classes this equals binary cross-entropy. Keras's loss of that name is not used: in
    TensorFlow's graphs it takes the logits of the softmax and applies sigmoids to them instead.

    Args:
        model: The network.
        params: Its configuration.
        slow: Variables that learn at `backbone_rate` times the learning rate.
    """
    optimizer = keras.optimizers.Adam(params.learning_rate)
    loss: str | keras.losses.Loss = "categorical_crossentropy"
    if isinstance(params, ModelParams):
        if slow:
            optimizer = TwoRateAdam(params.learning_rate, slow, params.backbone_rate)
        if params.label_smoothing:
            loss = keras.losses.CategoricalCrossentropy(label_smoothing=params.label_smoothing)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])


def layers(model: keras.Model) -> list[dict[str, Any]]:
    """The name, kind, output shape (without the batch) and parameter count of each layer."""
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]


def summary(model: keras.Model) -> str:
    """Keras's table of the layers, as text."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=80)
    return "\n".join(lines)
