"""Layers that are random by default, and not only in training.

Keras's random image layers, unlike Dropout, change images whenever they are called: a network with
such a layer gives different probabilities at each `model(pixels)`, and so does its export.
"""

import inspect
from typing import Any

import keras


def without_randomness(model: keras.Model) -> keras.Model:
    """A network with the same layers that is deterministic however it is called.

    The random layers are called with `training=False` in its graph; the weights are shared. Only
    `model(pixels, training=True)` still changes images. A network without such layers is returned
    unchanged.
    """
    if not any(map(_is_random, model._flatten_layers())):
        return model
    if isinstance(model, keras.Sequential):
        # Keras itself calls the layers of a Sequential; those of a functional network are nodes.
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)

    def call(layer: keras.Layer, *arguments: Any, **named: Any) -> Any:
        if any(map(_is_random, layer._flatten_layers())):
            named["training"] = False
        return layer(*arguments, **named)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _is_random(layer: keras.Layer) -> bool:
    """Whether a layer behaves as in training by default."""
    training = inspect.signature(layer.call).parameters.get("training")
    return training is not None and training.default is True
