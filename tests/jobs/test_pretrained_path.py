"""The whole path with a backbone, from files to every use of the saved network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.backbones import REAL, in_plain_keras, save_backbone
from support.images import write_images
from support.jobs import Run
from support.kills import kill_when

from cnn.core.directory import Directory
from cnn.rundir.result import read_result
from cnn.rundir.trials import read_trials

PHOTOS = REAL.parents[1] / "ants-and-bees" / "train"
SHORT = (
    *("--set", "search.strategy=grid", "--set", "search.cross_validation=2"),
    *("--set", "search.head_epochs=20", "--set", "search.fine_tune_epochs=1"),
    *("--set", "space.head_units=8", "--set", "space.fine_tune={choices=[0.0,0.2]}"),
    *("--set", "space.learning_rate=0.001", "--set", "space.batch_size=16"),
    *("--set", "space.l2=0.001", "--set", "space.backbone_rate=0.1", "--set", "space.dropout=0.0"),
    *("--set", "space.augment=false", "--set", "final.attempts=1"),
)
Material = Callable[[Path], tuple[Path, Path]]


def small(folder: Path) -> tuple[Path, Path]:
    """A backbone with random weights, and images of noise."""
    images = write_images(folder / "images", {"cats": 30, "dogs": 30})
    return save_backbone(folder / "small.keras"), images


def real(folder: Path) -> tuple[Path, Path]:
    """EfficientNet-Lite0 and photos of ants and bees."""
    return REAL, PHOTOS


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "material",
    [
        small,
        pytest.param(
            real,
            marks=[
                pytest.mark.slow,
                pytest.mark.skipif(not REAL.is_file(), reason="SHARED names no real backbone"),
            ],
        ),
    ],
)
def test_from_files_to_every_use_of_the_saved_network(
    submit: Run, tmp_path: Path, material: Material
) -> None:
    backbone, images = material(tmp_path)
    data, run = tmp_path / "data", tmp_path / "run"
    made = submit("jobs/preprocess.py", "--images", images, "--out", data, "--for", backbone)
    assert made.returncode == 0, made.stderr
    only = ("--set", f'space.backbone="{backbone}"')
    words = ["jobs/tune.py", "--data", data, "--out", run, "--backbone", backbone, *only, *SHORT]
    kill_when([str(word) for word in words], lambda: any(run.glob("trials/*.json")))
    there = {path: path.read_bytes() for path in run.glob("trials/*.json")}
    assert there
    resumed = submit("jobs/tune.py", "--resume", run)
    assert resumed.returncode == 0, resumed.stderr
    assert {path: path.read_bytes() for path in there} == there
    assert [trial.status for trial in read_trials(Directory(str(run)))] == ["ok"] * 2
    assert read_result(Directory(str(run))).backbone is not None

    done = submit(
        *("jobs/predict.py", "--model", run, "--images", images, "--out", tmp_path / "predictions")
    )
    assert done.returncode == 0, done.stderr
    assert_uses_agree(run, images, tmp_path)


def assert_uses_agree(run: Path, images: Path, folder: Path) -> None:
    import onnxruntime

    import cnn

    rows = pq.read_table(folder / "predictions" / "predictions").to_pylist()[:20]
    classifier = cnn.Run.load(run).classifier()
    paths = [images / row["path"] for row in rows]
    pixels = np.stack([classifier.pixels(path) for path in paths])
    expected = classifier.probabilities(pixels)
    dtype, found = in_plain_keras(run / "model.keras", pixels)
    assert dtype == "uint8"
    np.testing.assert_allclose(found, expected, atol=1e-5)
    predicted = [row["probabilities"] for row in rows]
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    classifier.export(folder / "model.onnx", "onnx")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (on_onnx,) = session.run(None, {session.get_inputs()[0].name: pixels})
    # Features of noise hardly vary, so that standardising them magnifies what is rounded.
    np.testing.assert_allclose(on_onnx, expected, atol=5e-5)
