"""Spark standalone on loopback: a Master, two Workers, executors that inherit no path of ours."""

import json
import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.cluster import SPARK_HOME, Cluster, standalone
from support.gpu_search import search
from support.images import write_images
from support.jobs import Run, clean_environment
from support.paths import REPOSITORY

from cnn.core.directory import Directory
from cnn.rundir.trials import read_trials

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
# As a shell has it in which nothing of ours is on a path.
ENVIRONMENT = {"PYTHONPATH": "", "SPARK_LOCAL_IP": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("standalone")) as running:
        yield running


def tune(data: Path, run: Path) -> tuple[str | Path, ...]:
    words = ("--data", data, "--out", run, "--config", REPOSITORY / "conf" / "test.toml")
    return (*words, "--set", "final.epochs=1")


def start(cluster: Cluster, *words: str | Path, stdout: int = subprocess.DEVNULL) -> Any:
    """A job that goes on by itself; its process."""
    return subprocess.Popen(
        [str(REPOSITORY / "spark-submit.sh"), "--master", cluster.url, *map(str, words)],
        cwd=REPOSITORY,
        env=clean_environment() | ENVIRONMENT,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def applications(cluster: Cluster) -> list[dict[str, Any]]:
    """Finished applications, as the Master's page lists them."""
    with urllib.request.urlopen(f"{cluster.ui}/json/") as answer:
        found: list[dict[str, Any]] = json.load(answer)["completedapps"]
    return found


def workers_of(cluster: Cluster, application: str) -> list[str]:
    """The Workers that ran executors of an application."""
    return sorted(
        path.parent.parent.name for path in cluster.root.glob(f"worker-*/{application}/*")
    )


def test_the_whole_path_on_two_workers(submit: Run, cluster: Cluster, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", {"cats": 40, "dogs": 40})
    data, run, predicted = tmp_path / "data", tmp_path / "run", tmp_path / "predictions"
    halving = ("--set", "search.halving=true", "--max-trials", "4", "--final-workers", "2")
    jobs: list[tuple[str | Path, ...]] = [
        ("jobs/preprocess.py", "--images", images, "--out", data, "--image-size", "32"),
        ("jobs/tune.py", *tune(data, run), *halving),
        ("jobs/predict.py", "--model", run, "--images", images, "--out", predicted),
    ]
    for job in jobs:
        done = submit("--master", cluster.url, *job, env=ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "spawned" not in done.stdout
    trials = read_trials(Directory(run))
    assert len(trials) == 4
    assert {trial.status for trial in trials} <= {"ok", "pruned"}
    # As many at a time as there are slots: both Workers' executors were waited for.
    assert max(overlapping(trial, trials) for trial in trials) == 2
    assert json.loads((run / "result.json").read_text())["final"]["workers"] == 2
    assert list((predicted / "predictions").glob("*.parquet"))
    ran = [each["id"] for each in applications(cluster)]
    assert len(ran) == 3
    assert [workers_of(cluster, one) for one in ran] == [["worker-0", "worker-1"]] * 3


def overlapping(trial: Any, trials: Sequence[Any]) -> int:
    """How many trials were under way when one began, itself included."""
    return sum(other.started <= trial.started < other.ended for other in trials)


@pytest.mark.slow
def test_a_driver_that_died_is_resumed(
    submit: Run, cluster: Cluster, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = start(cluster, "jobs/tune.py", *tune(noise_data, run), "--max-trials", "6")
    while process.poll() is None and len(list((run / "trials").glob("*.json"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    before = {path: path.read_bytes() for path in (run / "trials").glob("*.json")}
    done = submit("--master", cluster.url, "jobs/tune.py", "--resume", run, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(read_trials(Directory(run))) == 6


@pytest.mark.slow
def test_more_than_a_worker_has_is_said_rather_than_waited_for_in_silence(
    cluster: Cluster, noise_data: Path, tmp_path: Path
) -> None:
    words = ("jobs/tune.py", *tune(noise_data, tmp_path / "run"))
    memory = ("--conf", "spark.executor.memory=9g")
    process = start(cluster, *memory, *words, stdout=subprocess.PIPE)
    said = next(line for line in process.stdout if line.startswith("waiting for executors"))
    assert "spark.executor.memory" in said
    process.terminate()
    process.wait()


@pytest.mark.slow
def test_a_worker_that_joins_gets_trials(
    cluster: Cluster, noise_data: Path, tmp_path: Path
) -> None:
    cluster.kill_worker(1)
    run = tmp_path / "run"
    words = (*tune(noise_data, run), "--max-trials", "60", "--set", "search.strategy=random")
    process = start(cluster, "jobs/tune.py", *words)
    while process.poll() is None and len(list((run / "trials").glob("*.json"))) < 2:
        time.sleep(0.01)
    cluster.add_workers(1)
    assert process.wait() == 0
    trials = read_trials(Directory(run))
    assert overlapping(trials[1], trials) == 1
    assert max(overlapping(trial, trials) for trial in trials) == 2


@pytest.mark.slow
def test_trials_get_the_gpus_that_a_discovery_script_names(tmp_path: Path) -> None:
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["3", "5"]}'\n""")
    script.chmod(0o755)
    gpus = "spark.worker.resource.gpu"
    properties = {f"{gpus}.amount": "2", f"{gpus}.discoveryScript": str(script)}
    conf = {"spark.executor.resource.gpu.amount": "2", "spark.task.resource.gpu.amount": "1"}
    with standalone(tmp_path, workers=1, cores=4, properties=properties) as cluster:
        seen = search(cluster.url, conf)
        assert seen.slots == 2
        assert seen.gpus() == {"3", "5"}
        assert seen.together() == 1


@pytest.mark.slow
def test_the_package_comes_as_a_zip_alone(
    submit: Run, cluster: Cluster, noise_data: Path, tmp_path: Path
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
        *("--master", cluster.url, "--py-files", archive),
        *("--conf", f"spark.pyspark.python={python}"),
        *("--conf", f"spark.pyspark.driver.python={sys.executable}"),
        "jobs/tune.py",
        *tune(noise_data, tmp_path / "run"),
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trials are spawned" in done.stdout
    assert [trial.status for trial in read_trials(Directory(tmp_path / "run"))] == ["ok", "ok"]
