"""Features: computed in chunks, kept, changed by views, and standardised."""

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.arrays import Pixels
from cnn.model.backbone_card import Backbone
from cnn.settings.schema import CacheSettings
from cnn.train import views
from cnn.train.features import (
    CHUNK,
    FeatureSet,
    cached_features,
    compute_chunk,
    missing_chunks,
    open_features,
    read_chunk,
    verify_features,
    write_chunk,
)
from cnn.train.heads import moments
from cnn.train.views import view

CARD = Backbone(
    name="b",
    sha256="0" * 64,
    side=None,
    features=4,
    parameters=1,
    weighted_layers=1,
    keras_version="3",
)
COUNT = CHUNK + 44


def features(**changes: Any) -> FeatureSet:
    fields: dict[str, Any] = {
        **{"backbone": CARD, "fingerprint": "f", "count": COUNT, "views": 2, "seed": 5},
        **{"precision": "float32", "dtype": "float16"},
    }
    return FeatureSet(**(fields | changes))


@pytest.fixture
def split() -> Pixels:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    return Pixels(pixels, np.zeros(COUNT, np.int32), np.zeros(COUNT, np.int32))


def extract(pixels: np.ndarray) -> np.ndarray:
    """Means of four parts of an image."""
    halves = pixels.reshape(len(pixels), 2, 4, 2, 4, 3).astype(np.float32)
    return halves.mean(axis=(2, 4, 5)).reshape(len(pixels), 4)


def test_the_examples_hold() -> None:
    found = doctest.testmod(views)
    assert (found.attempted > 0, found.failed) == (True, 0)


def test_chunks_become_the_arrays_of_a_host(split: Pixels, tmp_path: Path) -> None:
    run, wanted = Directory(tmp_path / "run"), features()
    cache = CacheSettings(dir=str(tmp_path))
    assert missing_chunks(run, wanted) == [0, 1]
    for chunk in (0, 1):
        write_chunk(run, wanted, chunk, compute_chunk(extract, wanted, split, chunk))
    assert missing_chunks(run, wanted) == []
    assert cached_features(wanted, cache) is None
    found = open_features(run, wanted, cache)
    assert (found.plain.shape, found.views.shape) == ((COUNT, 4), (COUNT, 2, 4))
    np.testing.assert_array_equal(found.plain, extract(split.pixels).astype(np.float16))
    rows = np.arange(COUNT)
    second = extract(view(split.pixels, rows, 2, seed=5)).astype(np.float16)
    np.testing.assert_array_equal(found.views[:, 1], second)
    # The host has them now, whatever becomes of the chunks.
    run.remove()
    again = cached_features(wanted, cache)
    assert again is not None
    np.testing.assert_array_equal(again.chunk(np.array([COUNT - 1]))[0, 0], found.plain[-1])


def test_a_damaged_chunk_is_missing_and_its_lack_is_said(split: Pixels, tmp_path: Path) -> None:
    run, wanted = Directory(tmp_path / "run"), features()
    for chunk in (0, 1):
        write_chunk(run, wanted, chunk, compute_chunk(extract, wanted, split, chunk))
    path = tmp_path / "run" / wanted.path(1)
    path.write_bytes(path.read_bytes()[:-5])
    assert read_chunk(run, wanted, 1) is None
    with pytest.raises(Error, match=r"000001\.npy is missing or damaged"):
        open_features(run, wanted, CacheSettings(dir=str(tmp_path)))


def test_damaged_arrays_of_a_host_are_not_taken(split: Pixels, tmp_path: Path) -> None:
    run, wanted = Directory(tmp_path / "run"), features(views=0)
    cache = CacheSettings(dir=str(tmp_path))
    for chunk in (0, 1):
        write_chunk(run, wanted, chunk, compute_chunk(extract, wanted, split, chunk))
    open_features(run, wanted, cache)
    (stored,) = tmp_path.glob(f"cnn-cache-*/{wanted.key}/plain.npy")
    content = bytearray(stored.read_bytes())
    content[-3] ^= 1
    stored.write_bytes(content)
    assert cached_features(wanted, cache) is None
    verify_features(run, wanted, cache)
    repaired = open_features(run, wanted, cache)
    np.testing.assert_array_equal(repaired.plain, extract(split.pixels).astype(np.float16))


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (1e6, "float16", "must be finite in float16, .* is 1e\\+06; set features.dtype to float32"),
        (np.nan, "float32", "must be finite in float32, but the largest is nan$"),
    ],
)
def test_features_that_a_type_cannot_hold_are_refused(
    split: Pixels, value: float, dtype: str, message: str
) -> None:
    with pytest.raises(Error, match=message):
        compute_chunk(
            lambda pixels: np.full((len(pixels), 4), value), features(dtype=dtype), split, 1
        )


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "g"},
        {"backbone": CARD.model_copy(update={"sha256": "1" * 64})},
        {"backbone": CARD.model_copy(update={"keras_version": "4"})},
        {"views": 3},
        {"seed": 6},
        {"precision": "bfloat16"},
        {"dtype": "float32"},
    ],
)
def test_what_features_depend_on_is_in_their_name(change: dict[str, Any]) -> None:
    assert features(**change).key != features().key
    assert features(count=9).key == features().key


def test_a_training_sees_each_version_of_an_image(split: Pixels, tmp_path: Path) -> None:
    run, wanted = Directory(tmp_path / "run"), features()
    for chunk in (0, 1):
        write_chunk(run, wanted, chunk, compute_chunk(extract, wanted, split, chunk))
    found = open_features(run, wanted, CacheSettings(dir=str(tmp_path)))
    change, rows = found.change(seed=3), np.arange(7, 107)
    every = found.chunk(rows)
    seen = []
    for epoch in (1, 2, 3):
        shown = change(found.plain[rows], rows, epoch)
        match = (every == shown[:, None]).all(axis=2)
        assert match.any(axis=1).all()
        seen.append(match.argmax(axis=1))
        # The same whatever batch an image is in.
        np.testing.assert_array_equal(change(found.plain[rows[9:]], rows[9:], epoch), shown[9:])
    assert (np.bincount(np.concatenate(seen), minlength=3) > 60).all()
    assert (seen[0] != seen[1]).any()


def test_moments_are_those_of_the_rows_alone() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1000, 0.5, (5000, 3)).astype(np.float32)
    rows = np.sort(rng.permutation(5000)[:3000])
    mean, variance = moments(values, rows)
    exact = values[rows].astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var(axis=0), rtol=1e-4)
