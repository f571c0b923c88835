"""Augmentation belongs to what a training is shown: seeded by image, and no part of the network."""

import doctest
from functools import partial
from typing import Any

import keras
import numpy as np
import pytest

from cnn.model.network import build, compile_model
from cnn.settings.params import ModelParams
from cnn.train import augmentation
from cnn.train.augmentation import augmented
from cnn.train.batches import Batches, Change, Images
from cnn.train.fit import fit
from cnn.train.fit_parts import TrainingPart


def pictures(count: int, size: int = 16, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)


def test_the_docstrings_example_holds() -> None:
    assert doctest.testmod(augmentation).failed == 0


def test_an_images_change_follows_from_seed_epoch_and_image_alone() -> None:
    pixels, rows = pictures(6), np.arange(6) + 40
    whole = augmented(pixels, rows, 3, seed=1)
    # As a worker has it that gets every other image of the batch.
    np.testing.assert_array_equal(augmented(pixels[::2], rows[::2], 3, seed=1), whole[::2])
    for other in ({"epoch": 4, "seed": 1}, {"epoch": 3, "seed": 2}):
        changed = augmented(pixels, rows, other["epoch"], seed=other["seed"])
        assert (changed != whole).any(axis=(1, 2, 3)).all()
    assert (augmented(pixels, rows + 1, 3, seed=1) != whole).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_changes_are_small_and_half_are_mirrored(channels: int) -> None:
    size = 64
    # Brightness says where a pixel was from left to right, which mirroring turns round.
    ramp = np.linspace(40, 215, size).astype(np.uint8)
    pixels = np.broadcast_to(ramp[None, None, :, None], (200, size, size, channels))
    changed = augmented(pixels, np.arange(200), 1, seed=0).astype(float)
    assert changed.shape == pixels.shape
    assert changed.min() >= 40
    assert changed.max() <= 215
    slopes = np.array([np.polyfit(np.arange(size), c.mean(axis=(0, 2)), 1)[0] for c in changed])
    slope = (215 - 40) / (size - 1)
    assert 80 <= (slopes < 0).sum() <= 120
    # Zoomed by up to a tenth, and turned by up to 14.4 degrees.
    assert (np.abs(slopes) < 1.12 * slope).all()
    assert (np.abs(slopes) > 0.8 * slope).all()
    # Moved by up to 8 % of a side.
    middles = changed[:, size // 2, size // 2, 0]
    assert (np.abs(middles - 127.5) <= 0.09 * size * slope).all()
    assert np.ptp(middles) > 0.1 * size * slope


def test_batches_are_changed_anew_each_epoch_and_the_images_are_not() -> None:
    images = Images(pictures(8), np.arange(8) % 2, np.arange(8))
    before = images.inputs.copy()

    def change(pixels: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        return augmented(pixels, rows, epoch, seed=5)

    batches = Batches(images, 8, classes=2, seed=5, change=change)
    (first, _), (again, _), (later, _) = (next(batches.epoch(number)) for number in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.uint8
    assert (first != later).any()
    np.testing.assert_array_equal(images.inputs, before)


def test_training_sees_changed_images_and_validation_does_not() -> None:
    images = Images(pictures(16), np.arange(16) % 2, np.arange(16))
    params = ModelParams(conv_layers=1, filters=2, dense_units=4, augment=True)
    shown: list[np.ndarray] = []

    def fitted(change: Change | None) -> keras.Model:
        keras.utils.set_random_seed(0)
        model = build(params, size=16, channels=1, classes=2)
        compile_model(model, params)
        train = model.train_on_batch

        def watched(pixels: np.ndarray, *labels: np.ndarray, **options: Any) -> Any:
            shown.append(pixels)
            return train(pixels, *labels, **options)

        model.train_on_batch = watched
        fit(
            [TrainingPart(model, images, images, change=change)],
            classes=2,
            batch_size=16,
            epochs=1,
            seed=0,
            objective="val_accuracy",
        )
        return model

    fitted(None)
    fitted(partial(augmented, seed=0))
    plain, changed = shown
    np.testing.assert_array_equal(plain, images.inputs)
    assert (plain != changed).any(axis=(1, 2, 3)).all()


def test_an_augmented_network_has_no_random_layer() -> None:
    model = build(ModelParams(augment=True), size=64, channels=1, classes=2)
    kinds = {type(layer).__name__ for layer in model._flatten_layers()}
    assert not {kind for kind in kinds if kind.startswith("Random")}
    pixels = pictures(4, 64)
    np.testing.assert_array_equal(model(pixels), model(pixels))
