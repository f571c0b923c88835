"""./spark-submit.sh check: what it shows of the machine, and what is unusual about it."""

from pathlib import Path

import pytest
from support.images import write_images
from support.jobs import PROXY, Run, one_line, preprocess


@pytest.mark.slow
def test_check_says_what_there_is(submit: Run, tmp_path: Path) -> None:
    env = {"https_proxy": PROXY, "HOME": str(tmp_path)}
    done = submit("--master", "local[2]", "check", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["slots"] == "2 on 1 executor, 2 cores each, 1 per task"
    assert rows["proxies"] == "https_proxy 127.0.0.1:9"
    assert rows["Keras"].endswith(" on tensorflow, channels_last")
    assert rows["Spark"].endswith(", local[2]")
    assert done.stdout.endswith("all is well\n")
    assert "secret" not in done.stdout


@pytest.mark.slow
def test_check_says_what_is_unusual(submit: Run, tmp_path: Path) -> None:
    env = {"KERAS_BACKEND": "jax", "HOME": str(tmp_path)}
    options = ("--master", "local[2,3]", "--conf", "spark.speculation=true")
    done = submit(*options, "check", env=env)
    assert done.returncode == 2
    unusual = [line for line in done.stdout.splitlines() if line.startswith("unusual: ")]
    assert [line.split()[1] for line in unusual] == ["KERAS_BACKEND", "spark.speculation", "a"]
    assert done.stderr.count("error: ") == 0


def test_check_without_java(submit: Run, tmp_path: Path) -> None:
    env = {"JAVA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = submit("check", env=env)
    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith("unusual: Java must be 17 or newer")
    assert "Traceback" not in done.stderr


def test_nothing_is_said_where_nothing_is_unusual(submit: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"cats": 30, "dogs": 30})
    data = preprocess(submit, tmp_path)
    done = submit("jobs/preprocess.py", "--images", tmp_path / "images", "--out", data)
    assert done.stdout == ""
    assert "--out must not exist without --overwrite" in one_line(done.stderr)
