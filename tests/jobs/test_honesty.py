"""What a run says of its winner must be no better than it is."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.images import write_images
from support.jobs import Run, preprocess, started

from cnn.core.directory import Directory
from cnn.model.picture_file import PICTURES
from cnn.rundir.test_predictions import TESTED
from cnn.rundir.trials import read_trials

CONFIRM = "search.confirm={top = 2, seeds = 2}"


def tune(data: Path, run: Path, *words: str) -> list[str]:
    command = ["jobs/tune.py", "--data", str(data), "--out", str(run)]
    return [*command, "--config", "conf/test.toml", *words]


def result_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "result.json").read_text())
    return content


@pytest.fixture(scope="module")
def shuffled(submit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pure noise: what tells its classes apart is their names alone."""
    root = tmp_path_factory.mktemp("shuffled")
    write_images(root / "images", {"heads": 150, "tails": 150}, size=16)
    data = preprocess(submit, root)
    words = ["--max-trials", "4", "--set", CONFIRM, "--set", "search.epochs=6"]
    done = submit(*tune(data, root / "run", *words))
    assert done.returncode == 0, done.stderr
    return root / "run"


def test_a_search_over_noise_finds_nothing_and_says_so(shuffled: Path) -> None:
    test = result_of(shuffled)["test"]
    assert test["interval"]["low"] <= 0.5 <= test["interval"]["high"]
    report = (shuffled / "report.html").read_text()
    assert "No better than always predicting the larger class" in report


def test_the_best_are_trained_again_with_other_seeds(shuffled: Path) -> None:
    (phase,) = result_of(shuffled)["phases"]
    found = phase["confirmation"]
    assert [len(candidate["scores"]) for candidate in found["candidates"]] == [2, 2]
    first = found["candidates"][0]
    assert found["selection_bias"] == pytest.approx(first["score"] - sum(first["scores"]) / 2)
    trials = {trial.number: trial for trial in read_trials(Directory(shuffled))}
    for candidate in found["candidates"]:
        original = trials[candidate["number"]]
        assert len(set(candidate["repeats"])) == 2
        for number in candidate["repeats"]:
            again = trials[number]
            assert again.params == original.params
            assert again.seed != original.seed
            assert again.repeats == original.number


def test_the_tests_answers_are_those_that_were_counted(shuffled: Path) -> None:
    test = result_of(shuffled)["test"]
    table = pq.read_table(shuffled / TESTED)
    labels, named = table["label"].to_numpy(), table["prediction"].to_numpy()
    assert len(labels) == test["count"]
    assert (labels == named).mean() == pytest.approx(test["accuracy"])
    probabilities = np.array(table["probabilities"].to_pylist())
    # The area under the curve by its meaning: how often the one of a pair ranks above the other.
    ones, zeros = probabilities[labels == 1, 1], probabilities[labels == 0, 1]
    above = (ones[:, None] > zeros).mean() + (ones[:, None] == zeros).mean() / 2
    assert test["roc_auc"] == pytest.approx(above)
    assert table["path"][0].as_py().split("/")[0] in {"heads", "tails"}
    # Of two classes the true one is always among the first five.
    assert test["top5_accuracy"] is None
    assert test["top5_interval"] is None


@pytest.mark.slow
def test_of_many_classes_the_first_five_are_counted(submit: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "images", {f"class{label:02}": 10 for label in range(20)}, size=16)
    data = preprocess(submit, tmp_path)
    done = submit(*tune(data, tmp_path / "run", "--max-trials", "1"))
    assert done.returncode == 0, done.stderr
    test = result_of(tmp_path / "run")["test"]
    table = pq.read_table(tmp_path / "run" / TESTED)
    likely = np.array(table["probabilities"].to_pylist())
    own = likely[np.arange(len(likely)), table["label"].to_numpy()]
    share = ((likely > own[:, None]).sum(axis=1) < 5).mean()
    assert test["top5_accuracy"] == pytest.approx(share)
    assert test["top5_interval"]["low"] < share < test["top5_interval"]["high"]
    assert "top-5 accuracy" in (tmp_path / "run" / "report.html").read_text()


def test_pictures_are_the_worst_mistakes_and_samples(shuffled: Path) -> None:
    rows = pq.read_table(shuffled / PICTURES).to_pylist()
    mistakes = [row for row in rows if row["kind"] == "mistake"]
    tested = pq.read_table(shuffled / TESTED).to_pylist()
    wrong = [row for row in tested if row["label"] != row["prediction"]]
    assert len(mistakes) == min(24, len(wrong))
    certain = [row["probability"] for row in mistakes]
    assert certain == sorted(certain, reverse=True)
    assert certain[0] == max(max(row["probabilities"]) for row in wrong)
    assert all(row["png"].startswith(b"\x89PNG") for row in rows)
    samples = [row["path"].split("/")[0] for row in rows if row["kind"] == "sample"]
    assert samples == ["heads"] * 6 + ["tails"] * 6


@pytest.mark.slow
def test_a_driver_that_dies_among_repetitions_goes_on_with_them(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["--set", CONFIRM, "--set", "final.attempts=1"]
    process = started(*tune(noise_data, run, *words))
    assert process.stdout is not None
    # Two of the search, and the first of the repetitions.
    for line in process.stdout:
        if line.startswith("trial 2:"):
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path.name: path.read_bytes() for path in (run / "trials").iterdir()}
    assert len(before) < 6
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    after = {path.name: path.read_bytes() for path in (run / "trials").iterdir()}
    assert sorted(after) == [f"{number:05d}.json" for number in range(6)]
    assert before.items() <= after.items()
    (phase,) = result_of(run)["phases"]
    assert [len(c["scores"]) for c in phase["confirmation"]["candidates"]] == [2, 2]


@pytest.mark.slow
def test_a_driver_that_dies_after_the_test_does_not_open_it_again(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = started(*tune(noise_data, run))
    while not (run / "trials").exists():
        assert process.poll() is None
        time.sleep(0.05)
    # Where the driver wants a file there is a folder: it fails once the test is done.
    (run / "model.json").mkdir()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    tested = (run / TESTED).stat().st_mtime_ns
    model = (run / "model.keras").read_bytes()
    (run / "model.json").rmdir()
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert (run / TESTED).stat().st_mtime_ns == tested
    assert (run / "model.keras").read_bytes() == model
    assert result_of(run)["test"]["count"] == pq.read_metadata(run / TESTED).num_rows
    assert not (run / "tested.json").exists()
