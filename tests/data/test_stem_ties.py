"""Whether equal file names in two folders are pairs, judged by the pictures (`--group auto`)."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_sets import make, rows

from cnn.data.folders.likeness import Likeness, compare

REAL = Path(os.environ.get("SHARED", "/nowhere"), "data")
real = pytest.mark.skipif(not REAL.is_dir(), reason="SHARED names no folder of real images")


def blocks(seed: int, noise: float, dtype: Any = np.uint8) -> np.ndarray:
    """A picture that the seed decides, with noise that it does not."""
    picture = np.kron(np.random.default_rng(seed).integers(0, 200, (4, 4)), np.ones((8, 8)))
    change = np.random.default_rng([seed, int(noise)]).normal(0, noise, picture.shape)
    scale = 255 if dtype == np.uint16 else 1
    return (np.clip(picture + change, 0, 255) * scale).astype(dtype)


def test_pairs_and_strangers() -> None:
    def small(seeds: range, noise: float) -> list[bytes]:
        return [blocks(seed, noise)[::2, ::2].tobytes() for seed in seeds]

    found = compare(small(range(50), 1), small(range(50), 40))
    assert found.is_clear
    assert found.share > 0.99
    shares = []
    for first in range(1000, 3000, 100):
        strangers = compare(small(range(50), 1), small(range(first, first + 50), 1))
        assert not strangers.is_clear
        shares.append(strangers.share)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)
    # Blank pictures are like nothing.
    assert not compare([bytes(256)] * 50, [bytes(256)] * 50).is_clear
    assert not Likeness(0.6, 0.001).is_clear
    assert not Likeness(0.9, 0.01).is_clear


@pytest.mark.parametrize(("scheme", "dtype"), [("", np.uint8), ("file://", np.uint16)])
def test_pairs_stay_together_and_strangers_do_not(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], scheme: str, dtype: Any
) -> None:
    for name, first, noise in (("a", 0, 1), ("b", 0, 9), ("x", 0, 1), ("y", 500, 1)):
        folder = tmp_path / ("pairs" if name in "ab" else "strangers") / name
        folder.mkdir(parents=True)
        for n in range(20):
            Image.fromarray(blocks(first + n, noise, dtype)).save(folder / f"{n}.png")
    made = make(spark, f"{scheme}{tmp_path / 'pairs'}", tmp_path / "1")
    assert made.manifest.groups == 20
    assert "files of a and b have the same names and show the same" in capsys.readouterr().out
    made = make(spark, f"{scheme}{tmp_path / 'strangers'}", tmp_path / "2")
    assert made.manifest.groups == 40
    (note,) = made.manifest.assumptions
    assert note in capsys.readouterr().out
    assert "but do not look alike" in note
    # What was tied before is tied by name.
    assert make(spark, tmp_path / "strangers", tmp_path / "3", group="stem").manifest.groups == 20


@real
def test_faces_and_comics_are_pairs_whatever_their_folders_are_called(
    spark: Any, tmp_path: Path
) -> None:
    (faces,) = REAL.glob("comic-faces/*/*/faces")
    shutil.copytree(faces, tmp_path / "images" / "photo")
    shutil.copytree(faces.parent / "comics", tmp_path / "images" / "drawing")
    made = make(spark, tmp_path / "images", tmp_path / "data")
    assert made.manifest.groups == 50
    assert all(row["group"] == Path(row["path"]).stem for row in rows(made.path, "test"))


@real
def test_ants_and_bees_that_are_numbered_alike_are_not(spark: Any, tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n, path in enumerate(sorted(REAL.glob(f"ants-and-bees/train/{name}/*.jpg"))[:100]):
            shutil.copy(path, tmp_path / "images" / name / f"{n}.jpg")
    made = make(spark, tmp_path / "images", tmp_path / "data")
    assert made.manifest.groups == 200
    assert "do not look alike" in made.manifest.assumptions[0]
