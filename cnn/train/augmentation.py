"""Small changes of training images that keep their class: mirroring, shifts, rotations, zooms.

They are applied to the training images and are not part of the network, so that a saved network
behaves the same however it is called. An image's change depends only on the seed, the epoch and the
image, so that a resumed training, or one shared by several workers, sees the same images.
"""

import keras
import numpy as np

# The largest changes: as a part of a side, as a part of a full turn, and in size.
_MOVED, _TURNED, _ZOOMED = 0.08, 0.04, 0.1
# Keeps the random numbers apart from those of the images' order.
_STREAM = 1


def augmented(pixels: np.ndarray, rows: np.ndarray, epoch: int, *, seed: int) -> np.ndarray:
    """Changes images for one epoch.

    Half of them are mirrored. Each is shifted by up to 8 % of a side, rotated by up to 14.4 degrees
    and scaled by up to 10 %. Pixels from beyond an edge repeat the edge.

    Args:
        pixels: uint8 (n, height, width, channels).
        rows: int (n,), the images' rows in their data set.
        epoch: From 1.
        seed: The training's seed.

    Returns:
        uint8, shaped like `pixels`, which are not modified.

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
    """Keras's transform from an output pixel to its input pixel: float32 (8,)."""
    rng = np.random.default_rng([seed, epoch, row, _STREAM])
    mirror = rng.choice([-1.0, 1.0])
    down, across = rng.uniform(-_MOVED, _MOVED, 2) * (height, width)
    angle = rng.uniform(-_TURNED, _TURNED) * 2 * np.pi
    zoom = 1 + rng.uniform(-_ZOOMED, _ZOOMED)
    cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
    a0, a1, b0, b1 = mirror * cosine, -mirror * sine, sine, cosine
    # Rotate and scale about the middle of the image.
    x, y = (width - 1) / 2, (height - 1) / 2
    a2 = x + across - a0 * x - a1 * y
    b2 = y + down - b0 * x - b1 * y
    return np.array([a0, a1, a2, b0, b1, b2, 0, 0], np.float32)
