"""Ctrl-C and SIGTERM at any moment of a job."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import started, tune


def until(job: subprocess.Popen[str], start: str) -> None:
    assert job.stdout is not None
    lines: Iterator[str] = iter(job.stdout.readline, "")
    assert any(line.startswith(start) for line in lines), job.communicate()


LONG = ("--set", "final.epochs=100000", "--set", "final.data=all", "--set", "final.attempts=1")


@pytest.mark.parametrize(
    ("start", "seconds"),
    [
        pytest.param("settings: ", 0.5, id="Spark starts"),
        pytest.param("settings: ", 3.0, id="the session starts", marks=pytest.mark.slow),
        pytest.param("copying the images", 0.2, id="images", marks=pytest.mark.slow),
        pytest.param("training the winner", 8.0, id="the winner", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_is_one_line_at_any_moment(
    noise_data: Path, tmp_path: Path, start: str, seconds: float
) -> None:
    job = started(*tune(noise_data, tmp_path / "run", *LONG))
    until(job, start)
    time.sleep(seconds)
    os.killpg(job.pid, signal.SIGINT)
    _, errors = job.communicate(timeout=120)
    assert job.returncode == 130
    own = [line for line in errors.splitlines() if not line.startswith("WARNING: Using incubator")]
    assert len(own) == 1, errors
    assert own[0].startswith("error: interrupted; finished work is on disk")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_the_winners_training(noise_data: Path, tmp_path: Path, workers: int) -> None:
    words = tune(noise_data, tmp_path / "run", *LONG, "--final-workers", str(workers))
    job = started("--master", "local[2]", *words)
    until(job, "training the winner")
    time.sleep(10)
    job.terminate()
    output, errors = job.communicate(timeout=60)
    assert job.returncode == 143
    assert "go on from their last epoch" not in output
    assert [line for line in errors.splitlines() if not line.startswith("WARNING: Using")] == []
