"""What the executors learn about original images while they decode them, in bounded space.

Each part of a data set returns `Originals`: counts and a few extreme images, whatever the number of
its images. Their sum does not depend on how the images were divided into parts.
"""

import pickle
import zlib
from bisect import insort
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import log2
from typing import Final, NamedTuple

import numpy as np

# The key of all classes together.
EVERY_CLASS = -1
# Classes whose brightness is counted separately and of which samples are shown: the first ones.
SHOWN_CLASSES = 20
# The number of images kept of each extreme.
EXTREMES = 8
# Brightness is counted in so many bins of 256.
LEVELS = 16
# A side of an image is counted in bins of an eighth of an octave (9 %).
BINS_AN_OCTAVE = 8
# Data sets with more different sizes than this have no table of them.
MOST_SIZES = 32
# About so many pixels along each side determine the brightness of an image.
_LOOKED_AT = 64


class Original(NamedTuple):
    """An image as its file has it, upright.

    `kind` is its format and mode, such as "JPEG RGB". `brightness` is the mean of its stored
    pixels; it is `enlarged` if it has fewer pixels than are stored, across or down.
    """

    width: int
    height: int
    kind: str
    brightness: float
    enlarged: bool

    @classmethod
    def of(cls, sides: tuple[int, int], kind: str, pixels: np.ndarray) -> "Original":
        """`pixels` are the stored ones, (size, size, channels); a grid of them is looked at."""
        step = max(1, len(pixels) // _LOOKED_AT)
        brightness = float(pixels[::step, ::step].mean())
        return cls(*sides, kind, brightness, min(sides) < len(pixels))


class Extreme(NamedTuple):
    """One of the images with the smallest `key`; `place` is its position in its split."""

    key: float
    place: int
    original: Original


KEYS: Final[dict[str, Callable[[Original], float]]] = {
    "darkest": lambda image: image.brightness,
    "lightest": lambda image: -image.brightness,
    "widest": lambda image: -image.width / image.height,
    "tallest": lambda image: -image.height / image.width,
    "smallest": lambda image: image.width * image.height,
    "largest": lambda image: -image.width * image.height,
}


@dataclass
class Originals:
    """Counts and extremes of the images of a part, or of a whole split.

    Attributes:
        sides: Numbers of images by the bins of width and height, see `side_of`.
        sizes: Numbers of images by width and height; None if they have more than MOST_SIZES.
        kinds: Numbers of images by format and mode.
        levels: Numbers of images by class and bin of brightness, for the first SHOWN_CLASSES
            and EVERY_CLASS.
        light: The sum of the brightness of each class, in 256ths of a level.
        enlarged: The number of enlarged images.
        extremes: For each of KEYS, the most extreme images.
        images: The number of images of each class.
    """

    sides: Counter[tuple[int, int]] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] | None = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    levels: Counter[tuple[int, int]] = field(default_factory=Counter)
    light: Counter[int] = field(default_factory=Counter)
    enlarged: int = 0
    extremes: dict[str, list[Extreme]] = field(default_factory=lambda: {name: [] for name in KEYS})
    images: Counter[int] = field(default_factory=Counter)

    def add(self, place: int, label: int, image: Original) -> None:
        """Adds an image; images must come in the order of their places."""
        self.sides[_bin(image.width), _bin(image.height)] += 1
        if self.sizes is not None:
            self.sizes[image.width, image.height] += 1
            self._drop_many()
        self.kinds[image.kind] += 1
        # Whole numbers, so that the sum does not depend on its order.
        self.light[label] += round(256 * image.brightness)
        self.images[label] += 1
        self.enlarged += image.enlarged
        for name, key in KEYS.items():
            value, kept = key(image), self.extremes[name]
            if len(kept) < EXTREMES or value < kept[-1].key:
                insort(kept, Extreme(value, place, image))
                del kept[EXTREMES:]
        level = int(image.brightness) * LEVELS // 256
        self.levels[EVERY_CLASS, level] += 1
        if label < SHOWN_CLASSES:
            self.levels[label, level] += 1

    def _drop_many(self) -> None:
        if self.sizes is not None and len(self.sizes) > MOST_SIZES:
            self.sizes = None

    def pack(self) -> bytes:
        """For `merged`: a driver has those of all parts at once, and dictionaries are large."""
        return zlib.compress(pickle.dumps(self))

    def merge(self, other: "Originals") -> None:
        """Adds the images of another part."""
        self.sides.update(other.sides)
        if self.sizes is not None and other.sizes is not None:
            self.sizes.update(other.sizes)
            self._drop_many()
        else:
            self.sizes = None
        self.kinds.update(other.kinds)
        self.levels.update(other.levels)
        self.light.update(other.light)
        self.images.update(other.images)
        self.enlarged += other.enlarged
        for name, found in other.extremes.items():
            self.extremes[name] = sorted([*self.extremes[name], *found])[:EXTREMES]


def merged(parts: Iterable[bytes]) -> Originals:
    """The sum of packed originals."""
    total = Originals()
    for part in parts:
        total.merge(pickle.loads(zlib.decompress(part)))
    return total


def _bin(side: int) -> int:
    return round(BINS_AN_OCTAVE * log2(side))


def side_of(number: int) -> float:
    """The side in the middle of a bin, in pixels."""
    return float(2 ** (number / BINS_AN_OCTAVE))
