"""The number of operations of a network for an image."""

from pathlib import Path

import keras
import numpy as np
import pytest

from cnn.model.backbone import put_backbone
from cnn.model.head import build_head
from cnn.model.network import build
from cnn.model.operations import operations
from cnn.settings.network_size import head_size, network_size
from cnn.settings.params import ModelParams


@pytest.mark.parametrize(
    ("network", "published"),
    [
        # Multiplications and additions, in millions, without the classifying layer.
        (keras.applications.MobileNetV2, 2 * 300),  # Sandler et al., 2018, table 4
        (keras.applications.VGG16, 2 * 15_346),  # Simonyan and Zisserman, 2014
    ],
)
def test_networks_have_their_published_operations(network: type, published: float) -> None:
    found = operations(network(weights=None, include_top=False, input_shape=(224, 224, 3)))
    assert found is not None
    assert found / 1e6 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(
    "params",
    [
        ModelParams(conv_layers=1, filters=8, dense_units=16),
        ModelParams(conv_layers=3, filters=(4, 8, 16), dense_units=(32, 8), batch_norm=True),
        ModelParams(conv_layers=2, filters=4, pooling="average", dropout=0.5),
    ],
)
def test_a_size_that_was_computed_is_that_of_what_is_built(params: ModelParams) -> None:
    shape = {"size": 45, "channels": 3, "classes": 5}
    model = build(params, **shape)
    found = network_size(params, **shape)
    assert found == (model.count_params(), operations(model))


@pytest.mark.parametrize("units", [0, 8])
def test_the_size_of_a_head_is_that_of_what_is_built(units: int) -> None:
    params = ModelParams(backbone="any", head_units=units, dropout=0.2)
    ones = np.ones(16, np.float32)
    model = build_head(params, classes=3, mean=ones, variance=ones)
    found = head_size(params, features=16, classes=3)
    assert found == (model.count_params(), operations(model))


def test_a_network_inside_another_counts_and_an_unknown_size_does_not() -> None:
    small = build(ModelParams(conv_layers=2, filters=4), size=16, channels=1, classes=2)
    image = keras.Input((16, 16, 1))
    assert operations(keras.Model(image, small(image))) == operations(small) != 0
    anything = keras.Input((None, None, 3))
    assert operations(keras.Model(anything, keras.layers.Conv2D(4, 3)(anything))) is None


def test_what_nobody_can_count_is_unknown() -> None:
    words = keras.Input((8, 4))
    attended = keras.layers.MultiHeadAttention(2, 4)(words, words)
    assert operations(keras.Model(words, attended)) is None


def test_a_backbone_of_any_size_has_no_number(tmp_path: Path) -> None:
    for side, known in [(16, True), (None, False)]:
        image = keras.Input((side, side, 3))
        path = tmp_path / f"{side}.keras"
        keras.Model(image, keras.layers.Conv2D(4, 3)(image)).save(path)
        assert (put_backbone(str(path), tmp_path).operations is not None) is known
