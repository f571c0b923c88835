"""Ended from outside: what is finished is on disk, the exit code says why, nothing else is left."""

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import py4j
import pytest
from support.jobs import Run, clean_environment, one_line, started
from support.paths import REPOSITORY

from cnn.core.calls import Interrupted, one_line_interrupt
from cnn.core.directory import Directory
from cnn.rundir.heartbeat import RUNNING
from cnn.rundir.trials import read_trials

# What py4j logs of an interrupted call, and of its connection, which it closes then.
OF_CALLS = "KeyboardInterrupt while sending command."
OF_CONNECTIONS = "Exception occurred while shutting down connection"
INTERRUPTED = (
    "error: interrupted; finished work is on disk; "
    "resume with: ./spark-submit.sh jobs/tune.py --resume {}"
)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="term", marks=pytest.mark.slow),
    ],
)
def test_what_was_finished_stays(noise_data: Path, tmp_path: Path, sent: int, code: int) -> None:
    run = tmp_path / "run"
    job = ("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    process = started(*job, "--max-trials", "100")
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
        assert one_line(errors) == INTERRUPTED.format(shlex.quote(str(run)))
    assert "Traceback" not in errors
    trials = read_trials(Directory(run))
    assert 2 <= len(trials) < 100
    left = {path.name for path in run.iterdir()}
    # The checkpoints are what trials said of the images that they held out.
    assert left == {"checkpoints", "run.json", "settings.toml", "tensorboard", "trials"}
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert _gone(process.pid)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ctrl_c_twice_stops_at_once(noise_data: Path, tmp_path: Path) -> None:
    # Trials that take long to stop, in a directory whose name a shell must be told exactly.
    run = tmp_path / "it's a  run"
    job = ("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    settings = ("search.epochs=100000", "search.patience=100000", "search.checkpoint_seconds=0")
    process = started(*job, *(f"--set={s}" for s in settings), env={"CNN_TEST": str(run)})
    assert _becomes(lambda: (run / RUNNING).is_dir() and len(list((run / RUNNING).iterdir())))
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.05)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - began < 2
    _, errors = process.communicate(timeout=30)
    said, _, command = one_line(errors).partition("resume with: ")
    assert said == INTERRUPTED.partition("resume with: ")[0]
    assert _becomes(lambda: not _processes_with(f"CNN_TEST={run}"))
    # What the line says to do, as a shell reads it.
    shell = ["bash", "-c", f"printf '%s\\n' {command}"]
    words = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.splitlines()
    assert words[-2:] == ["--resume", str(run)]
    done = subprocess.run(
        [*words, "--timeout", "8"],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"resuming {run}" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (run / RUNNING).exists()
    assert {path.name for path in tmp_path.iterdir()} == {run.name}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_jvm_that_dies_makes_no_trial_a_failure(noise_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    process = started(*command, "--max-trials", "100")
    assert process.stdout is not None
    finished = (line for line in process.stdout if line.startswith("trial "))
    next(finished), next(finished)
    (jvm,) = [p for p in psutil.Process(process.pid).children() if p.name() == "java"]
    jvm.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    # pyspark's own server of accumulators may say with a traceback that its client is gone.
    assert errors.splitlines()[-1].startswith("error: Spark has ended: ")
    statuses = [trial.status for trial in read_trials(Directory(run))]
    assert statuses.count("ok") >= 2
    assert set(statuses) <= {"ok", "cancelled"}


def test_a_jvm_that_is_gone_is_named_between_spark_jobs_too(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(
        "import psutil\n"
        "from pyspark.sql import SparkSession\n"
        "from cnn.core.cli import run_job\n"
        "def main(_):\n"
        "    spark = SparkSession.builder.master('local[1]').getOrCreate()\n"
        "    (jvm,) = [p for p in psutil.Process().children() if p.name() == 'java']\n"
        "    jvm.kill()\n"
        "    jvm.wait()\n"
        "    spark.range(3)\n"
        "run_job(main)\n"
    )
    done = subprocess.run([sys.executable, job], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: Spark failed: Spark's JVM no longer answers ("), done.stderr


def test_a_job_that_cannot_be_resumed_says_no_more(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    work = "lambda _: (print('begun', flush=True), time.sleep(60))"
    job.write_text(f"import time\nfrom cnn.core.cli import run_job\nrun_job({work})\n")
    process = subprocess.Popen(
        [sys.executable, job], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "error: interrupted; finished work is on disk\n"


def _becomes(true: Callable[[], object]) -> bool:
    """Whether something is the case within a minute."""
    for _ in range(600):
        if true():
            return True
        time.sleep(0.1)
    return False


def _processes_with(variable: str) -> list[str]:
    """The processes, zombies left out, that have this in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(folder.name)
    return found


def _gone(group: int) -> bool:
    """Whether all processes of a group end within 15 s."""
    for _ in range(150):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
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


def test_an_interrupted_call_logs_no_traceback_of_py4j(caplog: pytest.LogCaptureFixture) -> None:
    said = "\n".join(file.read_text() for file in Path(py4j.__file__).parent.glob("*.py"))
    # py4j itself must not have changed its words.
    assert OF_CALLS in said
    assert OF_CONNECTIONS in said

    def interrupted() -> None:
        with one_line_interrupt(lambda: "call it again"):
            logging.getLogger().error(OF_CALLS)
            logging.getLogger("py4j.clientserver").error(OF_CONNECTIONS)
            logging.getLogger("py4j.clientserver").error("another error")
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="call it again"):
        interrupted()
    assert caplog.messages == ["another error"]
