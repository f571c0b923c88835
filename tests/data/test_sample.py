"""The drawn sample: where it lies, what it depends on, and that it is neither trivial nor noise."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnn.data.sources.sample import draw_pair, write_sample

FOLDER = Path("face2comics_v2.0.0_by_Sxela/face2comics_v2.0.0_by_Sxela")


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def _gray(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    image = Image.fromarray(pixels).convert("L").resize((size, size), Image.Resampling.BOX)
    return np.asarray(image, np.float32)


def test_the_layout_is_that_of_the_kaggle_archive(tmp_path: Path) -> None:
    write_sample(tmp_path, 3, size=40)
    expected = {(FOLDER / kind / f"{n}.jpg") for kind in ("faces", "comics") for n in range(3)}
    assert set(_files(tmp_path)) == {path.as_posix() for path in expected}
    for path in expected:
        with Image.open(tmp_path / path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 40))


def test_a_file_shows_what_draw_pair_draws(tmp_path: Path) -> None:
    write_sample(tmp_path, 2, size=64, seed=5)
    for kind, drawn in zip(("faces", "comics"), draw_pair(1, size=64, seed=5), strict=True):
        with Image.open(tmp_path / FOLDER / kind / "1.jpg") as image:
            written = np.asarray(image.convert("RGB"))
        assert np.abs(_gray(written, 64) - _gray(drawn, 64)).mean() < 4


@pytest.mark.parametrize("size", [32, 100, 256])
def test_pixels_have_the_size_asked_for(size: int) -> None:
    for pixels in draw_pair(0, size=size):
        assert pixels.shape == (size, size, 3)
        assert pixels.dtype == np.uint8
        assert pixels.std() > 20


def test_too_small_a_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        draw_pair(0, size=31)


def test_a_larger_sample_contains_the_smaller_one(tmp_path: Path) -> None:
    write_sample(tmp_path / "small", 2, size=48, seed=3)
    write_sample(tmp_path / "large", 4, size=48, seed=3)
    small, large = _files(tmp_path / "small"), _files(tmp_path / "large")
    assert len(large) == 8
    assert small.items() <= large.items()


def test_people_differ_by_index_and_by_seed() -> None:
    drawn = [draw_pair(0, size=48), draw_pair(1, size=48), draw_pair(0, size=48, seed=1)]
    for kind in (0, 1):
        assert len({pair[kind].tobytes() for pair in drawn}) == 3


def test_photo_and_comic_show_the_same_person() -> None:
    pairs = [draw_pair(index, size=64) for index in range(24)]
    photos, comics = (
        np.array([_gray(pair[kind], 16).ravel() for pair in pairs]) for kind in (0, 1)
    )
    count = len(pairs)
    # Rows are photographs, columns comics: how alike each two are in coarse structure.
    alike = np.corrcoef(photos, comics)[:count, count:]
    others = (alike.sum(axis=1) - alike.diagonal()) / (count - 1)
    assert (alike.diagonal() > others).mean() > 0.9
    assert alike.diagonal().mean() > others.mean() + 0.2


@pytest.mark.parametrize("measure", [np.mean, np.std])
def test_brightness_and_contrast_alone_do_not_tell_the_classes_apart(measure: np.ufunc) -> None:
    pairs = [draw_pair(index, size=32) for index in range(80)]
    photos, comics = ([float(measure(pair[kind])) for pair in pairs] for kind in (0, 1))
    # The best threshold on these images, whichever side is called a photograph.
    right = [np.mean([*(np.array(photos) > t), *(np.array(comics) <= t)]) for t in photos]
    assert max(*right, *(1 - np.array(right))) < 0.75
