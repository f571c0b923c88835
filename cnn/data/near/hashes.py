"""Perceptual hashes of stored images, in `hashes/` while a data set is made."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.data.decoding.backgrounds import padding
from cnn.data.decoding.decode import Decoding
from cnn.data.near.method import hashes

HASHES = "hashes"
# An image's position in its split, and the two words of its hash.
_SCHEMA = pa.schema([("place", pa.int64()), ("first", pa.uint64()), ("second", pa.uint64())])
# Images that are hashed together: few enough for the processor's cache, many enough for numpy.
_BATCH_BYTES = 1 << 20
# Requests to a store at the same time.
_READERS = 16


class PartHashes:
    """The hashes of a part's images, collected while it is written."""

    def __init__(self, how: Decoding) -> None:
        self._how = how
        self._places: list[np.ndarray] = []
        self._hashes: list[np.ndarray] = []

    def add(self, places: Sequence[int], pixels: Sequence[bytes]) -> None:
        """Computes the hashes of images, given their positions and their pixels as stored."""
        step = max(1, _BATCH_BYTES // (self._how.size**2 * self._how.channels))
        for start in range(0, len(places), step):
            here, found = hashes(pictures(pixels[start : start + step], self._how))
            self.extend(np.array(places[start : start + step], np.int64)[here], found)

    def extend(self, places: np.ndarray, found: np.ndarray) -> None:
        """Adds images whose hashes are known."""
        self._places.append(places)
        self._hashes.append(found)

    def write(self, staging: Directory, split: str, number: int) -> None:
        """Writes the hashes of part `number` of a split, for `read_hashes`."""
        found = np.concatenate([*self._hashes, np.empty((0, 2), np.uint64)])
        places = np.concatenate([*self._places, np.empty(0, np.int64)])
        table = pa.table([places, found[:, 0], found[:, 1]], schema=_SCHEMA)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        staging.write(f"{HASHES}/{split}-{number:05d}.parquet", sink.getvalue().to_pybytes())


def read_hashes(
    staging: Directory, names: Iterable[str], first: Mapping[str, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the hashes of all images.

    Args:
        staging: The data directory that is being made.
        names: The names of the files in `hashes/`.
        first: By split, the number of its first image.

    Returns:
        The images' numbers in ascending order, and their hashes: uint64 (count, 2).
    """

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        table = pq.read_table(pa.BufferReader(staging.read(f"{HASHES}/{name}")))
        place, *words = (column.to_numpy() for column in table.columns)
        return place + first[name.partition("-")[0]], np.stack(words, axis=1)

    with ThreadPoolExecutor(_READERS) as threads:
        numbers, found = zip(*threads.map(read, names), strict=True)
    every = np.concatenate(numbers)
    order = np.argsort(every)
    return every[order], np.concatenate(found)[order]


def pictures(pixels: Sequence[bytes], how: Decoding) -> np.ndarray:
    """Stored images as uint8 pixels (count, size, size, channels), without their padding.

    The part of an image that is not padding is stretched over the square.
    """
    array = np.frombuffer(b"".join(pixels), np.uint8)
    images = array.reshape(-1, how.size, how.size, how.channels)
    if how.fit != "pad":
        return images
    colour = np.array(padding(how.background, how.mode), np.uint8)
    return np.stack([_without_bars(image, colour) for image in images])


def _without_bars(image: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Cuts equal bars of a colour from the top and the bottom, or else from the left and right."""
    side = len(image)
    outside = (image == colour).all(axis=2)
    for axis in (0, 1):
        inside = np.flatnonzero(~outside.all(axis=1 - axis))
        bar = min(inside[0], side - 1 - inside[-1]) if len(inside) else 0
        if bar:
            lines = bar + np.arange(side) * (side - 2 * bar) // side
            return image.take(lines, axis=axis)
    return image
