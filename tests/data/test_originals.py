"""What is learnt of original images: the same however they are divided, and bounded."""

import pickle
import random

import numpy as np
from PIL import Image
from support.images import encoded

from cnn.data.decoding.decode import Decoding, decode_and_look
from cnn.data.decoding.originals import (
    EVERY_CLASS,
    EXTREMES,
    MOST_SIZES,
    Original,
    Originals,
    merged,
)


def made_up(count: int) -> list[tuple[int, Original]]:
    rng = random.Random(1)

    def side() -> int:
        return rng.randrange(8, 9000)

    return [
        (rng.randrange(40), Original(side(), side(), "JPEG RGB", rng.random() * 255, False))
        for _ in range(count)
    ]


def packed(images: list[tuple[int, Original]], start: int) -> bytes:
    originals = Originals()
    for place, (label, image) in enumerate(images, start=start):
        originals.add(place, label, image)
    return originals.pack()


def test_the_sum_does_not_depend_on_the_parts() -> None:
    images = made_up(2000)
    whole = merged([packed(images, 0)])
    for size in (1, 7, 640):
        parts = [packed(images[at : at + size], at) for at in range(0, 2000, size)]
        assert merged(parts) == whole
        assert merged(parts[::-1]) == whole
    assert whole.levels[EVERY_CLASS, 0] + whole.levels[EVERY_CLASS, 15] > 0
    darkest = sorted((image.brightness, place) for place, (_, image) in enumerate(images))
    found = [(one.key, one.place) for one in whole.extremes["darkest"]]
    assert found == darkest[:EXTREMES]
    assert whole.images[3] == sum(label == 3 for label, _ in images)


def test_a_driver_gets_little_of_each_part_however_many_images_it_has() -> None:
    small, large = (packed(made_up(count), 0) for count in (2000, 20_000))
    assert len(large) < 40_000 > len(small)
    whole: Originals = merged([large])
    assert whole.sizes is None
    assert len(pickle.dumps(whole)) < 400_000


def test_few_sizes_are_counted_one_by_one() -> None:
    originals = Originals()
    for place in range(100):
        originals.add(place, 0, Original(100 + place % MOST_SIZES, 50, "PNG L", 0, False))
    assert originals.sizes is not None
    assert originals.sizes.total() == 100


def test_an_original_is_described_upright_at_its_full_size() -> None:
    photo = Image.linear_gradient("L").resize((1600, 800)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    seen = decode_and_look(encoded(photo, "JPEG", exif=exif), Decoding(32, 1))
    assert seen.original[:3] == (800, 1600, "JPEG RGB")
    assert abs(seen.original.brightness - 127.5) < 1
    assert not seen.original.enlarged
    deep = encoded(Image.fromarray(np.full((16, 16), 4000, np.uint16)))
    found = decode_and_look(deep, Decoding(32, 1, value_range=(0, 4000))).original
    assert found == (16, 16, "PNG I;16", 255, True)
