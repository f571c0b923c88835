"""Layers that change images at random whenever they are called, unless they are told not to.

Keras's random image layers, unlike Dropout, do so by default: a network that has one gives other
probabilities at each `model(pixels)`, and so does what is exported of it.
"""

import inspect
from typing import Any

import keras


def without_randomness(model: keras.Model) -> keras.Model:
    """A network of the same layers that is deterministic however it is called.

    Random layers become part of the graph with `training=False`; the weights are shared. Only
    `model(pixels, training=True)` still asks for changes. A network without such layers is
    returned as it is.
    """
    if not any(map(_is_random, model._flatten_layers())):
        return model
    if isinstance(model, keras.Sequential):
        # Its layers are called by Keras itself; as a functional network they are nodes.
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)

    def call(layer: keras.Layer, *arguments: Any, **named: Any) -> Any:
        if any(map(_is_random, layer._flatten_layers())):
            named["training"] = False
        return layer(*arguments, **named)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _is_random(layer: keras.Layer) -> bool:
    """Whether a layer acts as in training where nobody says otherwise."""
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True
