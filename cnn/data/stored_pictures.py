"""Reads the pixels of a few images out of a data directory of any size."""

from collections.abc import Collection
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
    names = [f"{split}/{name}" for split in (TRAIN, TEST) for name in data.names(split)]
    values = pa.array(sorted(wanted), pa.string())
    if not len(values):
        return {}
    with ThreadPoolExecutor(_THREADS) as threads:
        each = threads.map(lambda name: _rows_of(data, name, values), names)
        found = {path: pixels for rows in each for path, pixels in rows}
    return {path: as_array(pixels, how) for path, pixels in found.items()}


def _rows_of(data: Directory, name: str, wanted: pa.Array) -> list[tuple[str, bytes]]:
    filesystem, path = data.path(name)
    rows: list[tuple[str, bytes]] = []
    with filesystem.open_input_file(path) as stream:
        source = pq.ParquetFile(stream)
        for group in range(source.num_row_groups):
            paths = source.read_row_group(group, ["path"])["path"]
            places = pc.indices_nonzero(pc.is_in(paths, wanted))
            if len(places):
                pixels = source.read_row_group(group, ["pixels"])["pixels"]
                rows += zip(
                    paths.take(places).to_pylist(), pixels.take(places).to_pylist(), strict=True
                )
    return rows
