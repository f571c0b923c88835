"""A model that no job has saved."""

import json
from pathlib import Path
from typing import Any

import keras

from support.made_up import CARD


def save(folder: Path, *layers: Any) -> None:
    """A model file of these layers between pixels and two classes, and its description."""
    pixels = keras.Input((16, 16, 1), dtype="uint8")
    x = keras.layers.Flatten()(pixels)
    for layer in layers:
        x = layer(x)
    keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(x)).save(folder / "model.keras")
    (folder / "model.json").write_text(json.dumps(CARD))
