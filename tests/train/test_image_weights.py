"""Weights of images in training: equal ones change nothing; one of nearly 0 removes an image."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from cnn.model.head import build_head
from cnn.model.network import build, compile_model
from cnn.settings.params import ModelParams
from cnn.train.batches import Batches, Images
from cnn.train.fit import fit
from cnn.train.fit_parts import TrainingPart
from cnn.train.head_steps import ManySteps

NETWORK = ModelParams(conv_layers=1, filters=4, dense_units=8, learning_rate=0.003, batch_size=8)
HEAD = ModelParams(backbone="any", head_units=8, learning_rate=0.01, batch_size=8)


def noise(weights: np.ndarray | None = None, count: int = 24) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    return Images(pixels, np.arange(count) % 2, np.arange(count), weights)


def trained(
    kind: str, images: Images, class_weights: np.ndarray | None = None, epochs: int = 2
) -> list[np.ndarray]:
    """The weights of a network, or of a head that takes the pixels for features."""
    keras.utils.set_random_seed(0)
    params = NETWORK if kind == "network" else HEAD
    machines = None
    if kind == "network":
        model = build(NETWORK, size=8, channels=1, classes=2)
        compile_model(model, NETWORK)
    else:
        features = images.inputs.reshape(len(images.inputs), -1).astype(np.float32) / 255
        ones = np.ones(features.shape[1], np.float32)
        model = build_head(HEAD, classes=2, mean=0.5 * ones, variance=ones)
        compile_model(model, HEAD)
        machines = ManySteps(model, HEAD.batch_size, features)
        images = replace(images, inputs=np.arange(len(features)))
    fit(
        [TrainingPart(model, images, None, class_weights, machines)],
        classes=2,
        batch_size=params.batch_size,
        epochs=epochs,
        seed=0,
        objective="val_loss",
    )
    return model.get_weights()


def largest_difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ["network", "head"])
def test_equal_weights_change_no_bit(kind: str) -> None:
    plain = trained(kind, noise())
    assert largest_difference(plain, trained(kind, noise(np.full(24, 0.3, np.float32)))) == 0
    halves = np.where(np.arange(24) < 12, 1.0, 2.0).astype(np.float32)
    assert largest_difference(plain, trained(kind, noise(halves))) > 1e-4


@pytest.mark.parametrize("kind", ["network", "head"])
def test_an_image_with_a_weight_of_nearly_0_has_no_influence(kind: str) -> None:
    weights = np.ones(24, np.float32)
    changed = noise().inputs.copy()
    changed[5] = 255 - changed[5]
    # It counts: another picture in its place makes another network.
    assert (
        largest_difference(
            trained(kind, noise(weights)), trained(kind, replace(noise(weights), inputs=changed))
        )
        > 1e-4
    )
    weights[5] = 1e-12
    one = trained(kind, noise(weights))
    assert largest_difference(one, trained(kind, replace(noise(weights), inputs=changed))) < 1e-6


def test_weights_of_images_and_of_classes_are_multiplied() -> None:
    """Each machine's share has the weights of its own images, scaled by the mean of all."""
    weights = np.arange(1, 25, dtype=np.float32)
    of_classes = np.array([0.5, 2.0], np.float32)
    rows = np.arange(4, 24)
    images = replace(noise(weights), inputs=np.arange(24).reshape(24, 1), rows=rows)
    seen: dict[int, float] = {}
    for part in range(2):
        batches = Batches(images, 8, classes=2, seed=0, class_weights=of_classes, share=(part, 2))
        for inputs, _, found in batches.epoch(1):
            seen |= dict(zip(inputs.ravel().tolist(), found.tolist(), strict=True))
    mean = weights[rows].mean()
    expected = {row: weights[row] / mean * of_classes[row % 2] for row in rows.tolist()}
    assert seen == pytest.approx(expected, rel=1e-5)
