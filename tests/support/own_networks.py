"""Functions as users write them for `model.builder`: one that keeps the contract, the rest not."""

from typing import Any

import keras


def build(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    """Small, with parameters of its own."""
    if params.width == "none":
        raise ValueError("a network must have a width")
    x = inputs = keras.Input((size, size, channels), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(x)
    for units in params.units:
        x = keras.layers.Dense({"small": 2, "large": 4}[params.width] * units)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(classes, activation=params.head)(x))


def _body(size: int, channels: int) -> list[keras.Layer]:
    return [
        keras.Input((size, size, channels)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
    ]


def _ending_with(*layers: Any, size: int, channels: int) -> keras.Model:
    return keras.Sequential([*_body(size, channels), *layers])


def softmax(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    last = keras.layers.Dense(classes, activation="softmax")
    return _ending_with(last, size=size, channels=channels)


def with_schedule(params: Any, *, classes: int, **shape: int) -> keras.Model:
    model = softmax(params, classes=classes, **shape)
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    model.compile(keras.optimizers.SGD(rate), "mse")
    return model


def with_loss_object(params: Any, *, classes: int, **shape: int) -> keras.Model:
    model = softmax(params, classes=classes, **shape)
    model.compile(loss=keras.losses.CategoricalCrossentropy())
    return model


def logits(params: Any, *, classes: int, **shape: int) -> keras.Model:
    last = keras.layers.Dense(classes, bias_initializer=keras.initializers.Constant(-3))
    return _ending_with(last, **shape)


def one_sigmoid(params: Any, *, classes: int, **shape: int) -> keras.Model:
    return _ending_with(keras.layers.Dense(1, activation="sigmoid"), **shape)


def sigmoids(params: Any, *, classes: int, **shape: int) -> keras.Model:
    return _ending_with(keras.layers.Dense(classes, activation="sigmoid"), **shape)


def of_a_thousand(params: Any, *, classes: int, **shape: int) -> keras.Model:
    return _ending_with(keras.layers.Dense(1000, activation="softmax"), **shape)


def not_finite(params: Any, *, classes: int, **shape: int) -> keras.Model:
    last = keras.layers.Dense(classes, activation="softmax")
    return _ending_with(keras.layers.Rescaling(float("inf")), last, **shape)


def map_of_classes(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    last = keras.layers.Conv2D(classes, 1, activation="softmax")
    return keras.Sequential([keras.Input((size, size, channels)), last])


def other_size(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    return softmax(params, size=224, channels=3, classes=classes)


def any_size(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    pooled = keras.layers.GlobalAveragePooling2D()
    last = keras.layers.Dense(classes, activation="softmax")
    return keras.Sequential([keras.Input((None, None, channels)), pooled, last])


def two_inputs(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    inputs = [keras.Input((size, size, channels)) for _ in range(2)]
    x = keras.layers.Flatten()(keras.layers.Add()(inputs))
    return keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))


def two_outputs(params: Any, *, classes: int, **shape: int) -> keras.Model:
    model = softmax(params, classes=classes, **shape)
    return keras.Model(model.inputs, [model.outputs[0], model.outputs[0]])


def not_built(params: Any, *, size: int, channels: int, classes: int) -> keras.Model:
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(classes)])


def with_lambda(params: Any, *, classes: int, **shape: int) -> keras.Model:
    scale = keras.layers.Lambda(lambda x: x / 255)
    last = keras.layers.Dense(classes, activation="softmax")
    return _ending_with(scale, last, **shape)


class Own(keras.Model):
    """A network as a class of one's own."""


def of_own_class(params: Any, *, classes: int, **shape: int) -> keras.Model:
    model = softmax(params, classes=classes, **shape)
    return Own(model.inputs, model.outputs)


def nothing(params: Any, **shape: int) -> None:
    """Forgets to return it."""


def a_layer(params: Any, *, classes: int, **shape: int) -> keras.Layer:
    return keras.layers.Dense(classes)


def unnamed(params: Any, **shape: int) -> Any:
    return params.filters


def fails(params: Any, *, size: int, channels: int, classes: int) -> Any:
    return dict[str, int]()["a key"]


def of_two(params: Any, size: int) -> Any:
    return None


NUMBER = 3
