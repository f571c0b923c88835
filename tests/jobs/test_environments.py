"""Whole jobs in the environments that people have: honoured, overridden with a word, or refused.

Where nothing has to be trained to see it the test is fast; the whole jobs run with --all.
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.images import write_images
from support.jobs import PROXY, Run, clean_environment, one_line, started, tune
from support.no_locks import no_locks
from support.paths import REPOSITORY


def whole(submit: Run, run: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What a job says that goes its whole way, and on stderr nothing of its own."""
    done = submit(*words, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (run / "report.html").exists()
    return done.stdout


def refused(submit: Run, run: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """The one line of a job that is refused with 2; no page of Java stands above it."""
    done = submit(*words, env=env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "\tat " not in done.stderr
    assert not run.exists()
    return one_line(done.stderr)


# Refused at once.


@pytest.mark.parametrize(
    ("options", "env", "expected"),
    [
        (
            ["--conf", "spark.executor.pyspark.memory=1g"],
            {},
            "spark.executor.pyspark.memory must not be set, because it limits virtual memory",
        ),
        (
            ["--conf", "spark.pyspark.python=/nowhere/python"],
            {},
            "spark.pyspark.python must name a Python",
        ),
        pytest.param(
            [],
            {"PYSPARK_PYTHON": "/nowhere/python"},
            "/nowhere/python does not exist or cannot be executed",
            marks=pytest.mark.slow,
        ),
        ([], {"SPARK_HOME": "/nowhere"}, "SPARK_HOME must be a Spark 4.3, but /nowhere has no"),
    ],
    ids=["memory", "python", "PYSPARK_PYTHON", "SPARK_HOME"],
)
def test_what_no_search_works_with_is_refused(
    submit: Run,
    noise_data: Path,
    tmp_path: Path,
    options: list[str],
    env: dict[str, str],
    expected: str,
) -> None:
    run = tmp_path / "run"
    assert expected in refused(submit, run, *options, *tune(noise_data, run), env=env)


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        (["spark.eventLog.enabled=true", "spark.eventLog.dir=/nowhere"], 1, "/nowhere"),
        pytest.param(["spark.task.cpus=64"], 1, "cpus per task = 64", marks=pytest.mark.slow),
    ],
    ids=["event log", "task cpus"],
)
def test_a_session_that_cannot_start_is_one_line(
    submit: Run, noise_data: Path, tmp_path: Path, options: list[str], code: int, expected: str
) -> None:
    words = [word for option in options for word in ("--conf", option)]
    done = submit(*words, *tune(noise_data, tmp_path / "run"))
    assert done.returncode == code
    assert expected in one_line(done.stderr)
    assert "\tat " not in done.stderr
    assert "Exception" not in done.stderr.replace(one_line(done.stderr), "")


@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_as_many_slots_as_cores_that_are_allowed(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    """Spark has one; with two workers it would wait for ever."""
    words = tune(noise_data, tmp_path / "run", "--final-workers", "2")
    done = submit(*words, before=on_one_core())
    assert done.returncode == 2
    assert "must be at most the number of slots, 1, but got 2" in one_line(done.stderr)


def on_one_core() -> list[str]:
    return ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


# Whole jobs.


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_two_workers_train_on_one_core(submit: Run, noise_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--master", "local[2]", *tune(noise_data, run, "--final-workers", "2"))
    done = submit(*words, before=on_one_core())
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((run / "result.json").read_text())["final"]["workers"] == 2


@pytest.mark.slow
def test_workers_reach_each_other_where_there_is_a_proxy(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--master", "local[2]", *tune(noise_data, run, "--final-workers", "2"))
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), PROXY)
    whole(submit, run, *words, env=proxies)
    assert json.loads((run / "result.json").read_text())["final"]["workers"] == 2


@pytest.fixture(scope="module")
def usual(submit: Run, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the usual environment."""
    run = tmp_path_factory.mktemp("usual") / "run"
    assert not whole(submit, run, *tune(noise_data, run)).startswith("KERAS")
    return run


def accuracies(run: Path) -> list[float]:
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    return [result["test"]["accuracy"], *(epoch["loss"] for epoch in result["final"]["epochs"])]


@pytest.mark.slow
def test_a_users_own_keras_changes_nothing(
    submit: Run, usual: Path, noise_data: Path, tmp_path: Path
) -> None:
    run, home = tmp_path / "run", tmp_path / "home"
    (home / ".keras").mkdir(parents=True)
    own = {"backend": "jax", "image_data_format": "channels_first", "floatx": "float16"}
    (home / ".keras" / "keras.json").write_text(json.dumps(own))
    env = {"HOME": str(home), "KERAS_BACKEND": "torch"}
    lines = whole(submit, run, *tune(noise_data, run), env=env).splitlines()
    assert lines[0].startswith("KERAS_BACKEND is torch: ")
    assert [line.partition(" in ")[0] for line in lines[1:3]] == ["image_data_format", "floatx"]
    assert accuracies(run) == pytest.approx(accuracies(usual), abs=1e-5)


@pytest.mark.slow
def test_warnings_that_are_errors_end_no_job(submit: Run, tmp_path: Path) -> None:
    env = {"PYTHONWARNINGS": "error"}
    write_images(tmp_path / "images", {"cats": 30, "dogs": 30})
    data, run = tmp_path / "data", tmp_path / "run"
    words = ("--images", str(tmp_path / "images"), "--out", str(data), "--image-size", "32")
    done = submit("jobs/preprocess.py", *words, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PYTHONWARNINGS is error: ignored")
    given = ("--conf", "spark.executorEnv.PYTHONWARNINGS=error")
    said = whole(submit, run, *given, *tune(data, run), env=env)
    assert "spark.executorEnv.PYTHONWARNINGS is error: ignored, it must be empty" in said
    places = ("--model", run, "--images", tmp_path / "images", "--out", tmp_path / "predictions")
    done = submit("jobs/predict.py", *places, env=env)
    assert done.returncode == 0, done.stderr
    assert "60 classified" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_run_and_data_directories_without_file_locks(submit: Run, tmp_path: Path) -> None:
    place = tmp_path / "place"
    env = no_locks(tmp_path, place, errno.ENOSYS)
    write_images(place / "images", {"cats": 30, "dogs": 30})
    words = ("--images", place / "images", "--out", place / "data", "--image-size", "32")
    done = submit("jobs/preprocess.py", *words, env=env)
    assert done.returncode == 0, done.stderr
    assert "has no file locks (flock): a lease is used instead" in done.stdout
    said = whole(submit, place / "run", *tune(place / "data", place / "run"), env=env)
    assert "has no file locks (flock): a lease is used instead" in said
    assert {path.name for path in place.iterdir()} == {"images", "data", "run"}
    # Of the images as arrays every host has one, which several processes fill.
    cache = ("--cache-dir", str(place / "cache"))
    done = submit(*tune(place / "data", place / "again", *cache), env=env)
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert f"{place}/cache/" in line
    assert "name another place with --cache-dir" in line


@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True], ids=["lines", "table"])
def test_a_search_goes_on_when_nobody_reads_it(
    noise_data: Path, tmp_path: Path, live: bool
) -> None:
    run = tmp_path / "run"
    job = started(*tune(noise_data, run), env={"FORCE_COLOR": "1"} if live else None)
    assert job.stdout is not None
    assert job.stderr is not None
    job.stdout.readline()
    job.stdout.close()
    errors = job.stderr.read()
    assert job.wait(timeout=500) == 0, errors
    assert errors.count("the output has no reader any more; the job continues\n") == 1
    assert "Traceback" not in errors
    assert (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "env",
    [
        {"CUDA_VISIBLE_DEVICES": "-1", "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": ""},
        {"HADOOP_CONF_DIR": "/nowhere", "TMPDIR": "/nowhere"},
    ],
    ids=["locale and GPUs", "directories"],
)
def test_what_is_honoured(
    submit: Run, noise_data: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    run = tmp_path / "run"
    said = whole(submit, run, *tune(noise_data, run), env=env)
    assert ("TMPDIR is /nowhere, which cannot be written to" in said) == ("TMPDIR" in env)


@pytest.mark.slow
def test_a_user_without_a_home_and_an_active_environment(noise_data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    kept = ("JAVA_HOME", "SPARK_SUBMIT_OPTS")
    environment = {k: v for k, v in clean_environment().items() if k in kept}
    if Path(sys.prefix) != REPOSITORY / ".venv":
        environment["VIRTUAL_ENV"] = sys.prefix
    java = Path(shutil.which("java") or "/usr/bin/java").parent
    done = subprocess.run(
        [str(REPOSITORY / "spark-submit.sh"), *tune(noise_data, run)],
        cwd=REPOSITORY,
        env=environment | {"PATH": f"{java}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (run / "report.html").exists()


def can_be_renamed() -> bool:
    """Whether this user may give a process a host name of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_be_renamed(), reason="needs unshare and the right to use it")
def test_a_hosts_name_that_does_not_resolve(submit: Run, noise_data: Path, tmp_path: Path) -> None:
    run, name = tmp_path / "run", "no.such.host.invalid"
    renamed = ("unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh")
    done = submit(*tune(noise_data, run), before=renamed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((run / "trials" / "00000.json").read_text())["host"] == name


@pytest.mark.slow
def test_few_open_files_are_raised_to_what_is_allowed(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    limited = ("bash", "-c", 'ulimit -Sn 128; ulimit -Hn 512; exec "$@"', "bash")
    done = submit(*tune(noise_data, tmp_path / "run"), before=limited)
    assert done.returncode == 0, done.stdout + done.stderr


# Ended from outside.


# What it says of the machine.
