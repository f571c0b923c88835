"""Small changes of training images that leave their class alone: mirrored, moved, turned, zoomed.

They belong to what a training is shown and are no part of the network, so that a saved network does
the same whoever applies it, however it is called. An image's change follows from the seed, the
epoch and the image alone: a training that is resumed, or shared by several workers, sees the same.
"""

import keras
import numpy as np

# The largest changes: in parts of a side, in parts of a full turn, and in size.
_MOVED, _TURNED, _ZOOMED = 0.08, 0.04, 0.1
# A generator of its own beside that of the images' order.
_STREAM = 1


def augmented(pixels: np.ndarray, rows: np.ndarray, epoch: int, *, seed: int) -> np.ndarray:
    """Changes images as they are shown in one epoch.

    Half of them are mirrored; each is moved by up to 8 % of a side, turned by up to 14.4 degrees
    and made up to 10 % smaller or larger. What comes from beyond an edge looks like the edge.

    Args:
        pixels: uint8 (n, height, width, channels).
        rows: int (n,), the images' numbers in their data set.
        epoch: From 1.
        seed: Of the training.

    Returns:
        uint8, shaped like `pixels`, which stay as they are.

    >>> pixels = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    >>> first = augmented(pixels, np.array([3]), 1, seed=0)
    >>> bool((first == augmented(pixels, np.array([3]), 1, seed=0)).all())
    True
    >>> bool((first == augmented(pixels, np.array([3]), 2, seed=0)).all())
    False
    """
    height, width = pixels.shape[1:3]
    changes = np.stack([_change(int(row), seed, epoch, height, width) for row in rows])
    changed = keras.ops.image.affine_transform(
        pixels.astype(np.float32), changes, fill_mode="nearest", data_format="channels_last"
    )
    return np.rint(np.asarray(changed)).astype(np.uint8)


def _change(row: int, seed: int, epoch: int, height: int, width: int) -> np.ndarray:
    """From an output pixel to where it comes from, as Keras has it: float32 (8,)."""
    rng = np.random.default_rng([seed, epoch, row, _STREAM])
    mirror = rng.choice([-1.0, 1.0])
    down, across = rng.uniform(-_MOVED, _MOVED, 2) * (height, width)
    angle = rng.uniform(-_TURNED, _TURNED) * 2 * np.pi
    zoom = 1 + rng.uniform(-_ZOOMED, _ZOOMED)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    a0, a1, b0, b1 = mirror * cosine, -mirror * sine, sine, cosine
    # About the middle of the image.
    x, y = (width - 1) / 2, (height - 1) / 2
    a2 = x + across - a0 * x - a1 * y
    b2 = y + down - b0 * x - b1 * y
    return np.array([a0, a1, a2, b0, b1, b2, 0, 0], np.float32)
