"""Small backbones with random weights: what pretrained ones have, in a few thousand parameters."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import keras
import numpy as np

_PLAIN = """
import json, sys, keras, numpy as np
model = keras.models.load_model(sys.argv[1], safe_mode=True)
found = model.predict(np.load(sys.argv[2]), verbose=0)
print(json.dumps([str(model.input.dtype), found.tolist()]))
"""
SIDE = 32
FEATURES = 16
# A real one: EfficientNet-Lite0, from 224x224 RGB pixels to 1,280 features.
REAL = Path(os.environ.get("SHARED", "/nowhere"), "data/backbones/efficientnet-lite0.keras")


def small_backbone(
    output: Literal["map", "vector"] = "map", *, side: int | None = SIDE, seed: int = 0
) -> keras.Model:
    """A network from RGB pixels, 0 to 255, to a map (side / 4, side / 4, 16) or 16 numbers.

    It has batch normalisation with statistics of its own, a nested network, a depthwise
    convolution and two branches. The same seed gives the same weights.
    """
    keras.utils.set_random_seed(seed)
    pixels = keras.Input((side, side, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(pixels)
    x = _convolution(32, 3, 2, "stem")(x)
    x = _block(32)(x)
    branch = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="branch")(x)
    branch = keras.layers.BatchNormalization(name="branch_normalisation")(branch)
    x = keras.layers.Add(name="add")([x, branch])
    # The biases keep most features above zero, where ReLU does not hide differences.
    x = keras.layers.Conv2D(FEATURES, 1, bias_initializer="ones", name="top")(x)
    x = keras.layers.ReLU(6.0, name="top_relu")(x)
    if output == "vector":
        x = keras.layers.GlobalAveragePooling2D(name="average")(x)
    model = keras.Model(pixels, x, name="small_backbone")
    _give_statistics(model, np.random.default_rng(seed))
    return model


def save_backbone(
    path: Path, output: Literal["map", "vector"] = "map", *, side: int | None = SIDE, seed: int = 0
) -> Path:
    """Writes `small_backbone` to a file; returns its path."""
    small_backbone(output, side=side, seed=seed).save(path)
    return path


def in_plain_keras(model: Path, pixels: np.ndarray) -> tuple[str, np.ndarray]:
    """What a saved network takes and says, in a process that has Keras and none of our code."""
    place = model.with_name("pixels.npy")
    np.save(place, pixels)
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN, model, place], capture_output=True, text=True, check=True
    )
    place.unlink()
    dtype, probabilities = json.loads(done.stdout.splitlines()[-1])
    return dtype, np.array(probabilities)


def _convolution(filters: int, kernel: int, strides: int, name: str) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ],
        name=name,
    )


def _block(filters: int) -> keras.Model:
    """A nested network with a residual connection."""
    inputs = keras.Input((None, None, filters), name="block_input")
    x = keras.layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation("swish")(x)
    x = keras.layers.Conv2D(filters, 1, use_bias=False)(x)
    pooled = keras.layers.AveragePooling2D(2, padding="same")(inputs)
    return keras.Model(inputs, keras.layers.Add()([x, pooled]), name="block")


def _give_statistics(model: keras.Model, rng: np.random.Generator) -> None:
    """Moving statistics as after training: a new layer's would hide that they are used."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            width = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, width),
                    rng.normal(0, 0.3, width),
                    rng.normal(0, 0.3, width),
                    rng.uniform(0.3, 1.5, width),
                ]
            )
