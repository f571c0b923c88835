"""A run's model on new images: with Spark, and on one image without it."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.images import write_images
from support.jobs import Run, one_line, preprocess

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.manifest import read_manifest
from cnn.data.rejects import read_rejects
from cnn.model.card import ModelCard
from cnn.model.classifier import Classifier


@pytest.fixture(scope="module")
def root(submit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/images, ROOT/data of them, and ROOT/run, a search of two trials."""
    root = tmp_path_factory.mktemp("predict")
    write_images(root / "images", {"cats": 40, "dogs": 40})
    data = preprocess(submit, root)
    done = submit(
        *("jobs/tune.py", "--data", data, "--out", root / "run", "--config", "conf/test.toml")
    )
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def test_images(root: Path) -> Path:
    """The run's test images, in their class folders as they were."""
    folder = root / "test-images"
    for path in pq.read_table(root / "data" / "test")["path"].to_pylist():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(root / "images" / path)
    return folder


def predict(submit: Run, root: Path, images: object, out: Path, *flags: str) -> Any:
    arguments: Sequence[Any] = ("--model", root / "run", "--images", images, "--out", out, *flags)
    return submit("jobs/predict.py", *arguments)


@pytest.fixture(scope="module")
def predicted(submit: Run, root: Path, test_images: Path) -> "CompletedProcess[str]":
    (test_images / "cats" / "torn.png").write_bytes(b"\x89PNG\r\n")
    done = predict(submit, root, test_images, root / "out", "--csv")
    assert done.returncode == 0, done.stderr
    (test_images / "cats" / "torn.png").unlink()
    finished: CompletedProcess[str] = done
    return finished


def test_the_test_images_have_exactly_the_accuracy_that_the_run_states(
    root: Path, predicted: "CompletedProcess[str]"
) -> None:
    test = json.loads((root / "run" / "result.json").read_text())["test"]
    assert f"accuracy {test['accuracy']:.4f} on {test['count']} images" in predicted.stdout
    for row in test["confusion"]:
        assert re.search(" +".join(map(str, row)) + "$", predicted.stdout, re.MULTILINE)
    assert "100 % of the images" in predicted.stdout


def test_every_file_is_a_prediction_or_a_reject(
    root: Path, predicted: "CompletedProcess[str]"
) -> None:
    table = pq.read_table(root / "out" / "predictions")
    assert table.schema.names == ["path", "prediction", "probability", "probabilities"]
    assert [str(kind) for kind in table.schema.types[:3]] == ["string", "string", "double"]
    wanted = sorted(pq.read_table(root / "data" / "test")["path"].to_pylist())
    assert sorted(table["path"].to_pylist()) == wanted
    classes = read_manifest(Directory(root / "data")).classes
    for row in table.to_pylist():
        assert len(row["probabilities"]) == 2
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert row["probability"] == max(row["probabilities"])
        assert row["prediction"] == classes[int(np.argmax(row["probabilities"]))]
    [(path, reason)] = read_rejects(Directory(root / "out"))
    assert path == "cats/torn.png"
    assert "not an image" in reason
    assert "1 rejected" in predicted.stdout
    assert "1 not an image in a supported format" in predicted.stdout


def test_the_csv_says_the_same(root: Path, predicted: "CompletedProcess[str]") -> None:
    with (root / "out" / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    for row in pq.read_table(root / "out" / "predictions").to_pylist():
        assert rows[row["path"]]["prediction"] == row["prediction"]
        assert float(rows[row["path"]]["probability_dogs"]) == row["probabilities"][1]


def test_one_image_without_spark_gives_the_same(
    root: Path, test_images: Path, predicted: "CompletedProcess[str]"
) -> None:
    classifier = Classifier.load(root / "run")
    for row in pq.read_table(root / "out" / "predictions").to_pylist():
        path = test_images / row["path"]
        pixels = np.asarray(Image.open(path))
        for image in (path, str(path), path.read_bytes(), pixels, pixels[:, :, None]):
            found = classifier.predict(image)
            assert found.prediction == row["prediction"]
            assert list(found.probabilities.values()) == pytest.approx(
                row["probabilities"], abs=1e-5
            )


def test_what_is_no_image_is_named_with_a_reason(root: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(root / "run")
    missing, torn = tmp_path / "missing.png", tmp_path / "torn.png"
    torn.write_bytes(b"GIF but not really")
    with pytest.raises(InputError, match=rf"{missing} is not: unreadable: No such file"):
        classifier.predict(missing)
    with pytest.raises(InputError, match=rf"{torn} is not: not an image"):
        classifier.predict(str(torn))
    with pytest.raises(InputError, match=r"the image is not: not an image"):
        classifier.predict(torn.read_bytes())
    with pytest.raises(InputError, match=r"image 2 of 2 is not: not an image of uint8.*float64"):
        classifier.predict([np.zeros((32, 32), np.uint8), np.zeros((32, 32))])


def test_a_list_of_images_is_as_many_predictions(root: Path, test_images: Path) -> None:
    classifier = Classifier.load(root / "run")
    paths = sorted(test_images.glob("*/*.png"))
    mixed = [path.read_bytes() if place % 2 else path for place, path in enumerate(paths)]
    together = classifier.predict(mixed)
    assert len(together) == len(paths)
    for one, path in zip(together, paths, strict=True):
        alone = classifier.predict(path)
        assert one.prediction == alone.prediction
        assert one.probability == pytest.approx(alone.probability, abs=1e-6)
    assert classifier.predict([]) == []


@pytest.mark.slow
def test_spark_reads_a_uri_and_gives_the_same(
    submit: Run, root: Path, test_images: Path, predicted: "CompletedProcess[str]"
) -> None:
    done = predict(submit, root, test_images.as_uri(), root / "out-uri")
    assert done.returncode == 0, done.stderr
    tables = [
        pq.read_table(root / name / "predictions").sort_by("path") for name in ("out", "out-uri")
    ]
    assert tables[0]["prediction"].equals(tables[1]["prediction"])
    assert tables[0]["path"].equals(tables[1]["path"])


@pytest.mark.slow
def test_images_without_class_folders_have_no_accuracy(
    submit: Run, root: Path, test_images: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    for path in test_images.glob("cats/*.png"):
        (tmp_path / "new" / path.name).symlink_to(path.resolve())
    out = tmp_path / "out"
    done = predict(submit, root, tmp_path / "new", out)
    assert done.returncode == 0, done.stderr
    assert "accuracy" not in done.stdout
    again = predict(submit, root, tmp_path / "new", out)
    assert again.returncode == 2
    assert "--overwrite" in one_line(again.stderr)
    # The working directory has nothing but what was asked for.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "out"]


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        ("images", "images", "--model must name a finished run, but"),
        ("run", "nowhere", "--images must be a folder or a file, but got"),
        ("run", "none.png", "--images must be a folder or a file, but got"),
        ("run", "run/trials", "--images must hold images, but"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    submit: Run, root: Path, tmp_path: Path, model: str, images: str, message: str
) -> None:
    arguments = ("--model", root / model, "--images", root / images, "--out", tmp_path / "out")
    done = submit("jobs/predict.py", *arguments)
    assert done.returncode == 2
    assert message in one_line(done.stderr)
    assert not list(tmp_path.iterdir())


def test_a_model_with_code_in_it_is_refused(root: Path, tmp_path: Path) -> None:
    card = json.loads((root / "run" / "model.json").read_text())
    inputs = keras.Input((card["size"], card["size"], card["channels"]), dtype="uint8")
    hidden = keras.layers.Lambda(lambda x: x[:, 0, 0, :1])(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    model.save(tmp_path / "model.keras")
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="safe mode"):
        Classifier.load(tmp_path)


def test_a_model_that_does_not_fit_its_card_is_refused(root: Path, tmp_path: Path) -> None:
    card = json.loads((root / "run" / "model.json").read_text())
    (tmp_path / "model.keras").symlink_to(root / "run" / "model.keras")
    (tmp_path / "model.json").write_text(json.dumps({**card, "size": 64}))
    with pytest.raises(InputError, match=r"must match its model\.json"):
        Classifier.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({**card, "fit": "bend"}))
    with pytest.raises(InputError, match="fit is invalid"):
        Classifier.load(tmp_path)
    assert ModelCard.model_validate(card).precision == "float32"


@pytest.mark.parametrize("scheme", ["", pytest.param("file://", marks=pytest.mark.slow)])
def test_a_single_file(submit: Run, root: Path, tmp_path: Path, scheme: str) -> None:
    image = root / "images" / "cats" / "cats-0.png"
    # Whatever its name ends in: it was named itself.
    odd = tmp_path / "odd name.photo"
    odd.write_bytes(image.read_bytes())
    expected = Classifier.load(root / "run").predict(image)
    done = predict(submit, root, f"{scheme}{odd}", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    (row,) = pq.read_table(tmp_path / "out" / "predictions").to_pylist()
    assert (row["path"], row["prediction"]) == (odd.name, expected.prediction)
    # It lies in no folder that says what it is.
    assert "accuracy" not in done.stdout
