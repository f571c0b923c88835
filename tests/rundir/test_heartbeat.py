"""How far running trials are: what a trial tells, and what the driver makes of what it finds."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from cnn.core.directory import Directory
from cnn.rundir.heartbeat import (
    RUNNING,
    HostReporter,
    ProgressReporter,
    TrialProgress,
    read_host_progress,
    read_progress,
    remove_all_progress,
    remove_progress,
    report_testing,
)

GOOD = {"number": 17, "epoch": 2, "max_epochs": 15, "accuracy": 0.75, "rungs": 1, "max_rungs": 3}
GOOD |= {"train_accuracy": 0.5}


def test_the_driver_reads_what_a_trial_tells(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    assert read_progress(run, [17]) == {}
    ProgressReporter(run, 17, 15, 3).after_epochs(0)
    assert read_progress(run, [17]) == {
        17: TrialProgress(number=17, epoch=0, max_epochs=15, max_rungs=3)
    }
    ProgressReporter(run, 17, 15, 3).after_epochs(2, accuracy=0.75, train_accuracy=0.5, rungs=1)
    assert read_progress(run, [3, 17]) == {17: TrialProgress.model_validate(GOOD)}
    assert read_progress(run, [3]) == {}
    for _ in range(2):
        remove_progress(run, 17)
        assert read_progress(run, [17]) == {}
    remove_all_progress(run)
    assert list(tmp_path.iterdir()) == []
    remove_all_progress(run)


def test_the_driver_reads_how_far_hosts_are(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    assert read_host_progress(run) == []
    reporter = HostReporter(run, "gpu-1.example")
    reporter(0.25)
    # Within a second of the last time: not written.
    reporter(0.5)
    HostReporter(run, "gpu-2.example")(1.0)
    ProgressReporter(run, 0, 15, 0).after_epochs(0)
    assert sorted(read_host_progress(run)) == [0.25, 1.0]


def test_parts_of_epochs_and_the_winners_test_are_told(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    ProgressReporter(run, 17, 15, 3, attempt=2).on_step(0.125)
    found = TrialProgress(number=17, epoch=0.125, max_epochs=15, max_rungs=3, attempt=2)
    assert read_progress(run, [17]) == {17: found}
    assert found.epochs() == "0.1/15"
    assert found.model_copy(update={"epoch": 2.96}).epochs() == "3/15"
    # At once, though something was told a moment ago.
    report_testing(run, 17, 20)
    assert read_progress(run, [17])[17].testing == 20


def test_steps_are_told_without_a_cost(tmp_path: Path) -> None:
    reporter = ProgressReporter(Directory(tmp_path), 0, 15, 0)
    reporter.after_epochs(0)
    began = time.process_time()
    for step in range(100_000):
        reporter.on_step(step / 10_000)
    # Ten microseconds a step at most, where a step takes milliseconds.
    assert time.process_time() - began < 1


@pytest.mark.parametrize("content", ["", "{", '{"share": 1.5}', '{"share": NaN}', '{"share": "1"}'])
def test_invalid_files_of_hosts_are_ignored(tmp_path: Path, content: str) -> None:
    run = Directory(tmp_path)
    HostReporter(run, "good")(0.5)
    (tmp_path / RUNNING / "host-bad.json").write_text(content)
    os.mkfifo(tmp_path / RUNNING / "host-pipe.json")
    assert read_host_progress(run) == [0.5]


def test_a_thousand_tiny_epochs_are_few_files(tmp_path: Path) -> None:
    reporter = ProgressReporter(Directory(tmp_path), 0, 1000, 0)
    written = set()
    for epoch in range(1000):
        reporter.after_epochs(epoch)
        written.add((tmp_path / RUNNING / "00000.json").stat().st_mtime_ns)
    assert len(written) <= 3


def test_what_cannot_be_told_harms_no_trial(tmp_path: Path) -> None:
    (tmp_path / RUNNING).write_bytes(b"a file where the folder should be")
    ProgressReporter(Directory(tmp_path), 0, 15, 0).after_epochs(1)
    HostReporter(Directory(tmp_path), "host")(0.5)
    remove_progress(Directory(tmp_path), 0)
    ProgressReporter(Directory(tmp_path), 0, -1, 0).after_epochs(1)
    assert (tmp_path / RUNNING).read_bytes() == b"a file where the folder should be"


@pytest.mark.parametrize(
    "content",
    [
        "",
        json.dumps(GOOD)[:-5],
        "[]",
        json.dumps(GOOD | {"number": 18}),
        json.dumps(GOOD | {"accuracy": 1.5}),
        json.dumps(GOOD | {"accuracy": float("nan")}),
        json.dumps(GOOD | {"epoch": "\x1b[2J"}),
        json.dumps(GOOD | {"epoch": 10**4000}),
        json.dumps(GOOD | {"note": "[red]"}),
        json.dumps(GOOD) + " " * 5000,
    ],
)
def test_what_is_no_trials_word_is_passed_over(tmp_path: Path, content: str) -> None:
    folder = tmp_path / RUNNING
    folder.mkdir()
    (folder / "00017.json").write_text(content)
    good: dict[str, Any] = GOOD | {"number": 4}
    (folder / "00004.json").write_text(json.dumps(good))
    assert read_progress(Directory(tmp_path), [17, 4]) == {4: TrialProgress.model_validate(good)}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / RUNNING
    (folder / "00001.json").mkdir(parents=True)
    os.mkfifo(folder / "00002.json")
    assert read_progress(Directory(tmp_path), [1, 2]) == {}
