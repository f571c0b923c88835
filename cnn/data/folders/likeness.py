"""Whether pictures of equal names look alike, measured on a few small ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnn.data.decoding.decode import Decoding, RangeUnknown, Unreadable, decode_file

SIDE = 16
# Fewer pairs prove nothing.
LEAST_PAIRS = 8
_SHUFFLES = 999
# Of 50 unrelated pairs of photographs the share was 0.50 with a standard deviation of 0.04; of
# pairs of a face and its comic it is 0.97.
_LEAST_SHARE = 0.65


class Likeness(NamedTuple):
    """The result of comparing pairs of pictures.

    `share` is how often a picture is more like its partner than like another's, on average: 0.5 for
    unrelated pictures. `chance` is the probability that shuffled pairs are as alike.
    """

    share: float
    chance: float

    @property
    def is_clear(self) -> bool:
        """Whether the pictures of a pair are clearly more alike than others."""
        return self.share >= _LEAST_SHARE and self.chance <= 1 / (_SHUFFLES + 1)


def thumbnail(opener: Callable[[Any], Path | bytes], item: Any) -> bytes | None:
    """The grey pixels of a small copy of an image, or None if it cannot be read."""
    how = Decoding(SIDE, 1)
    try:
        content = opener(item)
        try:
            return decode_file(content, how).tobytes()
        except RangeUnknown as deep:
            low, high = deep.values.low, deep.values.high
            own = Decoding(SIDE, 1, value_range=(low, max(high, low + 1)))
            return decode_file(content, own).tobytes()
    except Unreadable:
        return None


def compare(one: list[bytes], other: list[bytes]) -> Likeness:
    """Compares thumbnails pairwise: a permutation test on the ranks of their correlations.

    Each picture of `one` ranks all of `other` by correlation; the sum of the ranks of the partners
    is compared with that of shuffled pairs.
    """
    likeness = _standardised(one) @ _standardised(other).T
    count = len(likeness)
    ranks = likeness.argsort(axis=1).argsort(axis=1)
    rows = np.arange(count)
    partners = ranks[rows, rows].sum()
    rng = np.random.default_rng(0)
    shuffled = np.array([ranks[rows, rng.permutation(count)].sum() for _ in range(_SHUFFLES)])
    chance = (1 + np.count_nonzero(shuffled >= partners)) / (_SHUFFLES + 1)
    return Likeness(float(partners / count / (count - 1)), float(chance))


def _standardised(thumbnails: list[bytes]) -> np.ndarray:
    """One row for each picture, with mean 0 and length 1; 0 for a blank one."""
    pixels = np.stack([np.frombuffer(image, np.uint8) for image in thumbnails]).astype(float)
    pixels -= pixels.mean(axis=1, keepdims=True)
    return pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)
