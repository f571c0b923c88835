"""Flipped labels: a search names them, whatever it held out, and after its driver's death too."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.jobs import Run as Submit
from support.kills import kill_when

from cnn import DataSet, preprocess, tune
from cnn.core.directory import Directory
from cnn.rundir.suspects import OUT_OF_FOLD, read_suspects
from cnn.rundir.trials import read_trials

FLIPPED = {f"{label}/{number}-{label}.png" for label in ("dark", "light") for number in (1, 2, 3)}
SEARCH = {"max_trials": 1, "epochs": 20, "min_steps": 0, "halving": False, "patience": 20}
SPACE = {
    **{"conv_layers": 1, "filters": 4, "dense_units": 8, "dropout": 0.0, "batch_norm": False},
    **{"learning_rate": 0.01, "batch_size": 16, "pooling": "average", "augment": False},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 dark and 60 light images; three of each lie in the other's folder."""
    root, random = tmp_path_factory.mktemp("flipped") / "images", np.random.default_rng(0)
    for label, own, other in (("dark", 60, 190), ("light", 190, 60)):
        (root / label).mkdir(parents=True)
        for number in range(60):
            brightness = other if number in (1, 2, 3) else own
            pixels = random.normal(brightness, 25, (16, 16)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{number}-{label}.png")
    return root


@pytest.fixture(scope="module")
def data(spark: Any, images: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    out = tmp_path_factory.mktemp("flipped-data") / "data"
    return preprocess(spark, images, out, image_size=16, group="none")


def known_flipped(run: Path) -> set[str]:
    """The flipped images among those that were judged."""
    trained = pq.read_table(run / OUT_OF_FOLD)["path"].to_pylist()
    tested = pq.read_table(run / "test.parquet")["path"].to_pylist()
    assert len(set(trained)) == len(trained)
    return FLIPPED & {*trained, *tested}


@pytest.mark.parametrize(
    ("networks", "suspects"),
    [
        (1, "all"),
        (5, "known"),
        pytest.param(1, "known", marks=pytest.mark.slow),
        pytest.param(5, "all", marks=pytest.mark.slow),
    ],
)
def test_flipped_labels_are_named(
    spark: Any,
    data: DataSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    networks: int,
    suspects: str,
) -> None:
    path = tmp_path / "run"
    run = tune(
        *(spark, data, path),
        search=SEARCH | {"cross_validation": networks},
        space=SPACE,
        final={"suspects": suspects, "attempts": 1},
    )
    judged = run.result.labels
    assert judged is not None
    (trial,) = read_trials(Directory(path))
    whole = networks == 5 or suspects == "all"
    assert judged.judged == {"train": 96 if whole else trial.validation_images, "test": 24}
    found = run.suspects()
    assert set(found["path"]) == known_flipped(path)
    assert (known_flipped(path) == FLIPPED) is whole
    assert (found["label"] == found["path"].str.partition("/")[0]).all()
    assert (found["suggested"] != found["label"]).all()
    assert (found["probability"] > found["own_probability"]).all()
    assert judged.suspects == len(found)
    assert f"{len(found)} image" in run.summary()
    assert "Labels that may be wrong" in (path / "report.html").read_text()
    assert not (path / "checkpoints").exists()
    # It is trained again only if its trial has not judged every image.
    said = capsys.readouterr().out
    assert ("cross-validating the winner with 5 networks" in said) is (
        suspects == "all" and networks == 1
    )


def test_they_need_not_be_looked_for(spark: Any, data: DataSet, tmp_path: Path) -> None:
    run = tune(
        *(spark, data, tmp_path / "run"),
        search=SEARCH | {"epochs": 1, "cross_validation": 1},
        space=SPACE,
        final={"suspects": "none"},
    )
    assert run.result.labels is None
    assert not {"suspects.csv", OUT_OF_FOLD} & {path.name for path in Path(run.path).iterdir()}


def killed(data: DataSet, run: Path, suspects: str, sign: str) -> None:
    """Starts a search and kills its driver when the checkpoint `sign` is there."""
    tables = {f"space.{key}": value for key, value in SPACE.items()}
    tables |= {f"search.{key}": value for key, value in SEARCH.items()}
    tables |= {"search.cross_validation": 1, "search.checkpoint_seconds": 0, "final.attempts": 1}
    tables |= {"final.suspects": suspects}
    words = ["jobs/tune.py", "--data", data.path, "--out", str(run)]
    for key, value in tables.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    kill_when(words, (run / "checkpoints" / sign).exists)
    assert (run / "checkpoints" / "00000-answers.npz").exists()
    assert not (run / "suspects.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suspects", "sign"), [("known", "final-0.npz"), ("all", "cross-validation.npz")]
)
def test_they_survive_the_drivers_death(
    submit: Submit, data: DataSet, tmp_path: Path, suspects: str, sign: str
) -> None:
    run = tmp_path / "run"
    # In the winner's training, or in its cross-validation after it was tested.
    killed(data, run, suspects, sign)
    tested = (run / "test.parquet").stat().st_mtime_ns if suspects == "all" else None
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    found = set(read_suspects(Directory(run))["path"].to_pylist())
    assert found == known_flipped(run)
    assert f"{len(found)} image" in done.stdout
    assert f"{run}/suspects.csv" in done.stdout
    if tested is not None:
        assert found == FLIPPED
        # The test set was opened once.
        assert (run / "test.parquet").stat().st_mtime_ns == tested


@pytest.mark.slow
def test_lost_answers_are_said_and_not_invented(
    submit: Submit, data: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed(data, run, "known", "final-0.npz")
    (run / "checkpoints" / "00000-answers.npz").unlink()
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((run / "result.json").read_text())
    assert result["labels"]["judged"] == {"train": 0, "test": 24}
    assert any("no label of a training image was checked" in note for note in result["notes"])
    assert not (run / OUT_OF_FOLD).exists()
