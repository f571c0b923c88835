"""Ended from outside: what is finished is on disk, the exit code says why, nothing else is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import REPOSITORY, Run, clean_environment, one_line

from cnn.results import read_trials
from cnn.storage import Directory


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"]
)
def test_what_was_finished_stays(noise_data: Path, tmp_path: Path, sent: int, code: int) -> None:
    run = tmp_path / "run"
    command = [REPOSITORY / "spark-submit.sh", "jobs/tune.py", "--data", noise_data, "--out", run]
    process = subprocess.Popen(
        [*map(str, command), "--config", "conf/test.toml", "--max-trials", "100"],
        cwd=REPOSITORY,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial 1:"):
            break
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal does
    else:
        process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    if code == 130:
        assert "interrupted" in one_line(errors)
    assert "Traceback" not in errors
    trials = read_trials(Directory(run))
    assert 2 <= len(trials) < 100
    left = {path.name for path in run.iterdir()}
    assert left == {"run.json", "settings.toml", "tensorboard", "trials"}
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert _gone(process.pid)


def _gone(group: int) -> bool:
    """Whether all processes of a group end within 15 s."""
    for _ in range(150):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_run_directory_that_executors_cannot_see_is_refused(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    import pyspark

    # Executors of a local cluster have working directories of their own.
    done = submit(
        *("--master", "local-cluster[1,1,1024]", REPOSITORY / "jobs" / "tune.py"),
        *("--data", noise_data, "--out", "/proc/self/cwd/run", "--max-trials", "1"),
        cwd=tmp_path,
        env={"SPARK_HOME": str(Path(pyspark.__file__).parent)},
    )
    assert done.returncode == 2
    assert "--out must be a directory that every executor can see" in one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []
