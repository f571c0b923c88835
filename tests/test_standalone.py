"""Spark standalone on loopback: a Master, a Worker, and executors that inherit no paths of ours."""

import os
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyspark
import pytest
from conftest import REPOSITORY, Run, clean_environment

from cnn.results import read_trials
from cnn.storage import Directory

SPARK_HOME = Path(pyspark.__file__).parent


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a cluster of one worker with two cores."""
    root = tmp_path_factory.mktemp("standalone")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"spark://127.0.0.1:{port}"
    environment = clean_environment() | {"SPARK_LOCAL_IP": "127.0.0.1"}
    environment.pop("PYTHONPATH", None)
    environment |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_MASTER_OPTS": "", "PYTHONUNBUFFERED": "1"}
    host = ("--host", "127.0.0.1", "--webui-port", "0")
    commands = [
        ("Master", *host, "--port", str(port)),
        ("Worker", *host, "--cores", "2", "--memory", "2g", "--work-dir", str(root / "work"), url),
    ]
    processes = []
    for name, *arguments in commands:
        log = (root / f"{name}.log").open("w")
        command = [SPARK_HOME / "bin" / "spark-class", f"org.apache.spark.deploy.{name.lower()}"]
        command[-1] = f"{command[-1]}.{name}"
        processes.append(
            subprocess.Popen(
                [*map(str, command), *arguments],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=root,
            )
        )
        _wait_for(root / f"{name}.log", "started" if name == "Master" else "registered with master")
    yield url
    for process in processes:
        process.terminate()
        process.wait()


def _wait_for(log: Path, text: str) -> None:
    for _ in range(600):
        if text in log.read_text().lower():
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


def tune(data: Path, run: Path) -> tuple[str | Path, ...]:
    words = ("--data", data, "--out", run, "--config", REPOSITORY / "conf" / "test.toml")
    return (*words, "--set", "final.epochs=1")


@pytest.mark.slow
def test_the_package_is_installed_on_the_workers(
    submit: Run, master: str, noise_data: Path, tmp_path: Path
) -> None:
    done = submit(
        *("--master", master, "jobs/tune.py"),
        *tune(noise_data, tmp_path / "run"),
        env={"PYTHONPATH": "", "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "spawned" not in done.stdout
    assert [trial.status for trial in read_trials(Directory(tmp_path / "run"))] == ["ok", "ok"]


@pytest.mark.slow
def test_the_package_comes_as_a_zip_alone(
    submit: Run, master: str, noise_data: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "cnn.zip"
    with zipfile.ZipFile(archive, "w") as package:
        for path in (REPOSITORY / "cnn").rglob("*.py"):
            package.write(path, path.relative_to(REPOSITORY))
    # An interpreter with all that is installed but this package: -S leaves out editable ones.
    python = tmp_path / "python"
    site = SPARK_HOME.parent
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="{site}:$PYTHONPATH" exec "{sys.executable}" -S "$@"\n'
    )
    python.chmod(0o755)
    probe = [str(python), "-c", "import cnn"]
    found = subprocess.run(probe, cwd=tmp_path, env={"PATH": os.environ["PATH"]}, check=False)
    assert found.returncode != 0, "the interpreter of the executors must not have the package"
    done = submit(
        *("--master", master, "--py-files", archive),
        *("--conf", f"spark.pyspark.python={python}"),
        *("--conf", f"spark.pyspark.driver.python={sys.executable}"),
        "jobs/tune.py",
        *tune(noise_data, tmp_path / "run"),
        env={"PYTHONPATH": "", "SPARK_LOCAL_IP": "127.0.0.1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trials are spawned" in done.stdout
    assert [trial.status for trial in read_trials(Directory(tmp_path / "run"))] == ["ok", "ok"]
