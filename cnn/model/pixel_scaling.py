"""Scaling pixels: a layer of the network, so that what is saved takes images as they are stored."""

import keras


def scale_pixels(pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Scales pixels to [0, 1].

    Args:
        pixels: uint8 (batch, size, size, channels), as a data directory holds them.

    Returns:
        The same shape in the type that the network computes in.
    """
    scaled: keras.KerasTensor = keras.layers.Rescaling(1 / 255, name="scale")(pixels)
    return scaled
