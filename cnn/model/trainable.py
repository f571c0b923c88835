"""Which layers of a backbone are trained: the last ones, and never batch normalisation."""

import math
from collections.abc import Iterator

import keras


def set_trainable(backbone: keras.Model, share: float) -> tuple[str, ...]:
    """Makes the last layers of a backbone trainable and freezes all others.

    Batch normalisation is always frozen, which in Keras means that it computes as in inference and
    keeps its statistics.

    Args:
        backbone: The network, or the layer of an extractor that is one.
        share: The share of its layers with weights, from 0 (all are frozen) to 1.

    Returns:
        The names of the trainable layers, in topological order. A layer of a nested model has the
        model's name before its own: "block/conv2d".
    """
    every = weighted_layers(backbone)
    # A product such as 0.07 * 100 is a little more than the whole number that it stands for.
    count = math.ceil(share * len(every) - 1e-9)
    last = set(list(every)[len(every) - count :])
    # A layer is trained only if all models that contain it are trainable.
    backbone.trainable = True
    trained = []
    for name, layer in every.items():
        layer.trainable = name in last and not isinstance(layer, keras.layers.BatchNormalization)
        if layer.trainable_weights:
            trained.append(name)
    for layer in backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    if not trained:
        backbone.trainable = False
    return tuple(trained)


def weighted_layers(model: keras.Model) -> dict[str, keras.Layer]:
    """The layers with weights in topological order, by name; nested models are flattened.

    Batch normalisation is among them. A layer that is used twice occurs once.
    """
    found: dict[str, keras.Layer] = {}
    seen: set[int] = set()
    for name, layer in _leaves(model, ""):
        if layer.weights and id(layer) not in seen:
            seen.add(id(layer))
            found[name] = layer
    return found


def _leaves(model: keras.Model, prefix: str) -> Iterator[tuple[str, keras.Layer]]:
    for layer in model.layers:
        name = f"{prefix}{layer.name}"
        if isinstance(layer, keras.Model):
            yield from _leaves(layer, f"{name}/")
        else:
            yield name, layer
