"""Converts Parquet files to memory-mapped arrays on the local disk, once per host, without Spark.

All trials on a host share one copy through the page cache of the operating system.
"""

import json
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.host_cache import Cache
from cnn.data.manifest import Manifest
from cnn.settings.schema import CacheSettings

_BATCH_BYTES = 2**24
# The array of each column that has one value for each row. Weights are only in some data sets.
_VALUES = {"label": ("labels", np.int32), "fold": ("folds", np.int32)}
_WEIGHTS = {"weight": ("weights", np.float32)}
# Checksums of the arrays' bytes, which detect silent disk errors.
_CHECKSUMS = "crc32.json"
# Called with the fraction of a split's images that is done, from 0 to 1.
OnProgress = Callable[[float], None]


def _ignore_progress(share: float) -> None:
    """Reports nothing."""


@dataclass(frozen=True)
class Pixels:
    """One split: memory-mapped uint8 pixels (n, size, size, channels); int32 labels, folds (n,).

    `weights`, float32 (n,), says how much each image counts in training; None if all count alike.
    """

    pixels: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    weights: np.ndarray | None = None


def open_pixels(data: Directory, manifest: Manifest, split: str, cache: CacheSettings) -> Pixels:
    """Opens a split's arrays; builds them first if this host has none or they are damaged.

    Raises Error if the Parquet files do not match the manifest or the disk is too full.
    """
    return _open(data, manifest, split, cache, whole=False)[0]


def verify_pixels(
    data: Directory,
    manifest: Manifest,
    split: str,
    cache: CacheSettings,
    on_progress: OnProgress = _ignore_progress,
) -> bool:
    """Opens a split's arrays and verifies the checksum of every byte.

    Returns whether the arrays were built now. `on_progress` is called with the fraction that is
    done. Raises Locked if another process on this host is already verifying them.
    """
    with Cache(cache).lock(f"{_name(manifest, split)}.whole", wait=False):
        return _open(data, manifest, split, cache, whole=True, on_progress=on_progress)[1]


def is_built(manifest: Manifest, split: str, cache: CacheSettings) -> bool:
    """Whether this host has a split's arrays."""
    folder = Cache(cache).root / _name(manifest, split)
    return _is_sound(folder, manifest, split, whole=False)


def arrays_size(manifest: Manifest, split: str) -> int:
    """The size of a split's arrays in bytes."""
    row = manifest.size * manifest.size * manifest.channels
    values = sum(np.dtype(kind).itemsize for _, kind in _values_of(manifest).values())
    return manifest.total(split) * (row + values)


def _values_of(manifest: Manifest) -> dict[str, tuple[str, type]]:
    """By column, the name and the type of the array of its values."""
    return {**_VALUES, **(_WEIGHTS if manifest.settings.has_column("weight") else {})}


def _names(manifest: Manifest) -> list[str]:
    """The names of all arrays."""
    return ["pixels", *(name for name, _ in _values_of(manifest).values())]


def _name(manifest: Manifest, split: str) -> str:
    return f"{manifest.fingerprint}-{split}"


def _open(
    data: Directory,
    manifest: Manifest,
    split: str,
    cache: CacheSettings,
    *,
    whole: bool,
    on_progress: OnProgress = _ignore_progress,
) -> tuple[Pixels, bool]:
    entry, built = Cache(cache).open(
        _name(manifest, split),
        size=arrays_size(manifest, split),
        build=lambda folder: _build(data, manifest, split, folder, on_progress),
        check=lambda folder: _is_sound(
            folder, manifest, split, whole=whole, on_progress=on_progress
        ),
    )
    found = Pixels(**map_arrays(entry.folder, _names(manifest)))
    # The entry counts as in use while its arrays are mapped, because they still take disk space.
    weakref.finalize(found.pixels, entry.mark.close)
    return found, built


def map_arrays(folder: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Maps the arrays NAME.npy of a folder into memory, by name."""
    return {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names
    }


def _is_sound(
    folder: Path,
    manifest: Manifest,
    split: str,
    *,
    whole: bool,
    on_progress: OnProgress = _ignore_progress,
) -> bool:
    """Whether a folder holds the expected arrays; `whole` also verifies the pixels."""
    count = manifest.total(split)
    try:
        found = map_arrays(folder, _names(manifest))
        pixels = found["pixels"]
        sums = json.loads((folder / _CHECKSUMS).read_bytes())
        return (
            pixels.shape == (count, manifest.size, manifest.size, manifest.channels)
            and pixels.dtype == np.uint8
            and all(
                found[name].shape == (count,)
                and found[name].dtype == kind
                and checksum(found[name]) == sums[name]
                for name, kind in _values_of(manifest).values()
            )
            and (not whole or checksum(pixels, on_progress) == sums["pixels"])
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return False


def checksum(array: np.ndarray, on_progress: OnProgress = _ignore_progress) -> int:
    """The CRC-32 of an array's bytes, read a few MiB at a time."""
    flat, found = array.reshape(-1), 0
    for start in range(0, len(flat), _BATCH_BYTES):
        on_progress(start / len(flat))
        found = zlib.crc32(flat[start : start + _BATCH_BYTES].tobytes(), found)
    return found


def _build(
    data: Directory, manifest: Manifest, split: str, folder: Path, on_progress: OnProgress
) -> None:
    """Writes the arrays sequentially, which is fastest on a disk and needs little memory."""
    count, start, found = manifest.total(split), 0, 0
    columns = _values_of(manifest)
    arrays: dict[str, np.ndarray] = {
        column: np.empty(count, kind) for column, (_, kind) in columns.items()
    }
    shape = (count, manifest.size, manifest.size, manifest.channels)
    with (folder / "pixels.npy").open("wb") as file:
        write_header(file, np.dtype(np.uint8), shape)
        for batch in _batches(data, manifest, split):
            end = start + batch.num_rows
            if end > count:
                raise _mismatch(data, split, f"more than {count} rows")
            rows = batch.column("pixels")
            flat = np.frombuffer(rows.buffers()[1], np.uint8)
            width = rows.type.byte_width
            content = flat[rows.offset * width : (rows.offset + len(rows)) * width].tobytes()
            found = zlib.crc32(content, found)
            file.write(content)
            for column, array in arrays.items():
                array[start:end] = batch.column(column).to_numpy()
            start = end
            on_progress(end / count)
    if start != count:
        raise _mismatch(data, split, f"{start} rows instead of {count}")
    labels = arrays["label"]
    if labels.size and not (labels.min() >= 0 and labels.max() < len(manifest.classes)):
        raise _mismatch(data, split, "labels outside its classes")
    if "weight" in arrays and not (np.isfinite(w := arrays["weight"]) & (w > 0)).all():
        raise _mismatch(data, split, "weights that are no numbers above 0")
    sums = {"pixels": found}
    for column, (name, _) in columns.items():
        np.save(folder / f"{name}.npy", arrays[column])
        sums[name] = checksum(arrays[column])
    (folder / _CHECKSUMS).write_text(json.dumps(sums))


def write_header(file: IO[bytes], dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Begins a .npy file, whose values are then written one after the other."""
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _batches(data: Directory, manifest: Manifest, split: str) -> Iterator[pa.RecordBatch]:
    """A split's rows in order, in batches of some MiB; pixels have a fixed width."""
    width = manifest.size * manifest.size * manifest.channels
    for name in data.names(split):
        filesystem, path = data.path(f"{split}/{name}")
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            rows = max(1, _BATCH_BYTES // width)
            for batch in file.iter_batches(rows, columns=[*_values_of(manifest), "pixels"]):
                place = batch.schema.get_field_index("pixels")
                column = batch.column(place)
                lengths = pc.fill_null(pc.binary_length(column), 0)
                if pc.any(pc.not_equal(lengths, width)).as_py():
                    raise _mismatch(
                        data,
                        split,
                        f"pixels of {pc.max(lengths).as_py()} bytes instead of {width} "
                        f"({manifest.size}x{manifest.size}x{manifest.channels})",
                    )
                yield batch.set_column(place, "pixels", column.cast(pa.binary(width)))


def read_paths(data: Directory, split: str) -> list[str]:
    """The paths of a split's images, in the order of the rows."""
    filesystem, path = data.path(split)
    tables = [
        pq.read_table(f"{path}/{name}", columns=["path"], filesystem=filesystem)
        for name in data.names(split)
    ]
    return [text for table in tables for text in table["path"].to_pylist()]


def _mismatch(data: Directory, split: str, what: str) -> Error:
    return Error(f"a data directory must match its manifest, but {data.uri}/{split} has {what}")


def choose(
    folds: np.ndarray,
    validation_folds: Sequence[int],
    train_images: int | None = None,
    subset_seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Row indices for training and for validation, each a sorted int64 array.

    `train_images` includes the validation images: that many images are drawn with `subset_seed` and
    then split by fold. If there are not that many, all are used.
    """
    chosen = np.arange(len(folds))
    if train_images is not None and train_images < len(folds):
        chosen = np.random.default_rng(subset_seed).permutation(len(folds))[:train_images]
    held_out = np.isin(folds[chosen], list(validation_folds))
    return np.sort(chosen[~held_out]), np.sort(chosen[held_out])
