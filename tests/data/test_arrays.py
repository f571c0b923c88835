"""Parquet to memory-mapped arrays: built once, checked, never half there."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.images import write_images

from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError
from cnn.data.arrays import choose, is_built, open_pixels, verify_pixels
from cnn.data.build import make_dataset
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import Source, read_manifest
from cnn.data.parts import Part, PartResult, decode_part, write_part
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.paths import real_path
from cnn.data.splits import Row
from cnn.settings.schema import CacheSettings


@pytest.fixture(scope="module")
def data(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Directory:
    root = write_images(tmp_path_factory.mktemp("images"), {"a": 60, "b": 60})
    out = Directory(tmp_path_factory.mktemp("out") / "data")
    settings = DataSettings(image_size=8)
    reader = FolderSource(root)
    listing = reader.find(settings)
    make_dataset(spark, reader, out, settings, listing, source=Source(name="t"))
    return out


def cached(directory: Path) -> list[Path]:
    return list((directory / f"cnn-cache-{os.getuid()}").iterdir())


def test_arrays_hold_the_rows_in_order(data: Directory, tmp_path: Path) -> None:
    manifest = read_manifest(data)
    split = open_pixels(data, manifest, "train", CacheSettings(dir=str(tmp_path)))
    assert split.pixels.shape == (96, 8, 8, 1)
    assert split.pixels.dtype == np.uint8
    assert isinstance(split.pixels, np.memmap)
    assert np.bincount(split.labels).tolist() == [48, 48]
    assert set(split.folds.tolist()) == set(range(10))
    again = open_pixels(data, manifest, "train", CacheSettings(dir=str(tmp_path)))
    np.testing.assert_array_equal(split.pixels, again.pixels)


def _open(uri: str, cache: str, results: Any) -> None:
    directory = Directory(uri)
    split = open_pixels(directory, read_manifest(directory), "train", CacheSettings(dir=cache))
    results.put(int(split.pixels.sum()))


def test_four_processes_at_once_build_it_once(data: Directory, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (data.uri, str(tmp_path), results)
    processes = [context.Process(target=_open, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    sums = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert len(sums) == 1
    assert [path.name for path in cached(tmp_path)] == [f"{read_manifest(data).fingerprint}-train"]


@pytest.mark.parametrize(
    ("file", "damage", "whole"),
    [
        ("pixels.npy", lambda content: content[:-100], False),
        ("labels.npy", lambda content: content[:-4] + b"\1\0\0\0", False),
        ("folds.npy", lambda content: b"", False),
        ("crc32.json", lambda content: b"[]", False),
        ("pixels.npy", lambda content: content[:-1] + bytes([content[-1] ^ 1]), True),
    ],
)
def test_damaged_arrays_are_built_anew(
    data: Directory,
    tmp_path: Path,
    file: str,
    damage: Callable[[bytes], bytes],
    whole: bool,
) -> None:
    manifest, cache = read_manifest(data), CacheSettings(dir=str(tmp_path))
    assert verify_pixels(data, manifest, "train", cache)
    (folder,) = cached(tmp_path)
    good = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / file).write_bytes(damage(good[file]))
    # A trial looks at sizes; the search reads every byte once before it begins.
    assert is_built(manifest, "train", cache) == whole
    assert verify_pixels(data, manifest, "train", cache)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == good
    assert not verify_pixels(data, manifest, "train", cache)
    assert cached(tmp_path) == [folder]


def test_how_far_it_is_is_told_while_it_is_built_and_while_it_is_checked(
    data: Directory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn.data.arrays._BATCH_BYTES", 64 * 24)
    manifest, cache = read_manifest(data), CacheSettings(dir=str(tmp_path))
    built: list[float] = []
    assert verify_pixels(data, manifest, "train", cache, built.append)
    assert built == sorted(built)
    assert built[-1] == 1
    assert 0.25 in built
    checked: list[float] = []
    assert not verify_pixels(data, manifest, "train", cache, checked.append)
    assert checked == [0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 9}, r"bytes instead of 81 \(9x9x1\)"),
        ({"counts": {"train": {"a": 50, "b": 50}}}, "96 rows instead of 100"),
        ({"counts": {"train": {"a": 10, "b": 10}}}, "more than 20 rows"),
        ({"classes": ("a",)}, "labels outside its classes"),
    ],
)
def test_what_disagrees_with_the_manifest_is_refused_and_leaves_no_cache(
    data: Directory, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    manifest = read_manifest(data).model_copy(update=changes)
    with pytest.raises(Error, match=message):
        open_pixels(data, manifest, "train", CacheSettings(dir=str(tmp_path)))
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema version 1 or 2, but"),
        ({"channels": 4}, "channels is invalid"),
        ({"surprise": 1}, "surprise is invalid"),
    ],
)
def test_a_manifest_that_is_none_is_refused(
    data: Directory, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    manifest = json.loads(data.read("manifest.json"))
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(InputError, match=message):
        read_manifest(Directory(tmp_path))
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="must be a manifest"):
        read_manifest(Directory(tmp_path))


def test_a_part_written_twice_is_the_same_file(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 3})
    rows = [Row(f"a/a-{n}.png", 0, str(n), n) for n in range(3)]
    staging = Directory(tmp_path / "staging")
    part = Part("train", 0, 0, rows)
    settings = DataSettings(image_size=8)
    staging.sub("train").create()

    def write() -> PartResult:
        return write_part(
            staging,
            "train",
            0,
            decode_part(partial(real_path, root), part, settings.decoding(None)),
        )

    first = write()
    written = staging.read("train/part-00000.parquet")
    assert write() == first
    assert staging.read("train/part-00000.parquet") == written
    shutil.rmtree(root)
    gone = write()
    assert [reason for _, reason in gone.rejects] == ["unreadable: No such file or directory"] * 3


def test_validation_is_a_choice_of_folds() -> None:
    folds = np.arange(100) % 10
    train, validation = choose(folds, [0, 3])
    assert len(train) == 80
    assert set(folds[validation].tolist()) == {0, 3}
    assert not set(train.tolist()) & set(validation.tolist())


def test_a_subset_counts_validation_too_and_follows_from_its_seed() -> None:
    folds = np.arange(1000) % 10
    sides = [choose(folds, [0, 1], 400, seed) for seed in (1, 1, 2)]
    assert [len(train) + len(validation) for train, validation in sides] == [400] * 3
    assert sides[0][0].tolist() == sides[1][0].tolist() != sides[2][0].tolist()
    everything = choose(folds, [0, 1], 5000)
    assert len(everything[0]) + len(everything[1]) == 1000
