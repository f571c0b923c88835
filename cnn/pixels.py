"""Parquet -> node-local memory-mapped arrays, built once a host. Knows nothing of Spark.

All trials on a host share one copy through the system's page cache.
"""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cnn.manifest import Manifest
from cnn.settings import Error
from cnn.storage import Directory, default_cache_dir, file_lock

_BATCH_ROWS = 1024
_FILES = ("pixels", "labels", "folds")


@dataclass(frozen=True)
class Pixels:
    """One split: uint8 pixels (n, size, size, channels), mapped; int32 labels and folds (n,)."""

    pixels: np.ndarray
    labels: np.ndarray
    folds: np.ndarray


def open_pixels(data: Directory, manifest: Manifest, split: str, cache_dir: str | None) -> Pixels:
    """Opens a split's arrays, building them first where this host has none yet.

    Raises Error where the Parquet files do not hold what the manifest says.
    """
    root = Path(cache_dir) if cache_dir else default_cache_dir()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = root / manifest.fingerprint / split
    if not folder.is_dir():
        with file_lock(root / f"{manifest.fingerprint}-{split}.lock"):
            if not folder.is_dir():
                _build(data, manifest, split, folder)
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _FILES
    }
    return Pixels(**arrays)


def _build(data: Directory, manifest: Manifest, split: str, folder: Path) -> None:
    count, size, channels = manifest.total(split), manifest.size, manifest.channels
    staging = folder.with_name(f".{split}-{uuid.uuid4().hex[:8]}")
    staging.mkdir(parents=True)
    try:
        pixels = np.lib.format.open_memmap(
            staging / "pixels.npy", "w+", np.uint8, (count, size, size, channels)
        )
        labels = np.empty(count, np.int32)
        folds = np.empty(count, np.int32)
        start = 0
        for name in data.names(split):
            filesystem, path = data.path(f"{split}/{name}")
            with pq.ParquetFile(path, filesystem=filesystem) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=["label", "fold", "pixels"]):
                    end = start + batch.num_rows
                    if end > count:
                        raise _mismatch(data, split, f"more than {count} rows")
                    column = batch.column("pixels")
                    lengths = pc.binary_length(column)
                    if pc.any(pc.not_equal(lengths, size * size * channels)).as_py():
                        raise _mismatch(
                            data,
                            split,
                            f"pixels of {pc.max(lengths).as_py()} bytes where "
                            f"{size}x{size}x{channels} must be {size * size * channels}",
                        )
                    flat = np.frombuffer(b"".join(column.to_pylist()), np.uint8)
                    pixels[start:end] = flat.reshape(-1, size, size, channels)
                    labels[start:end] = batch.column("label").to_numpy()
                    folds[start:end] = batch.column("fold").to_numpy()
                    start = end
        if start != count:
            raise _mismatch(data, split, f"{start} rows where the manifest says {count}")
        if labels.size and not (labels.min() >= 0 and labels.max() < len(manifest.classes)):
            raise _mismatch(data, split, "labels beyond its classes")
        pixels.flush()
        np.save(staging / "labels.npy", labels)
        np.save(staging / "folds.npy", folds)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _mismatch(data: Directory, split: str, what: str) -> Error:
    return Error(
        f"a data directory must hold what its manifest says, but {data.uri}/{split} has {what}"
    )


def choose(
    folds: np.ndarray,
    validation_folds: Sequence[int],
    train_images: int | None = None,
    subset_seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Row indices to train on and to validate on, each int64 and sorted.

    `train_images` counts validation too, as the report's sub-training-sets did: that many images,
    drawn by `subset_seed`, are split by their folds. More than there are means all.
    """
    chosen = np.arange(len(folds))
    if train_images is not None and train_images < len(folds):
        chosen = np.random.default_rng(subset_seed).permutation(len(folds))[:train_images]
    held_out = np.isin(folds[chosen], list(validation_folds))
    return np.sort(chosen[~held_out]), np.sort(chosen[held_out])
