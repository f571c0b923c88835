"""The winner trained by two executors together, each in a JVM of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest
from support.backbones import save_backbone
from support.jobs import Run, one_line, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
MASTER = "local-cluster[2,1,2048]"
SPARK_HOME = {"SPARK_HOME": str(Path(pyspark.__file__).parent)}


def command(
    data: Path, run: Path, workers: int, epochs: int, trained_on: str = "train", **more: object
) -> list[str]:
    settings = {
        "final.epochs": epochs,
        "final.data": trained_on,
        # bfloat16 rounds sums over two halves of a batch otherwise than sums over the whole.
        "model.precision": "float32",
        "space.batch_norm": "true",
        "space.batch_size": 16,
        # Each worker changes its share of a batch as one worker would.
        "space.augment": "true",
        "space.filters": 4,
        **more,
    }
    return [
        *("--master", MASTER, "jobs/tune.py", "--data", str(data), "--out", str(run)),
        *("--config", "conf/train.toml", "--final-workers", str(workers)),
        *(word for key, value in settings.items() for word in ("--set", f"{key}={value}")),
    ]


def result(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "result.json").read_text())
    return found


def same_curve(one: dict[str, Any], other: dict[str, Any]) -> None:
    epochs, others = one["final"]["epochs"], other["final"]["epochs"]
    assert len(epochs) == len(others)
    for key in ("loss", "val_loss"):
        assert [e[key] for e in epochs] == pytest.approx([e[key] for e in others], abs=1e-3)
    assert one["test"]["accuracy"] == other["test"]["accuracy"]


# On all images the learning rate falls at the end; on those for training it does not.
@pytest.mark.slow
@pytest.mark.parametrize("trained_on", ["train", "all"])
def test_two_workers_train_as_one_does(
    submit: Run, noise_data: Path, tmp_path: Path, trained_on: str
) -> None:
    found = []
    for workers in (1, 2):
        run = tmp_path / str(workers)
        # Its probabilities must be brought together, unlike losses and counts.
        own = {"search.objective": "val_auc"}
        words = command(noise_data, run, workers, epochs=6, trained_on=trained_on, **own)
        done = submit(*words, env=SPARK_HOME)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(result(run))
    assert [each["final"]["workers"] for each in found] == [1, 2]
    cooldown = 0.25 if trained_on == "all" else 0
    assert [each["final"]["cooldown"] for each in found] == [cooldown] * 2
    same_curve(*found)
    if trained_on == "train":
        areas = [[e["val_objective"] for e in each["final"]["epochs"]] for each in found]
        assert areas[1] == pytest.approx(areas[0], abs=0.02)
        assert found[1]["validation"]["objective"] == max(areas[1])
        assert found[1]["final"]["best_epoch"] == 1 + areas[1].index(max(areas[1]))


@pytest.mark.slow
def test_two_workers_fine_tune_as_one_does(submit: Run, noise_data: Path, tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "small.keras")
    settings = {
        **{"space.backbone": f'"{backbone}"', "space.fine_tune": 1.0, "space.backbone_rate": 0.1},
        **{"space.head_units": 0, "space.l2": 0.001, "search.head_epochs": 6},
        **{"search.fine_tune_epochs": 3, "search.cross_validation": 1},
    }
    found = []
    for workers in (1, 2):
        run = tmp_path / str(workers)
        words = command(noise_data, run, workers, 3, "all", **settings)
        done = submit(*words, "--backbone", backbone, env=SPARK_HOME)
        assert done.returncode == 0, done.stdout + done.stderr
        found.append(result(run))
    assert [each["final"]["workers"] for each in found] == [1, 2]
    assert all(each["backbone"]["trained_layers"] for each in found)
    same_curve(*found)


def test_more_workers_than_slots_are_refused_at_once(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    done = submit(*command(noise_data, tmp_path / "run", 3, epochs=1), env=SPARK_HOME)
    assert done.returncode == 2
    assert "must be at most the number of slots, 2, but got 3" in one_line(done.stderr)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_worker_costs_no_epoch_that_was_done(noise_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = command(noise_data, run, 2, epochs=150)
    job = started(*words, env=SPARK_HOME, stderr=subprocess.STDOUT)
    try:
        while not (run / "checkpoints" / "final-0.npz").exists():
            assert job.poll() is None, job.communicate()[0]
            time.sleep(0.05)
        for victim in trainings(job.pid):
            os.kill(victim, signal.SIGKILL)
            break
        else:
            pytest.fail("no process trained")
        output, _ = job.communicate(timeout=300)
    finally:
        job.kill()
    assert job.returncode == 0, output
    found = result(run)
    assert len(found["final"]["epochs"]) == 150
    assert [epoch["epoch"] for epoch in found["final"]["epochs"]] == list(range(1, 151))
    assert found["final"]["continued"] >= 1


def trainings(root: int) -> Iterator[int]:
    """Processes below `root` that train: a worker's children, as a worker is its daemon's."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    for pid in parents:
        line = [pid]
        while line[-1] in parents:
            line.append(parents[line[-1]])
        if root in line and all(is_daemon(each) for each in line[:3]):
            yield pid


def is_daemon(pid: int) -> bool:
    try:
        return b"cnn.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
