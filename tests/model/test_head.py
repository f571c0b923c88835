"""Heads on features, whole networks, and an optimizer with two rates."""

import doctest
from pathlib import Path

import keras
import numpy as np
import pytest
from support.backbones import FEATURES, small_backbone

from cnn.model import head as head_module
from cnn.model.backbone import extractor
from cnn.model.head import build_head, whole_network
from cnn.model.network import compile_model
from cnn.model.trainable import set_trainable
from cnn.settings.params import ModelParams

PARAMS = ModelParams(backbone="small", head_units=8, dropout=0.5, l2=0.01, learning_rate=0.01)


def test_the_examples_hold() -> None:
    found = doctest.testmod(head_module)
    assert (found.attempted > 0, found.failed) == (True, 0)


def features(count: int = 64) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(5.0, 3.0, (count, FEATURES)).astype(np.float32)


def head(params: ModelParams, inputs: np.ndarray) -> keras.Model:
    return build_head(params, classes=3, mean=inputs.mean(axis=0), variance=inputs.var(axis=0))


def test_features_are_standardised_by_fixed_numbers() -> None:
    inputs = features()
    model = head(ModelParams(backbone="small"), inputs)
    inside = keras.Model(model.inputs, model.get_layer("standardisation").output)
    standard = np.asarray(inside(inputs, training=True))
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-3)
    # The numbers are weights, but training leaves them alone.
    assert not model.get_layer("standardisation").trainable_weights
    before = model.get_layer("standardisation").get_weights()
    compile_model(model, PARAMS)
    model.train_on_batch(inputs, np.eye(3, dtype=np.float32)[np.arange(64) % 3])
    for one, same in zip(before, model.get_layer("standardisation").get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_head_has_the_layers_of_its_parameters() -> None:
    names = [layer.name for layer in head(PARAMS, features()).layers]
    assert names == ["features", "standardisation", "head_dense", "dropout", "probabilities"]
    linear = head(ModelParams(backbone="small"), features())
    assert [layer.name for layer in linear.layers] == [
        "features",
        "standardisation",
        "probabilities",
    ]
    assert linear.losses == []
    assert len(head(PARAMS, features()).losses) == 2


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_whole_network_is_its_extractor_and_its_head(policy: str, tmp_path: Path) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        first = extractor(small_backbone(), size=40, channels=1)
        last = head(PARAMS, features())
    finally:
        keras.config.set_dtype_policy(before)
    model = whole_network(first, last)
    pixels = np.random.default_rng(1).integers(0, 256, (4, 40, 40, 1), dtype=np.uint8)
    expected = np.asarray(last(np.asarray(first(pixels))))
    found = np.asarray(model(pixels))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_slow_variables_take_steps_that_are_smaller_by_the_factor() -> None:
    network = small_backbone()
    first = extractor(network, size=32, channels=3)
    first.trainable = False
    set_trainable(network, 1.0)
    model = whole_network(first, head(ModelParams(backbone="small"), features()))
    params = ModelParams(backbone="small", fine_tune=1.0, backbone_rate=0.01, learning_rate=0.001)
    compile_model(model, params, slow=network.trainable_variables)
    before = {id(v): np.array(v) for v in model.trainable_variables}
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    model.train_on_batch(pixels, np.eye(3, dtype=np.float32)[np.arange(8) % 3])
    # Adam's first step is the learning rate itself, up or down.
    moved = {id(v): np.abs(np.array(v) - before[id(v)]).max() for v in model.trainable_variables}
    slow = {id(v) for v in network.trainable_variables}
    assert slow
    assert slow < moved.keys()
    for key, largest in moved.items():
        expected = 0.00001 if key in slow else 0.001
        assert largest == pytest.approx(expected, rel=0.02)
