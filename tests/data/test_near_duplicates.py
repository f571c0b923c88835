"""Which images are near-duplicates: drawn ones, and real ones where SHARED is set."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from support.images import copies, encoded, texture

from cnn.data.decoding.decode import Decoding, decode
from cnn.data.near.hashes import pictures
from cnn.data.near.method import BANDS, candidates, hashes, look, nearest, similarity

SHARED = os.environ.get("SHARED")
real = pytest.mark.skipif(SHARED is None, reason="needs SHARED, the folder of real images")


def near(images: np.ndarray) -> set[tuple[int, int]]:
    """All pairs of near-duplicates among pixels (count, size, size, channels)."""
    there, found = hashes(images)
    pairs = there[candidates(found, range(BANDS))[:, :2]]
    return {(int(i), int(j)) for i, j in pairs if similarity(look(images[i]), look(images[j]))}


def recalls(originals: Sequence[Image.Image], how: Decoding) -> dict[str, float]:
    """The share of each kind of copies that is found; anything else that is found fails."""
    changed = [copies(image) for image in originals]
    count = len(originals)
    stored = [decode(encoded(image), how) for image in originals]
    found = {}
    for change in changed[0]:
        files = [decode(files[change], how) for files in changed]
        pairs = near(pictures([pixels.tobytes() for pixels in (*stored, *files)], how))
        own = {(i, count + i) for i in range(count)}
        assert pairs <= own
        found[change] = len(pairs) / count
    return found


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (32, 3), (100, 1), (128, 3)])
def test_copies_of_drawn_pictures_are_found_and_strangers_are_not(size: int, channels: int) -> None:
    rng = np.random.default_rng(0)
    found = recalls([texture(rng) for _ in range(40)], Decoding(size, channels))
    assert min(found.values()) >= 0.95, found


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_padding_is_not_a_likeness(fit: str) -> None:
    rng = np.random.default_rng(0)
    originals = [texture(rng, (480, 240)) for _ in range(30)]
    found = recalls(originals, Decoding(64, 1, fit=fit))  # type: ignore[arg-type]
    assert min(found.values()) >= 0.95, found


@real
@pytest.mark.parametrize(("size", "channels"), [(128, 3), (32, 1)])
def test_copies_of_photographs_are_found(size: int, channels: int) -> None:
    paths = sorted((Path(str(SHARED)) / "data" / "ants-and-bees").rglob("*.jpg"))[:100]
    found = recalls([Image.open(path).convert("RGB") for path in paths], Decoding(size, channels))
    assert min(found.values()) >= 0.95, found


@real
@pytest.mark.parametrize("size", [8, 32, 128])
def test_faces_are_not_near_duplicates_of_each_other_or_of_their_comics(size: int) -> None:
    paths = sorted((Path(str(SHARED)) / "data" / "comic-faces").rglob("*.jpg"))
    images = np.stack([decode(path.read_bytes(), Decoding(size, 1)) for path in paths])
    assert len(images) == 100
    assert near(images) == set()


@pytest.mark.parametrize("size", [8, 32])
def test_scans_of_a_digit_are_not_near_duplicates(size: int) -> None:
    digits = (load_digits().images[:600] * (255 / 16)).astype(np.uint8)
    scans = [np.asarray(Image.fromarray(digit).resize((size, size))) for digit in digits]
    assert near(np.stack(scans)[..., None]) == set()


def test_drawings_and_blank_images_are_not_all_alike() -> None:
    rng = np.random.default_rng(0)
    images = [Image.new("L", (64, 64), int(grey)) for grey in (0, 0, 128, 128, 255)]
    for _ in range(300):
        image = Image.new("L", (256, 256), 255)
        radius = rng.uniform(20, 120)
        x, y = rng.uniform(radius, 256 - radius, 2)
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(image).ellipse(box, outline=0, width=8)
        images.append(image.resize((64, 64), Image.Resampling.BOX))
    assert len(near(np.stack([np.asarray(image) for image in images])[..., None])) <= 1


def test_colour_tells_images_apart_unless_one_is_grey() -> None:
    picture = np.asarray(texture(np.random.default_rng(0)).convert("L").resize((64, 64)))
    grey = np.repeat(picture[..., None], 3, axis=2)
    red, green = grey * np.array([1, 0.6, 0.6]), grey * np.array([0.6, 0.81, 0.6])
    images = np.stack([grey, red, green]).astype(np.uint8)
    assert not similarity(look(images[1]), look(images[2]))
    rosy = (grey * np.array([1.05, 0.98, 0.95])).clip(0, 255).astype(np.uint8)
    assert similarity(look(images[0]), look(rosy))


def test_bands_may_be_dealt_to_any_number_of_tasks() -> None:
    rng = np.random.default_rng(0)
    # Clusters larger than what an image keeps.
    centres = rng.integers(0, 2**64, (50, 2), dtype=np.uint64)
    found = centres[rng.integers(0, 50, 1000)]
    found ^= np.uint64(1) << rng.integers(0, 64, (1000, 2), dtype=np.uint64)
    whole = candidates(found, range(BANDS))
    for tasks in (2, 5):
        dealt = [candidates(found, range(task, BANDS, tasks)) for task in range(tasks)]
        np.testing.assert_array_equal(nearest(np.concatenate(dealt)), whole)
    assert len(whole) < 1000 * 2 * 8
