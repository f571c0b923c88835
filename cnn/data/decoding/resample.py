"""Resamples images: each pixel is the average of its area."""

from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image

# How an image that is not square is made square; cropping keeps the middle.
Fit = Literal["stretch", "crop", "pad"]


def target_sides(
    extent: tuple[float, float], size: int, fit: Fit
) -> tuple[tuple[int, float, float], tuple[int, float, float]]:
    """For width and height: the number of target pixels, and the start and end of their source.

    `extent` is the source's width and height, and `size` is the side of the square.
    """
    width, height = extent
    if fit == "crop":
        side = min(extent)
        left, top = (width - side) / 2, (height - side) / 2
        return (size, left, left + side), (size, top, top + side)
    if fit == "pad":
        side = max(extent)
        wide, high = (max(1, round(size * length / side)) for length in extent)
        return (wide, 0, width), (high, 0, height)
    return (size, 0, width), (size, 0, height)


def resample(
    image: Image.Image, across: tuple[int, float, float], down: tuple[int, float, float]
) -> np.ndarray:
    """Resamples a part of an image to uint8 pixels (height, width, channels).

    Args:
        image: An image in a mode with one or three bytes per pixel.
        across: The target width in pixels, and the start and end of its source.
        down: The same for the height.
    """
    (wide, left, right), (high, top, bottom) = across, down
    steps = (right - left) / wide, (bottom - top) / high
    if min(steps) < 1:
        box = (left, top, right, bottom)
        enlarged = image.resize((wide, high), Image.Resampling.BILINEAR, box=box)
        return np.asarray(enlarged).reshape(high, wide, -1)
    if all(value == int(value) for value in (*steps, left, top)):
        box = (int(left), int(top), int(right), int(bottom))
        whole = image.reduce((int(steps[0]), int(steps[1])), box)
        return np.asarray(whole).reshape(high, wide, -1)
    if min(steps) >= 6:
        # First take means of whole blocks, which Pillow computes faster.
        block = int(min(steps) / 3)
        image = image.reduce(block)
        left, right, top, bottom = (value / block for value in (left, right, top, bottom))
    source = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
    rows = np.tensordot(_overlaps(image.height, high, top, bottom), source, (1, 0))
    pixels = np.tensordot(rows, _overlaps(image.width, wide, left, right), (1, 1))
    return np.rint(pixels.transpose(0, 2, 1)).astype(np.uint8)


@lru_cache(maxsize=64)
def _overlaps(source: int, target: int, start: float, stop: float) -> np.ndarray:
    """The share of each source pixel in each target pixel: float32 (target, source), row sums 1.

    Pillow's box filter includes only whole pixels, which is wrong by up to 3 grey levels here.
    """
    edges = np.linspace(start, stop, target + 1)[:, None]
    pixels = np.arange(source)
    shared = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.clip(shared, 0, None) * target / (stop - start)).astype(np.float32)
