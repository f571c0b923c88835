"""The whole path through spark-submit.sh, in local mode and on a local cluster of two executors."""

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from support.jobs import Run, one_line
from support.paths import REPOSITORY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cnn.core.directory import Directory
from cnn.data.arrays import open_pixels
from cnn.data.manifest import read_manifest
from cnn.rundir.trials import read_trials
from cnn.settings.schema import CacheSettings
from cnn.settings.toml import read_settings
from cnn.train.batches import Images
from cnn.train.fit_parts import OneMachine

TEST_CONFIG = REPOSITORY / "conf" / "test.toml"


@pytest.fixture(scope="session")
def data(submit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("jobs") / "data"
    done = submit("jobs/preprocess.py", "--sample", "40", "--image-size", "32", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "data set written to" in done.stdout
    return out


@pytest.fixture(scope="session")
def run(submit: Run, data: Path) -> Path:
    out = data.parent / "run"
    cache = data.parent / "cache"
    words = ("--data", data, "--out", out, "--config", TEST_CONFIG, "--cache-dir", cache)
    done = submit("jobs/tune.py", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hosts with the images: 1, 1 of them new" in done.stdout
    manifest = read_manifest(Directory(data))
    names = {path.name for path in (cache / f"cnn-cache-{os.getuid()}").iterdir()}
    assert names == {f"{manifest.fingerprint}-{split}" for split in ("train", "test")}
    *_, accuracy, report = done.stdout.strip().splitlines()
    assert accuracy.startswith("test accuracy ")
    assert report == f"report: {out}/report.html"
    return out


@pytest.fixture(scope="session")
def result(run: Path) -> dict[str, Any]:
    return json.loads((run / "result.json").read_text())


def test_the_run_directory_holds_what_the_design_says(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "run.json",
        "settings.toml",
        "trials",
        "tensorboard",
        "model.keras",
        "model.json",
        "result.json",
        "test.parquet",
        "pictures.parquet",
        "suspects.csv",
        "out-of-fold.parquet",
        "report.html",
    }
    assert sorted(path.name for path in (run / "trials").iterdir()) == ["00000.json", "00001.json"]
    assert sorted(path.name for path in run.parent.iterdir()) == ["cache", "data", "run"]


def test_the_result_has_the_keys_that_others_read(result: dict[str, Any]) -> None:
    assert 0 <= result["test"]["accuracy"] <= 1
    assert result["test"]["count"] == 16
    assert result["test"]["interval"]["low"] <= result["test"]["accuracy"]
    assert result["test"]["accuracy"] <= result["test"]["interval"]["high"]
    assert result["trials"] == {"ok": 2}
    assert result["seconds"].keys() == {"preprocess", "search", "final", "test"}
    assert result["validation"]["accuracy"] is not None
    assert result["versions"]["keras"] == keras.__version__


def test_the_winner_is_the_cheapest_of_the_trials_as_good_as_the_best(
    run: Path, result: dict[str, Any]
) -> None:
    (phase,) = result["phases"]
    trials: list[dict[str, Any]] = [trial.model_dump() for trial in read_trials(Directory(run))]
    found = phase["simplest"]
    least = trials[phase["best"]]["accuracy"] - found["standard_error"]
    costs = {t["number"]: t["operations"] for t in trials if t["accuracy"] >= least}
    assert result["winner"]["number"] == found["number"]
    assert found["operations"] == costs[found["number"]] <= 1.02 * min(costs.values())


def test_each_trial_has_its_curve(run: Path) -> None:
    trials = read_trials(Directory(run))
    assert [trial.number for trial in trials] == [0, 1]
    for trial in trials:
        assert [epoch.epoch for epoch in trial.epochs] == [1, 2]
        assert trial.started < trial.ended
        best = trial.epochs[(trial.best_epoch or 0) - 1]
        assert (trial.accuracy, trial.loss) == (best.val_accuracy, best.val_loss)


def test_tensorboard_shows_each_trial(run: Path) -> None:
    for trial in read_trials(Directory(run)):
        reader = EventAccumulator(str(run / "tensorboard" / f"{trial.number:05d}"))
        reader.Reload()
        curve = [event.value for event in reader.Scalars("accuracy/validation")]
        assert curve == pytest.approx([epoch.val_accuracy for epoch in trial.epochs])


def test_the_saved_model_is_the_one_that_was_tested(
    data: Path, run: Path, result: dict[str, Any], tmp_path: Path
) -> None:
    card = json.loads((run / "model.json").read_text())
    assert card["classes"] == ["faces", "comics"]
    assert (card["size"], card["channels"]) == (32, 1)
    manifest = read_manifest(Directory(data))
    split = open_pixels(Directory(data), manifest, "test", CacheSettings(dir=str(tmp_path)))
    model = keras.models.load_model(run / "model.keras", safe_mode=True)
    images = Images(split.pixels, split.labels, np.arange(len(split.labels)))
    found = OneMachine(model).evaluate(images, 2)
    assert found.accuracy == result["test"]["accuracy"]
    assert found.confusion.tolist() == result["test"]["confusion"]


def test_the_settings_that_were_used_can_be_used_again(run: Path) -> None:
    settings = read_settings((run / "settings.toml").read_text())
    assert settings.phases[0].max_trials == 2
    assert settings.phases[0].epochs == 2


def test_a_second_preprocessing_finds_the_data_set_in_place(submit: Run, data: Path) -> None:
    before = (data / "manifest.json").stat().st_mtime_ns
    done = submit("jobs/preprocess.py", "--sample", "40", "--image-size", "32", "--out", data)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout
    assert (data / "manifest.json").stat().st_mtime_ns == before


def test_other_settings_need_overwrite(submit: Run, data: Path) -> None:
    done = submit("jobs/preprocess.py", "--sample", "41", "--image-size", "32", "--out", data)
    assert done.returncode == 2
    assert "--overwrite" in one_line(done.stderr)


@pytest.mark.slow
def test_two_executors_give_the_same_trials(submit: Run, data: Path, run: Path) -> None:
    out = data.parent / "cluster-run"
    done = submit(
        "--master",
        "local-cluster[2,1,1024]",
        "jobs/tune.py",
        "--data",
        data,
        "--out",
        out,
        "--config",
        TEST_CONFIG,
        "--parallelism",
        "2",
        env={"SPARK_HOME": _spark_home()},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = read_trials(Directory(run)), read_trials(Directory(out))
    assert [trial.params for trial in there] == [trial.params for trial in here]
    assert [trial.seed for trial in there] == [trial.seed for trial in here]
    assert (out / "report.html").is_file()


def _spark_home() -> str:
    import pyspark

    return str(Path(pyspark.__file__).parent)


@pytest.mark.slow
def test_the_reports_three_phases_run_on_the_sample(submit: Run, data: Path) -> None:
    out = data.parent / "report-run"
    done = submit(
        "jobs/tune.py",
        "--data",
        data,
        "--out",
        out,
        "--config",
        REPOSITORY / "conf" / "report.toml",
        *("--set", "phases.0.space.conv_layers=2", "--set", "phases.0.epochs=1"),
        *("--set", "phases.0.space.filters.choices=[2, 4]", "--set", "phases.1.epochs=1"),
        *("--set", "phases.0.space.learning_rate=0.001", "--set", "phases.2.epochs=2"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((out / "result.json").read_text())
    trials = read_trials(Directory(out))
    assert [phase["name"] for phase in result["phases"]] == ["layers", "dropout", "epochs"]
    assert [trial.phase for trial in trials] == ["layers"] * 2 + ["dropout"] * 4 + ["epochs"]
    assert all(trial.params["dense_units"] == trial.params["filters"] for trial in trials)
    dropout = next(phase for phase in result["phases"] if phase["name"] == "dropout")
    assert trials[-1].params == dropout["params"]
    assert result["final"]["data"] == "all"
    assert result["final"]["cooldown"] == 0
    assert len(result["final"]["epochs"]) == trials[-1].best_epoch
    assert any("4000" in note for note in result["notes"])
    settings = tomllib.loads((out / "settings.toml").read_text())
    assert [phase["name"] for phase in settings["phases"]] == ["layers", "dropout", "epochs"]


@pytest.mark.slow
def test_all_trials_failing_exits_1_with_the_first_failure(
    submit: Run, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "once.py").write_text(
        "import pathlib, cnn.model.network, cnn.settings.schema\n"
        "checked = pathlib.Path(__file__).with_name('checked')\n"
        "def build(params, **shape):\n"
        "    if checked.exists():\n"
        "        raise RuntimeError('only once')\n"
        "    checked.touch()\n"
        "    return cnn.model.network.build(cnn.settings.schema.ModelParams(), **shape)\n"
    )
    out = data.parent / "failed-run"
    words = ["--data", data, "--out", out, "--config", TEST_CONFIG]
    words += ["--set", "model.builder=once:build"]
    done = submit("jobs/tune.py", *words, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert "all 2 trials" in line
    assert "RuntimeError: only once" in line
    assert str(out) in line
    assert len(read_trials(Directory(out))) == 2
