"""Resizing images in a network, with antialiasing, by layers that every runtime has.

`keras.layers.Resizing` cannot be used. With antialiasing it cannot be exported to ONNX. And its
`training` is True by default, which Keras passes on to all layers behind it in a network that is
called without that argument: batch normalisation then computes as in training.
"""

import keras
import numpy as np


def resize(images: keras.KerasTensor, side: int) -> keras.KerasTensor:
    """Resizes square images as `keras.layers.Resizing(side, side, antialias=True)` does.

    The filter is separable: rows and columns are multiplied by a fixed matrix each, whose weights
    are not trainable.

    Args:
        images: (batch, size, size, channels).
        side: The new height and width.

    Returns:
        float32 (batch, side, side, channels).
    """
    _, size, _, channels = images.shape
    matrix = triangle_filter(size, side)
    for name, equation, shape in (
        ("rows", "abcd,be->aecd", (side, size, channels)),
        ("columns", "abcd,ce->abed", (side, side, channels)),
    ):
        layer = keras.layers.EinsumDense(
            equation, shape, trainable=False, dtype="float32", name=f"pixels_{name}"
        )
        images = layer(images)
        layer.set_weights([matrix])
    return images


def triangle_filter(size: int, side: int) -> np.ndarray:
    """The weight of each of `size` pixels in each of `side` new ones: float32 (size, side).

    A new pixel is a mean whose weights fall linearly from its centre to zero, at the distance of
    one new pixel where images shrink, and of one old pixel, which is bilinear interpolation, where
    they grow.
    """
    factor = size / side
    centres = (np.arange(side) + 0.5) * factor
    distance = np.abs(np.arange(size)[:, None] + 0.5 - centres) / max(factor, 1)
    weights = np.clip(1 - distance, 0, None)
    return (weights / weights.sum(axis=0)).astype(np.float32)
