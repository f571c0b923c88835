"""The features of the training images: what a backbone makes of them, computed once.

They are computed in chunks of rows, by tasks of one Spark job (`cnn.search.feature_job`), and
written to RUN/features/<key>/. A chunk that is there is not computed again, so that a run that is
resumed loses at most one chunk of each task. Each host then maps all chunks as arrays beside the
pixels. Keras is imported inside the functions because the driver imports this module too.
"""

import hashlib
import io
import json
import weakref
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.arrays import Pixels, checksum, map_arrays, write_header
from cnn.data.host_cache import Cache
from cnn.model.backbone_card import Backbone
from cnn.settings.schema import CacheSettings

if TYPE_CHECKING:
    from cnn.train.batches import Change

FEATURES = "features"
# Increase this if the same pixels become other features: with another resizing, or other views.
_VERSION = 1
# Images in a chunk, and in a batch that a backbone sees.
CHUNK, BATCH = 256, 32
_FILES = ("plain", "views")
_CHECKSUMS = "crc32.json"
_MOST_FLOAT16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FeatureSet:
    """Which features: everything that they depend on."""

    backbone: Backbone
    # The data set's fingerprint and its number of training images.
    fingerprint: str
    count: int
    views: int
    seed: int
    precision: str
    dtype: str

    @cached_property
    def key(self) -> str:
        """The name of these features, in the run directory and in the cache of a host."""
        identity = {
            "version": _VERSION,
            "backbone": self.backbone.sha256,
            "keras": self.backbone.keras_version,
            "data": self.fingerprint,
            "views": [self.views, self.seed if self.views else None],
            "precision": self.precision,
            "dtype": self.dtype,
        }
        text = json.dumps(identity, sort_keys=True)
        return f"{FEATURES}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def chunks(self) -> int:
        """The number of chunks."""
        return -(-self.count // CHUNK)

    def rows(self, chunk: int) -> np.ndarray:
        """The rows of a chunk."""
        return np.arange(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))

    def size(self) -> int:
        """The size of all features in bytes."""
        each = self.backbone.features * np.dtype(self.dtype).itemsize
        return self.count * (1 + self.views) * each

    def path(self, chunk: int) -> str:
        """The file of a chunk in the run directory."""
        return f"{FEATURES}/{self.key}/{chunk:06d}.npy"


@dataclass(frozen=True)
class Features:
    """Memory-mapped features of the training images, float16 or float32.

    `plain` is (n, features), `views` is (n, views, features).
    """

    plain: np.ndarray
    views: np.ndarray

    def chunk(self, rows: np.ndarray) -> np.ndarray:
        """The features of some rows, plain ones first: (rows, 1 + views, features)."""
        return np.concatenate([self.plain[rows][:, None], self.views[rows]], axis=1)

    def table(self) -> np.ndarray:
        """All features as one array, (n + n * views, features): the plain ones first."""
        count, views, width = self.views.shape
        return np.concatenate([self.plain, self.views.reshape(count * views, width)])

    def change(self, seed: int) -> "Change":
        """Makes a training see, in each epoch, one view of each image, or the image itself."""

        def changed(inputs: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
            picks = self._picks(seed, rows, epoch)
            found = np.array(inputs)
            found[picks > 0] = self.views[rows[picks > 0], picks[picks > 0] - 1]
            return found

        return changed

    def change_of_table(self, seed: int) -> "Change":
        """The same as `change` where inputs are numbers of the rows of `table`."""
        count, views, _ = self.views.shape

        def changed(inputs: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
            picks = self._picks(seed, rows, epoch)
            return np.where(picks > 0, count + rows * views + picks - 1, inputs)

        return changed

    def _picks(self, seed: int, rows: np.ndarray, epoch: int) -> np.ndarray:
        """For each of the rows: 0 for the image itself, or the number of the view it is seen in."""
        # One draw for all images of the data set, so that batches do not matter.
        rng = np.random.default_rng([seed, epoch])
        return rng.integers(0, 1 + self.views.shape[1], len(self.views))[rows]


def compute_chunk(
    extract: Callable[[np.ndarray], np.ndarray], features: FeatureSet, split: Pixels, chunk: int
) -> np.ndarray:
    """The features of a chunk's images: (rows, 1 + views, features), the plain ones first.

    Raises:
        Error: A feature is not finite, or too large for float16.
    """
    from cnn.train.views import view

    rows = features.rows(chunk)
    pixels = split.pixels[rows]
    versions = [pixels]
    for number in range(1, features.views + 1):
        versions.append(view(pixels, rows, number, seed=features.seed))
    found = np.stack([_extracted(extract, version) for version in versions], axis=1)
    largest = float(np.abs(found).max())
    limit = _MOST_FLOAT16 if features.dtype == "float16" else float(np.finfo(np.float32).max)
    if not largest <= limit:
        raise Error(
            f"the features of backbone {features.backbone.name} must be finite in "
            f"{features.dtype}, but the largest is {largest:g}"
            + ("; set features.dtype to float32" if largest > limit else "")
        )
    return found.astype(features.dtype)


def _extracted(extract: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """All batches have the same size: a framework compiles anew for another one."""
    found = []
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        missing = BATCH - len(batch)
        padded = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])
        found.append(np.asarray(extract(padded), np.float32)[: len(batch)])
    return np.concatenate(found)


def write_chunk(run: Directory, features: FeatureSet, chunk: int, found: np.ndarray) -> None:
    """Writes a chunk completely or not at all."""
    file = io.BytesIO()
    np.save(file, found, allow_pickle=False)
    run.write(features.path(chunk), file.getvalue())


def read_chunk(run: Directory, features: FeatureSet, chunk: int) -> np.ndarray | None:
    """A chunk from the run directory; None if it is missing or damaged."""
    shape = (len(features.rows(chunk)), 1 + features.views, features.backbone.features)
    try:
        found: np.ndarray = np.load(io.BytesIO(run.read(features.path(chunk))), allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return found if found.shape == shape and found.dtype == np.dtype(features.dtype) else None


def missing_chunks(run: Directory, features: FeatureSet) -> list[int]:
    """The chunks that the run directory does not have."""
    there = set(run.names(f"{FEATURES}/{features.key}"))
    names = (features.path(chunk).rpartition("/")[2] for chunk in range(features.chunks()))
    return [chunk for chunk, name in enumerate(names) if name not in there]


def open_features(run: Directory, features: FeatureSet, cache: CacheSettings) -> Features:
    """Opens the features on this host; copies them from the run directory if it has none.

    Args:
        run: The run directory.
        features: Which features.
        cache: Where the host keeps them.

    Raises:
        Error: The run directory lacks a part of them.
    """
    return _open(run, features, cache, whole=False)


def verify_features(run: Directory, features: FeatureSet, cache: CacheSettings) -> None:
    """Opens the features on this host, as `open_features`, and verifies each byte's checksum.

    Raises:
        Locked: Another process of this host is doing so.
        Error: The run directory lacks a part of them.
    """
    with Cache(cache).lock(f"{features.key}.whole", wait=False):
        _open(run, features, cache, whole=True)


def _open(run: Directory, features: FeatureSet, cache: CacheSettings, *, whole: bool) -> Features:
    entry, _ = Cache(cache).open(
        features.key,
        size=features.size(),
        build=lambda folder: _build(run, features, folder),
        check=lambda folder: _is_sound(folder, features, whole=whole),
    )
    found = Features(**map_arrays(entry.folder, _FILES))
    # The entry counts as in use while its arrays are mapped, because they still take disk space.
    weakref.finalize(found.plain, entry.mark.close)
    return found


def on_host(features: FeatureSet, cache: CacheSettings) -> bool:
    """Whether this host has the features."""
    return _is_sound(Cache(cache).root / features.key, features, whole=False)


def cached_features(features: FeatureSet, cache: CacheSettings) -> Features | None:
    """The features if this host has them, from this run or an earlier one."""
    folder = Cache(cache).root / features.key
    if not _is_sound(folder, features, whole=True):
        return None
    return Features(**map_arrays(folder, _FILES))


def _is_sound(folder: Path, features: FeatureSet, *, whole: bool) -> bool:
    count, views, width = features.count, features.views, features.backbone.features
    try:
        found = map_arrays(folder, _FILES)
        sums = json.loads((folder / _CHECKSUMS).read_bytes())
        return (
            found["plain"].shape == (count, width)
            and found["views"].shape == (count, views, width)
            and all(array.dtype == np.dtype(features.dtype) for array in found.values())
            and (not whole or sums == {name: checksum(array) for name, array in found.items()})
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return False


def _build(run: Directory, features: FeatureSet, folder: Path) -> None:
    """Writes the arrays sequentially, from one chunk at a time."""
    count, views, width = features.count, features.views, features.backbone.features
    shapes = {"plain": (count, width), "views": (count, views, width)}
    sums = dict.fromkeys(_FILES, 0)
    with (folder / "plain.npy").open("wb") as plain, (folder / "views.npy").open("wb") as others:
        files = {"plain": plain, "views": others}
        for name, shape in shapes.items():
            write_header(files[name], np.dtype(features.dtype), shape)
        for chunk in _stored(run, features):
            for name, part in (("plain", chunk[:, 0]), ("views", chunk[:, 1:])):
                content = np.ascontiguousarray(part).tobytes()
                sums[name] = zlib.crc32(content, sums[name])
                files[name].write(content)
    (folder / _CHECKSUMS).write_text(json.dumps(sums))


def _stored(run: Directory, features: FeatureSet) -> Iterator[np.ndarray]:
    for chunk in range(features.chunks()):
        found = read_chunk(run, features, chunk)
        if found is None:
            raise Error(
                "a run directory must have all features of its images until its search is over, "
                f"but {run.uri}/{features.path(chunk)} is missing or damaged"
            )
        yield found
