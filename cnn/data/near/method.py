"""Near-duplicates: the same picture saved twice, resized, recompressed, cropped a little or grey.

Candidates come from a perceptual hash: the signs of the lowest frequencies of the image's discrete
cosine transform, of which a copy changes few (C. Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010; `imagehash.phash` is alike). Images whose hashes agree in
any of some bands are compared (P. Indyk and R. Motwani, "Approximate nearest neighbors", 1998).

A candidate counts if the pixels agree too: one image is aligned with the other (B. Lucas and
T. Kanade, "An iterative image registration technique", 1981), then their fine detail must correlate
and their coarse means must be equal to within some grey levels. Faces, X-rays and cells resemble
each other in what is coarse, but never in their detail.

Blank images have no hash, and images with too little detail agree with none: they are never tied.
Drawings must agree where they are, so a cropped copy of a drawing is not found.
A mirrored copy is not found, because a mirror image may be of another class, such as a left hand.

Plain numpy. Hashes are computed in whole numbers, so that they are equal on all machines.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

# The lowest frequencies except the mean, in order of their sum: 128 bits, in two words.
HASH_BYTES: Final = 16
_FREQUENCIES = 16
# A hash is computed from at least so many means across, or from all pixels of smaller images.
_GRID = 32
# 32 overlapping bands of 16 of the 64 lowest frequencies. A copy without 2 % of its pixels changes
# 6 of 128 bits on average, which some band misses nearly always.
BANDS: Final = 32
_BAND_BITS = 16
# Copies differ in at most 27 bits, unrelated photographs in at least 41 (docs/preprocess.md).
_MOST_BITS = 28
# Guards against buckets of thousands of similar images: in its bucket, ordered by the whole hash,
# an image is compared with this many that follow it, and of those found keeps the nearest.
_NEIGHBOURS = 32
_NEAREST = 8

# Pixels are compared as at least so many means across, or as they are if they are fewer.
_LOOK = 64
# Smaller images are not aligned: 2 % of them is less than a third of a pixel.
_LEAST_ALIGNED = 16
_ROUNDS = 6
# The largest change of scale and shift, as fractions of the side.
_MOST_SCALE, _MOST_SHIFT = 0.05, 0.03
# The least correlation of detail of near-duplicates: copies have at least 0.83, faces and their
# comics at most 0.47. Detail of less than about two grey levels cannot reach it. Small images have
# less detail to differ in: at 32x32 strangers have up to 0.81, copies at least 0.86.
_LEAST, _LEAST_OF_SMALL = 0.75, 0.85
_NOISE_LEVELS = 1.0
# The most by which coarse means may differ, as a root mean square in grey levels, and the least and
# the greatest number of them across. Scans of one digit differ by more, even at 8x8.
_COARSE = (8, 16)
_MOST_LEVELS = 8.0
# An image is a drawing if a third of a 16x16 grid of it is flat: its detail is below this. Drawings
# are compared as they lie, because alignment makes a circle of any other.
_FLAT_SHARE, _FLAT_LEVELS = 1 / 3, 1.0
_FLAT_GRID = 16
# An image is grey if its colours differ from its luma by less than this.
_GREY_LEVELS = 2.0
_NO_PAIRS = np.empty((0, 3), np.int64)
# ITU-R 601 luma, as shares of 256.
_LUMA = np.array([77, 150, 29])


class NearPair(NamedTuple):
    """The paths of two near-duplicates, and the correlation of their detail."""

    one: str
    other: str
    similarity: float


def hashes(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Computes the perceptual hash of each image that is not blank.

    Args:
        images: uint8 pixels (count, size, size, channels).

    Returns:
        The indices of the images that have a hash, and their hashes: uint64 (count, 2).
    """
    sums, block = _block_sums(images, _GRID)
    grey = (sums @ _LUMA if images.shape[3] == 3 else sums[..., 0] * 256).astype(np.float64)
    flat = grey.reshape(len(images), -1)
    # Like a blank image in blank.csv: all levels within 8.
    there = np.flatnonzero(np.ptp(flat, axis=1) >= 8 * 256 * block * block)
    basis, chosen = _cosines(grey.shape[1])
    # Sums of whole numbers below 2**53 are exact in any order.
    signs = (basis @ grey[there] @ basis.T).reshape(len(there), -1)[:, chosen] > 0
    bits = np.zeros((len(there), 8 * HASH_BYTES), bool)
    bits[:, : signs.shape[1]] = signs
    return there, np.packbits(bits, axis=1).view(">u8").astype(np.uint64)


@lru_cache(maxsize=4)
def _cosines(side: int) -> tuple[np.ndarray, np.ndarray]:
    """The lowest frequencies of the cosine transform, and the chosen pairs, lowest sum first."""
    count = min(_FREQUENCIES, side)
    points = (np.arange(side) + 0.5) / side
    basis = np.rint(128 * np.cos(np.pi * np.arange(count)[:, None] * points))
    pairs = [(u + v, abs(u - v), u, v) for u in range(count) for v in range(count) if u + v]
    chosen = [u * count + v for _, _, u, v in sorted(pairs)[: 8 * HASH_BYTES]]
    return basis, np.array(chosen)


def _block_sums(images: np.ndarray, least: int) -> tuple[np.ndarray, int]:
    """Sums of square blocks, so that at least `least` remain across, and the side of a block.

    Pixels beyond the last whole block, less than a block, are left out.
    """
    count, side, _, channels = images.shape
    block = max(1, side // least)
    across = side // block
    whole = images[:, : across * block, : across * block]
    rows = whole.reshape(count, across, block, -1)
    # Faster than numpy's sum over short axes.
    down = sum((rows[:, :, i] for i in range(1, block)), rows[:, :, 0].astype(np.uint32))
    cells = down.reshape(count, across, across, block, channels)
    both = sum((cells[..., i, :] for i in range(1, block)), cells[..., 0, :])
    return both, block


def candidates(found: np.ndarray, bands: Iterable[int]) -> np.ndarray:
    """Finds pairs of images whose hashes agree in one of some bands and are near in all.

    Args:
        found: Hashes of all images, uint64 (count, 2).
        bands: Numbers below BANDS.

    Returns:
        int64 (pairs, 3) of `nearest`: two indices, the smaller first, and how many bits differ.
    """
    return nearest(np.concatenate([*(_in_band(found, band) for band in bands), _NO_PAIRS]))


def _in_band(found: np.ndarray, band: int) -> np.ndarray:
    # Any such bits do; these overlap little. Odd steps reach all bits.
    start, step = 5 * band, 6 * band + 1
    key = np.zeros(len(found), np.uint16)
    for i in range(_BAND_BITS):
        bit = (found[:, 0] >> np.uint64((start + step * i) % 64)) & np.uint64(1)
        key = (key << np.uint16(1)) | bit.astype(np.uint16)
    order = np.lexsort((found[:, 1], found[:, 0], key))
    key, ordered = key[order], found[order]
    pairs = []
    for ahead in range(1, min(_NEIGHBOURS, len(found) - 1) + 1):
        at = np.flatnonzero(key[ahead:] == key[:-ahead])
        differ = np.bitwise_count(ordered[at] ^ ordered[at + ahead]).sum(1, dtype=np.int64)
        near = differ <= _MOST_BITS
        ends = np.sort(np.stack([order[at[near]], order[at[near] + ahead]], 1), axis=1)
        pairs.append(np.column_stack([ends, differ[near]]))
    return nearest(np.concatenate([*pairs, _NO_PAIRS]))


def nearest(pairs: np.ndarray) -> np.ndarray:
    """The distinct pairs that are among the nearest of one of their images.

    More pairs only push a pair back, so `nearest` of all is the same if it was taken of some of
    them before: it does not matter how bands are dealt to tasks.
    """
    # Much faster than np.unique of rows.
    pairs = pairs[np.unique(pairs[:, 0] << 32 | pairs[:, 1], return_index=True)[1]]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0], pairs[:, 2]))]
    kept = (_rank(pairs[:, 0]) < _NEAREST) | (_rank(pairs[:, 1]) < _NEAREST)
    return pairs[kept]


def _rank(values: np.ndarray) -> np.ndarray:
    """For each value, how many equal ones are before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, ordered)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values)) - first
    return rank


def look(pixels: np.ndarray) -> np.ndarray:
    """Reduces one image (size, size, channels) to the uint8 means that `similarity` compares."""
    sums, block = _block_sums(pixels[None], _LOOK)
    return ((sums[0] + block * block // 2) // (block * block)).astype(np.uint8)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of the detail of two near-duplicates, or 0 if the images are none.

    Args:
        one: An image as `look` returns it.
        other: Another image of the same shape.

    Returns:
        A number from 0 to 1.
    """
    a, b = one.astype(np.float64), other.astype(np.float64)
    grey_a, grey_b = _grey(a), _grey(b)
    side = len(a)
    if side >= _LEAST_ALIGNED and not any(map(_is_drawing, (grey_a, grey_b))):
        rows, columns = _alignment(grey_a, grey_b)
        b = np.einsum("ij,jkc,lk->ilc", rows, b, columns, optimize=True)
        grey_b = rows @ grey_b @ columns.T
    # What lies beyond the edge of a cropped image is unknown.
    edge = side // 20
    inner = slice(edge, side - edge)
    if _coarse_levels(a, grey_a, b, grey_b, inner) > _MOST_LEVELS:
        return 0.0
    x, y = (_detail(grey)[inner, inner] for grey in (grey_a, grey_b))
    noise = x.size * _NOISE_LEVELS**2
    energy = ((x * x).sum() + noise) * ((y * y).sum() + noise)
    found = float((x * y).sum() / np.sqrt(energy))
    return found if found >= (_LEAST if side >= _LOOK else _LEAST_OF_SMALL) else 0.0


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels @ _LUMA / 256


def _coarse_levels(
    a: np.ndarray, grey_a: np.ndarray, b: np.ndarray, grey_b: np.ndarray, inner: slice
) -> float:
    """The difference of coarse means, in colour unless one of the images is grey."""
    levels_a, levels_b = (grey[inner, inner] for grey in (grey_a, grey_b))
    # A copy that is a little lighter is a copy.
    lighter = levels_a.mean() - levels_b.mean()
    planes = [(levels_a, levels_b)]
    if not any(_is_grey(*image) for image in ((a, grey_a), (b, grey_b))):
        planes = [(a[inner, inner, c], b[inner, inner, c]) for c in range(a.shape[2])]
    squares = [_means(one - other - lighter) ** 2 for one, other in planes]
    return float(np.sqrt(np.mean(squares)))


def _is_grey(pixels: np.ndarray, grey: np.ndarray) -> bool:
    return bool(np.sqrt(np.mean((pixels - grey[..., None]) ** 2)) < _GREY_LEVELS)


def _means(plane: np.ndarray) -> np.ndarray:
    """Means of a coarse grid of blocks; the last rows and columns may be left out."""
    least, most = _COARSE
    block = max(1, len(plane) // min(max(least, len(plane) // 4), most))
    across = len(plane) // block
    whole = plane[: across * block, : across * block]
    return whole.reshape(across, block, across, block).mean((1, 3))


def _is_drawing(grey: np.ndarray) -> bool:
    block = max(1, len(grey) // _FLAT_GRID)
    across = len(grey) // block
    squares = _detail(grey)[: across * block, : across * block] ** 2
    energy = squares.reshape(across, block, across, block).mean((1, 3))
    return bool(np.mean(energy < _FLAT_LEVELS**2) >= _FLAT_SHARE)


def _detail(plane: np.ndarray) -> np.ndarray:
    """The plane without its means of 5x5 pixels."""
    return plane - _mean_of_5(_mean_of_5(plane).T).T


def _mean_of_5(plane: np.ndarray) -> np.ndarray:
    padded = np.pad(plane, ((2, 2), (0, 0)), mode="edge")
    return np.mean([padded[i : i + len(plane)] for i in range(5)], axis=0)


def _alignment(fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrices for the rows and columns of `moving` that scale and shift it onto `fixed`.

    Gauss-Newton on the squared difference, with a contrast and a brightness of its own.
    """
    side = len(fixed)
    centred = np.arange(side) - (side - 1) / 2
    edge = slice(side // 20, side - side // 20)
    most = np.array([_MOST_SCALE, _MOST_SHIFT * side] * 2)
    warp = np.zeros(4)
    for _ in range(_ROUNDS):
        rows, columns = _interpolation(side, *warp[:2]), _interpolation(side, *warp[2:])
        moved = rows @ moving @ columns.T
        down, across = np.gradient(moved)
        slopes = [down * centred[:, None], down, across * centred, across]
        system = np.stack([*slopes, moved, np.ones_like(moved)], -1)[edge, edge].reshape(-1, 6)
        difference = (fixed - moved)[edge, edge].ravel()
        step = np.linalg.lstsq(system.T @ system, system.T @ difference, rcond=None)[0]
        warp = np.clip(warp + step[:4], -most, most)
    return _interpolation(side, *warp[:2]), _interpolation(side, *warp[2:])


def _interpolation(side: int, scale: float, shift: float) -> np.ndarray:
    """A matrix that interpolates a line of pixels, scaled about its middle and shifted."""
    middle = (side - 1) / 2
    at = np.clip((np.arange(side) - middle) * (1 + scale) + middle + shift, 0, side - 1)
    before = np.minimum(at.astype(int), side - 2)
    matrix = np.zeros((side, side))
    matrix[np.arange(side), before] = 1 - (at - before)
    matrix[np.arange(side), before + 1] = at - before
    return matrix
