"""What a winner says is what its saved network says, however it is called and wherever it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image
from support.images import write_images
from support.jobs import Run
from support.paths import CONF_DIR

import cnn
from cnn import Classifier
from cnn.core.errors import Error, InputError
from cnn.model.randomness import without_randomness

Build = Callable[..., Any]


def own_networks() -> dict[str, Build]:
    """Functions that executors cannot import, as those of a notebook: they are sent."""

    def random_layers(params: Any, *, size: int, channels: int, classes: int) -> Any:
        from keras import Input, Model, Sequential, layers

        pixels = Input((size, size, channels), dtype="uint8")
        changed = Sequential([layers.RandomFlip(), layers.RandomRotation(0.3)])(pixels)
        x = layers.RandomContrast(0.5)(layers.Rescaling(1 / 255)(changed))
        x = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(x))
        return Model(pixels, layers.Dense(classes, "softmax", dtype="float32")(x))

    def sequential(params: Any, *, size: int, channels: int, classes: int) -> Any:
        from keras import Input, Sequential, layers

        return Sequential(
            [
                Input((size, size, channels), dtype="uint8"),
                layers.RandomZoom(0.3),
                layers.Rescaling(1 / 255),
                layers.Flatten(),
                layers.Dense(classes, "softmax", dtype="float32"),
            ]
        )

    def backbone_like(params: Any, *, size: int, channels: int, classes: int) -> Any:
        from keras import Input, Model, Sequential, layers

        pixels = Input((size, size, channels), dtype="uint8")
        x = layers.Rescaling(1 / 127.5, offset=-1)(pixels)
        inner = Input((size, size, channels))
        y = layers.Conv2D(8, 3, padding="same", use_bias=False)(inner)
        y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.5)(y))
        y = layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization(momentum=0.5)(y)
        x = layers.GlobalAveragePooling2D()(Model(inner, y, name="backbone")(x))
        head = Sequential([layers.Dropout(0.5), layers.Dense(classes, "softmax", dtype="float32")])
        return Model(pixels, head(x))

    return {"random": random_layers, "sequential": sequential, "backbone": backbone_like}


OWN = own_networks()
AUGMENTED = {"conv_layers": 2, "filters": 4, "dense_units": 8, "batch_norm": True, "augment": True}
# Which network, the parameters of its space, and the images' colours.
KINDS: dict[str, tuple[Build | None, dict[str, Any], str]] = {
    "augmented, grey": (None, AUGMENTED, "grayscale"),
    "augmented, RGB": (None, AUGMENTED, "rgb"),
    "backbone-like": (OWN["backbone"], {}, "rgb"),
    "own random layers": (OWN["random"], {}, "grayscale"),
    "own random layers, sequential": (OWN["sequential"], {}, "rgb"),
}
IN_CI = ("augmented, grey", "own random layers")


@pytest.fixture(scope="module")
def data(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, cnn.DataSet]:
    root = tmp_path_factory.mktemp("export")
    write_images(root / "images", {"cats": 30, "dogs": 30})
    return {
        mode: cnn.preprocess(
            spark, root / "images", root / mode, image_size=24, color_mode=mode, group="none"
        )
        for mode in ("grayscale", "rgb")
    }


@pytest.fixture(
    params=[kind if kind in IN_CI else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def winner(
    request: pytest.FixtureRequest,
    spark: Any,
    data: dict[str, cnn.DataSet],
    tmp_path: Path,
) -> cnn.Run:
    """A run whose one trial is of the kind that is asked for."""
    build, space, mode = KINDS[request.param]
    return cnn.tune(
        spark,
        data[mode],
        tmp_path / "run",
        search={"max_trials": 1, "epochs": 2, "min_steps": 0, "cross_validation": 1},
        space={"batch_size": 8, "learning_rate": 0.01, **space},
        final={"epochs": 2, "attempts": 1},
        build=build,
        config=CONF_DIR / "test.toml",
    )


def images_of(data: cnn.DataSet) -> list[Path]:
    return sorted((Path(data.path).parent / "images").glob("*/*.png"))


def test_every_use_of_a_saved_network_gives_what_the_classifier_gives(
    winner: cnn.Run, data: dict[str, cnn.DataSet], tmp_path: Path
) -> None:
    import onnxruntime
    import tensorflow as tf

    classifier = winner.classifier()
    pixels = np.stack([classifier.pixels(path) for path in images_of(data["rgb"])])
    expected = classifier.probabilities(pixels)
    # As somebody has it who has Keras and none of this program.
    model = keras.models.load_model(f"{winner.path}/model.keras", safe_mode=True)
    classifier.export(tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")
    classifier.export(tmp_path / "model.onnx", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    name = session.get_inputs()[0].name
    uses: dict[str, Callable[[], Any]] = {
        "called": lambda: model(pixels),
        "predict": lambda: model.predict(pixels, verbose=0),
        "SavedModel": lambda: loaded.serve(pixels),
        "ONNX": lambda: session.run(None, {name: pixels})[0],
    }
    for use, run in uses.items():
        first, second = np.asarray(run()), np.asarray(run())
        np.testing.assert_array_equal(first, second, err_msg=use)
        np.testing.assert_allclose(first, expected, atol=1e-5, err_msg=use)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "run", "saved"]


def small(classifier_layers: list[Any], size: int = 8) -> keras.Model:
    pixels = x = keras.Input((size, size, 1), dtype="uint8")
    for layer in classifier_layers:
        x = layer(x)
    return keras.Model(pixels, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(x)))


def test_a_network_without_random_layers_stays_itself() -> None:
    model = small([keras.layers.Rescaling(1 / 255), keras.layers.Dropout(0.5)])
    assert without_randomness(model) is model


def test_whoever_asks_for_training_still_gets_changes() -> None:
    model = without_randomness(small([keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 255)]))
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    plain = np.asarray(model(pixels))
    np.testing.assert_array_equal(plain, model(pixels))
    assert (plain != np.asarray(model(pixels, training=True))).any()


def classifier_of(model: keras.Model) -> Classifier:
    from cnn.model.card import ModelCard

    card = ModelCard(
        size=8,
        channels=1,
        color_mode="grayscale",
        fit="stretch",
        classes=("a", "b"),
        params={},
        builder="mine:build",
        versions={},
    )
    return Classifier(model, card)


def test_an_export_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    # Noise that a network adds however it is called: no export can agree with it.
    model = small([keras.layers.Rescaling(1 / 255), keras.layers.RandomContrast(0.9)])
    classifier = classifier_of(model)
    with pytest.raises(Error, match=r"must give the probabilities of the original within 0\.0001"):
        classifier.export(tmp_path / "saved")
    assert not list(tmp_path.iterdir())


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    classifier = classifier_of(small([keras.layers.Rescaling(1 / 255)]))
    classifier.export(tmp_path / "saved")
    classifier.export(tmp_path / "saved")
    (tmp_path / "photos").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "photos" / "one.png")
    with pytest.raises(InputError, match="in place of an earlier one"):
        classifier.export(tmp_path / "photos")
    with pytest.raises(InputError, match="must be written to a file"):
        classifier.export(tmp_path / "photos", "onnx")
    with pytest.raises(InputError, match="format must be tf_saved_model or onnx"):
        classifier.export(tmp_path / "model", "torch")  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["one.png"]


def test_an_older_runs_network_is_made_deterministic_when_it_is_loaded(
    tmp_path: Path, submit: Run
) -> None:
    """As versions before this one saved them, with the augmentation among the layers."""
    classifier = classifier_of(small([keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 255)]))
    classifier.model.save(tmp_path / "model.keras")
    (tmp_path / "model.json").write_text(classifier.card.model_dump_json())
    # What lies there for the report is tried too, where it can be read.
    (tmp_path / "pictures.parquet").write_bytes(b"PAR1 but not really")
    loaded = Classifier.load(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
    np.testing.assert_array_equal(loaded.model(pixels), loaded.model(pixels))
    loaded.export(tmp_path / "model.onnx", "onnx")
