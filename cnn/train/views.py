"""Views: changed versions of the training images, whose features a head is trained on.

Each image has a fixed number of views, so that a backbone has to see them only once.
"""

import keras
import numpy as np

# The smallest part of an image that a view shows, by side, and the largest change of colour.
_SHOWN, _COLOUR = 0.75, 0.2
# Keeps the random numbers apart from those of other changes.
_STREAM = 2


def view(pixels: np.ndarray, rows: np.ndarray, number: int, *, seed: int) -> np.ndarray:
    """A view of images: a part of each, half of them mirrored, with other colours.

    A view shows a square of 75 to 100 % of the side. Brightness, contrast and saturation change
    by up to 20 %. What is done depends only on the seed, the number and the image.

    Args:
        pixels: uint8 (n, size, size, channels).
        rows: int (n,), the images' rows in their data set.
        number: Which view, from 1.
        seed: That of the search.

    Returns:
        uint8, shaped like `pixels`, which are not modified.

    >>> pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    >>> one, again, other = (view(pixels, np.array([3]), n, seed=0) for n in (1, 1, 2))
    >>> bool((one == again).all()), bool((one == other).all())
    (True, False)
    """
    size = pixels.shape[1]
    rngs = [np.random.default_rng([seed, number, int(row), _STREAM]) for row in rows]
    crops = np.stack([_crop(rng, size) for rng in rngs])
    changed = keras.ops.image.affine_transform(
        pixels.astype(np.float32), crops, fill_mode="nearest", data_format="channels_last"
    )
    coloured = np.stack(
        [_coloured(image, rng) for image, rng in zip(np.asarray(changed), rngs, strict=True)]
    )
    return np.rint(coloured.clip(0, 255)).astype(np.uint8)


def _crop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Keras's transform from an output pixel to its input pixel: float32 (8,)."""
    scale = rng.uniform(_SHOWN, 1.0)
    across, down = rng.uniform(0, (1 - scale) * (size - 1), 2)
    mirrored = rng.random() < 0.5
    a0, a2 = (-scale, across + scale * (size - 1)) if mirrored else (scale, across)
    return np.array([a0, 0, a2, 0, scale, down, 0, 0], np.float32)


def _coloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image, float32 (size, size, channels), with other brightness, contrast and saturation."""
    brightness, contrast, saturation = 1 + rng.uniform(-_COLOUR, _COLOUR, 3)
    grey = image.mean(axis=2, keepdims=True)
    image = grey + saturation * (image - grey)
    mean = image.mean()
    return np.asarray(brightness * (mean + contrast * (image - mean)))
