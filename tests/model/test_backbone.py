"""Backbones as files and as layers: made, checked, attached to stored pixels, frozen."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import pytest
from support.backbones import FEATURES, REAL, SIDE, save_backbone, small_backbone
from support.paths import REPOSITORY

from cnn.core.errors import InputError
from cnn.model.applications import application, build_application
from cnn.model.backbone import extractor, load_backbone, put_backbone
from cnn.model.backbone_card import Backbone, advice
from cnn.model.export import export_model
from cnn.model.trainable import weighted_layers

# Two processes that save the same network, which have made other layers before.
SAVES = """
import sys, keras
from pathlib import Path
from cnn.model import applications, backbone
[keras.layers.Dense(1) for _ in range(int(sys.argv[2]))]
keras.layers.Conv2D(1, 1)
keras.utils.set_random_seed(5)
build = applications.build_application
backbone.build_application = lambda name: build(name, weights=None)
print(backbone.put_backbone(sys.argv[3], Path(sys.argv[1])).sha256)
"""
# A process that knows nothing of this program.
LOADS = """
import sys, keras, numpy as np
model = keras.models.load_model(sys.argv[1], safe_mode=True)
np.save(sys.argv[3], model(np.load(sys.argv[2])))
assert not any(name.partition(".")[0] == "cnn" for name in sys.modules)
"""


# Networks with layers of their own, numbered names, random layers, and operations as layers.
REPRESENTATIVE = [
    "mobilenet_v3_small",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("convnext_tiny", "efficientnet_v2_b0", "inception_resnet_v2", "nasnet_mobile")
    ),
]


@pytest.fixture(autouse=True)
def policy() -> Iterator[None]:
    """The dtype policy that a test sets holds for that test."""
    yield
    keras.config.set_dtype_policy("float32")


def pixels(size: int, channels: int, count: int = 3) -> np.ndarray:
    shape = (count, size, size, channels)
    return np.random.default_rng(size).integers(0, 256, shape, dtype=np.uint8)


def expected(backbone: keras.Model, stored: np.ndarray) -> np.ndarray:
    """The features by Keras's own Resizing."""
    images = stored.astype(np.float32).repeat(3 if stored.shape[-1] == 1 else 1, axis=-1)
    side = backbone.input_shape[1]
    if side is not None:
        images = np.asarray(keras.layers.Resizing(side, side, antialias=True)(images))
    features = np.asarray(backbone(images, training=False))
    return features.mean(axis=(1, 2)) if features.ndim == 4 else features


@pytest.mark.parametrize("output", ["map", "vector"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [20, SIDE, 45, 64])
def test_features_of_stored_pixels(
    output: Literal["map", "vector"], channels: int, size: int, tmp_path: Path
) -> None:
    backbone = load_backbone(save_backbone(tmp_path / "own.keras", output))
    model = extractor(backbone, size=size, channels=channels)
    assert model.input_shape == (None, size, size, channels)
    assert model.inputs[0].dtype == "uint8"
    assert model.output_shape == (None, FEATURES)
    stored = pixels(size, channels)
    # Called without saying that nothing is trained, as well.
    features = np.asarray(model(stored))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected(backbone, stored), atol=1e-5)
    np.testing.assert_allclose(features, model.predict(stored, verbose=0), atol=1e-5)


def test_a_backbone_of_any_size_takes_images_as_they_are(tmp_path: Path) -> None:
    found = put_backbone(str(save_backbone(tmp_path / "any.keras", side=None)), tmp_path)
    assert found.side is None
    backbone = load_backbone(tmp_path / found.file_name)
    stored = pixels(24, 3)
    np.testing.assert_allclose(
        extractor(backbone, size=24, channels=3)(stored), expected(backbone, stored), atol=1e-5
    )
    inputs = keras.Input((None, None, 3))
    large = keras.Model(inputs, keras.layers.Conv2D(4, 9)(inputs), name="large")
    with pytest.raises(InputError, match="images of the data set, but large cannot take 8x8: "):
        extractor(large, size=8, channels=3)


@pytest.mark.parametrize("size", [20, 45])
def test_an_export_and_a_fresh_process_give_the_same(size: int, tmp_path: Path) -> None:
    import onnxruntime

    backbone = load_backbone(save_backbone(tmp_path / "own.keras"))
    model = extractor(backbone, size=size, channels=1)
    stored = pixels(size, 1)
    features = np.asarray(model(stored))
    path = tmp_path / "model.onnx"
    export_model(model, path, "onnx", stored, features)
    session = onnxruntime.InferenceSession(path)
    (answer,) = session.run(None, {session.get_inputs()[0].name: stored})
    np.testing.assert_allclose(answer, features, atol=1e-5)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "stored.npy", stored)
    names = ["model.keras", "stored.npy", "answer.npy"]
    subprocess.run([sys.executable, "-c", LOADS, *names], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), features, atol=1e-5)


def test_mixed_precision_is_used_in_the_backbone_and_nowhere_else(tmp_path: Path) -> None:
    path = save_backbone(tmp_path / "own.keras")
    plain = load_backbone(path)
    stored = pixels(45, 1)
    features = np.asarray(extractor(plain, size=45, channels=1)(stored))
    keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = load_backbone(path)
    model = extractor(backbone, size=45, channels=1)
    assert model.get_layer(backbone.name) is backbone
    computed = {
        type(layer).__name__: layer.compute_dtype
        for layer in backbone._flatten_layers(include_self=False)
        if not isinstance(layer, keras.layers.InputLayer)
    }
    scaling = {"Rescaling": "float32"}
    assert computed == dict.fromkeys(computed, "bfloat16") | scaling
    assert {weight.dtype for weight in backbone.weights} == {"float32"}
    # The convolutions really give numbers of that type; everything around them is float32.
    assert backbone.output.dtype == "bfloat16"
    before = [layer for layer in model.layers if layer is not backbone]
    assert {layer.compute_dtype for layer in before[1:]} == {"float32"}
    mixed = np.asarray(model(stored))
    assert mixed.dtype == np.float32
    assert 1e-6 < np.abs(mixed - features).max() < 0.1
    # A network that was loaded in another policy is copied, with its weights.
    copied = extractor(plain, size=45, channels=1)
    np.testing.assert_array_equal(copied(stored), mixed)
    assert plain.output.dtype == "float32"
    # The other way round: the features of a file that was saved in mixed precision.
    backbone.save(tmp_path / "mixed.keras")
    keras.config.set_dtype_policy("float32")
    again = load_backbone(tmp_path / "mixed.keras")
    np.testing.assert_allclose(extractor(again, size=45, channels=1)(stored), features, atol=1e-5)


def test_pixels_are_not_rounded_on_their_way_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 7, offset=0.1, dtype="mixed_bfloat16")(inputs)
    scales = keras.Model(inputs, scaled, name="scales")
    stored = pixels(12, 3)
    images = keras.layers.Resizing(8, 8, antialias=True, dtype="float32")(stored.astype(np.float32))
    features = (np.asarray(images) / 7 + 0.1).mean(axis=(1, 2))
    np.testing.assert_allclose(extractor(scales, size=12, channels=3)(stored), features, rtol=1e-5)


def test_a_file_is_put_as_it_is(tmp_path: Path) -> None:
    path = save_backbone(tmp_path / "own.keras", "vector")
    found = put_backbone(str(path), tmp_path / "new" / "backbones")
    (copy,) = (tmp_path / "new" / "backbones").iterdir()
    assert copy.name == found.file_name
    assert copy.read_bytes() == path.read_bytes()
    assert found == Backbone(
        name=str(path),
        sha256=found.sha256,
        side=SIDE,
        features=FEATURES,
        parameters=small_backbone().count_params(),
        weighted_layers=8,
        keras_version=keras.__version__,
    )


def test_a_classifier_is_a_backbone_too(tmp_path: Path) -> None:
    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    x = keras.layers.RandomFlip()(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(x))
    model.save(tmp_path / "classifier.keras")
    found = put_backbone(f"file://{tmp_path}/classifier.keras", tmp_path)
    assert (found.features, found.weighted_layers) == (5, 1)
    stored = pixels(SIDE, 3)
    # Its random layer is at rest, however the network is called.
    features = np.asarray(
        extractor(load_backbone(tmp_path / found.file_name), size=SIDE, channels=3)(stored)
    )
    np.testing.assert_allclose(features, model(stored, training=False), atol=1e-5)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_the_same_weights_are_the_same_bytes_in_every_process(name: str, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVES, tmp_path / number, number, name],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for number in ("0", "3")
    ]
    answers = [process.communicate()[0].split()[-1] for process in processes]
    assert answers[0] == answers[1]
    backbone = load_backbone(tmp_path / "0" / f"{answers[0]}.keras")
    assert [path.name for path in (tmp_path / "0").iterdir()] == [f"{answers[0]}.keras"]
    assert backbone.output_shape == (None, application(name).features)


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_networks_of_keras_compute_in_mixed_precision(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    network = build_application(name, weights=None)
    network.save(tmp_path / "saved.keras")
    size = application(name).side
    stored = pixels(size, 3, 2)
    features = np.asarray(network(stored.astype(np.float32), training=False))
    keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = load_backbone(tmp_path / "saved.keras")
    assert backbone.output.dtype == "bfloat16"
    for ours, theirs in zip(backbone.weights, network.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    mixed = np.asarray(extractor(backbone, size=size, channels=3)(stored))
    assert mixed.dtype == np.float32
    assert np.abs(mixed - features).mean() < 0.05 * np.abs(features).mean()


BACKBONE: dict[str, Any] = {
    "name": "own net.keras",
    "sha256": "0" * 64,
    "side": 224,
    "features": 8,
    "parameters": 8,
    "weighted_layers": 1,
    "keras_version": "3",
}


def test_advice() -> None:
    fixed = Backbone(**BACKBONE)
    free = Backbone(**BACKBONE | {"side": None, "name": "resnet50"})
    assert advice(fixed, size=224, channels=3) is None
    assert advice(fixed, size=300, channels=3) is None
    assert advice(free, size=8, channels=3) is None
    assert advice(fixed, size=64, channels=1) == (
        "own net.keras takes 224x224 RGB, but the images are 64x64 grey: "
        "jobs/preprocess.py --for 'own net.keras' stores them so"
    )
    assert "but the images are 64x64 RGB: " in str(advice(fixed, size=64, channels=3))
    assert "but the images are 300x300 grey: " in str(advice(fixed, size=300, channels=1))
    assert str(advice(free, size=8, channels=1)).startswith("resnet50 takes RGB of any size, but ")


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason="SHARED names no folder with the real backbone")
def test_the_real_one(tmp_path: Path) -> None:
    import onnxruntime

    found = put_backbone(str(REAL), tmp_path)
    assert (found.side, found.features) == (224, 1280)
    backbone = load_backbone(tmp_path / found.file_name)
    assert len(weighted_layers(backbone)) == found.weighted_layers == 98
    for size in (128, 256):
        stored = pixels(size, 3, 2)
        model = extractor(backbone, size=size, channels=3)
        features = np.asarray(model(stored))
        np.testing.assert_allclose(features, expected(backbone, stored), atol=5e-5)
        path = tmp_path / f"{size}.onnx"
        export_model(model, path, "onnx", stored, features)
        session = onnxruntime.InferenceSession(path)
        (answer,) = session.run(None, {session.get_inputs()[0].name: stored})
        np.testing.assert_allclose(answer, features, atol=5e-5)
