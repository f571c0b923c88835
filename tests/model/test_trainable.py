"""Which layers of a backbone are trained, and that batch normalisation never is."""

from pathlib import Path

import keras
import numpy as np
import pytest
from support.backbones import SIDE, save_backbone, small_backbone

from cnn.model.backbone import extractor, load_backbone
from cnn.model.trainable import set_trainable, weighted_layers

NAMES = [
    "stem/conv2d",
    "stem/batch_normalization",
    "block/depthwise_conv2d",
    "block/batch_normalization",
    "block/conv2d",
    "branch",
    "branch_normalisation",
    "top",
]


@pytest.mark.parametrize(
    ("share", "count"), [(0, 0), (0.01, 1), (0.125, 1), (0.25, 2), (0.3, 3), (0.5, 4), (1.0, 8)]
)
def test_the_last_layers_are_trained_and_never_normalisation(share: float, count: int) -> None:
    backbone = small_backbone()
    model = extractor(backbone, size=SIDE, channels=3)
    every = list(weighted_layers(backbone))
    assert [name.rstrip("_0123456789") for name in every] == [
        name.rstrip("_0123456789") for name in NAMES
    ]
    trained = set_trainable(backbone, share)
    last = every[len(every) - count :]
    assert list(trained) == [name for name in last if "normali" not in name]
    layers = weighted_layers(backbone)
    weights = [weight for name in trained for weight in layers[name].weights]
    assert list(map(id, model.trainable_weights)) == list(map(id, weights))
    # And back.
    assert set_trainable(backbone, 0) == ()
    assert model.trainable_weights == []


def test_training_everything_changes_weights_and_no_statistics(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = save_backbone(tmp_path / "own.keras")
    request.addfinalizer(lambda: keras.config.set_dtype_policy("float32"))
    keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = load_backbone(path)
    features = extractor(backbone, size=SIDE, channels=3)
    head = keras.layers.Dense(2, activation="softmax", dtype="float32")(features.output)
    model = keras.Model(features.input, head)
    trained = set_trainable(backbone, 1.0)
    pixels = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    before = {weight.path: np.array(weight) for weight in backbone.weights}
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.fit(pixels, np.arange(8) % 2, epochs=2, verbose=0)
    layers = weighted_layers(backbone)
    for name, layer in layers.items():
        for weight in layer.weights:
            same = np.array_equal(before[weight.path], np.array(weight))
            assert same == (name not in trained), weight.path


def test_a_share_that_is_not_exact_in_binary_gives_no_layer_more() -> None:
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for _ in range(100):
        x = keras.layers.Conv2D(1, 1)(x)
    # 0.07 * 100 is 7.000000000000001.
    assert len(set_trainable(keras.Model(inputs, x), 0.07)) == 7
