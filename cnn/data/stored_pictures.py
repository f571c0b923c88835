"""Reads the pixels of a few images out of a data directory of any size."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.data.decoding.decode import Decoding
from cnn.data.splits import TEST, TRAIN

# Files that are read at the same time; each holds one row group in memory.
_THREADS = 8


def as_array(pixels: bytes, how: Decoding) -> np.ndarray:
    """Pixels as uint8 (size, size, channels)."""
    return np.frombuffer(pixels, np.uint8).reshape(how.size, how.size, how.channels)


def read_stored(data: Directory, how: Decoding, wanted: Collection[str]) -> dict[str, np.ndarray]:
    """The stored pixels of the images with the wanted paths, of those that are in the data set.

    `data` needs no manifest yet: `how` says how its images were decoded. Of all other images only
    the paths are read.
    """
    if not wanted:
        return {}
    names = [f"{split}/{name}" for split in (TRAIN, TEST) for name in data.names(split)]
    with ThreadPoolExecutor(_THREADS) as threads:
        each = threads.map(lambda name: list(read_pixels(data, name, wanted)), names)
        found = {path: pixels for rows in each for path, pixels in rows}
    return {path: as_array(pixels, how) for path, pixels in found.items()}


def read_pixels(data: Directory, name: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yields the path and the pixels of some images of a part, in its order.

    Args:
        data: The data directory.
        name: The part's file.
        wanted: The paths of the images; those that are elsewhere do not matter.

    Only the pixels of row groups that have a wanted image are read; one is in memory at a time.
    """
    values = pa.array(list(wanted), pa.string())
    filesystem, path = data.path(name)
    with filesystem.open_input_file(path) as stream:
        file = pq.ParquetFile(stream)
        for group in range(file.num_row_groups):
            paths = file.read_row_group(group, ["path"]).column(0)
            places = pc.indices_nonzero(pc.is_in(paths, values))
            if len(places):
                pixels = file.read_row_group(group, ["pixels"]).column(0)
                for place in places.to_pylist():
                    yield paths[place].as_py(), pixels[place].as_py()
