"""Parameters -> network, in Keras 3's own interface, so that it runs on any of its backends."""

from typing import Any

import keras

from cnn.settings.params import ModelParams, TrainingParams


def build(params: TrainingParams, *, size: int, channels: int, classes: int) -> keras.Model:
    """The report's network with everything in it a parameter; not compiled.

    Takes uint8 pixels of shape (batch, size, size, channels) as they are stored and scales them to
    [0, 1] itself; gives float32 probabilities of shape (batch, classes). A layer is a 3x3
    convolution, ReLU and 2x2 max pooling, with batch normalisation after the pooling where asked
    for. A builder of one's own takes the same arguments and may call this one: what its space
    does not name is then as in ModelParams.
    """
    if not isinstance(params, ModelParams):
        params = ModelParams.model_validate(params.model_dump())
    inputs = keras.Input((size, size, channels), dtype="uint8", name="pixels")
    x = keras.layers.Rescaling(1 / 255, name="scale")(inputs)
    for number, filters in enumerate(params.layer_filters(), start=1):
        x = keras.layers.Conv2D(
            filters, 3, use_bias=not params.batch_norm, name=f"convolution_{number}"
        )(x)
        # Pooling before the activation gives the same numbers on a quarter of the pixels. So few
        # are normalised, too: before the pooling that would take longer than all the rest.
        x = keras.layers.MaxPooling2D(name=f"pooling_{number}")(x)
        if params.batch_norm:
            # Keras's momentum of 0.99 needs more steps than a small data set has.
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


def compile_model(model: keras.Model, params: TrainingParams) -> None:
    """Adam and categorical cross-entropy.

    For two classes that is binary cross-entropy. By that name, though, TensorFlow's graphs would go
    back to the logits behind the softmax and put them through sigmoids, which is another loss.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(params.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )


def layers(model: keras.Model) -> list[dict[str, Any]]:
    """What a drawing of the network shows of each layer; shapes are without the batch."""
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
    """Keras's own table of the layers, as text."""
    lines: list[str] = []
    model.summary(print_fn=lambda line, **_: lines.append(line), line_length=80)
    return "\n".join(lines)
