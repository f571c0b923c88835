"""What this machine and its environment are, as far as a process can tell before Spark starts."""

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.jobs import one_line, python

from cnn.spark import machine
from cnn.spark.machine import keras_file, keras_overridden, memory


def keras_home(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a user who has set Keras to something."""
    (folder / ".keras").mkdir(parents=True)
    (folder / ".keras" / "keras.json").write_text(json.dumps(settings))
    return {"HOME": str(folder)}


@pytest.mark.parametrize(
    ("settings", "variable", "expected"),
    [
        ({}, None, []),
        ({"backend": "tensorflow", "image_data_format": "channels_last"}, None, []),
        ({"backend": "jax"}, None, ["backend in {} is jax"]),
        ({"backend": "jax"}, "tensorflow", []),
        ({"backend": "tensorflow"}, "torch", ["KERAS_BACKEND is torch"]),
        (
            {"image_data_format": "channels_first", "floatx": "float16"},
            None,
            ["image_data_format in {} is channels_first", "floatx in {} is float16"],
        ),
    ],
)
def test_what_of_a_users_keras_is_overridden(
    tmp_path: Path, settings: dict[str, str], variable: str | None, expected: list[str]
) -> None:
    environment = keras_home(tmp_path, **settings)
    if variable is not None:
        environment["KERAS_BACKEND"] = variable
    lines = list(keras_overridden(environment))
    path = tmp_path / ".keras" / "keras.json"
    assert [line.partition(":")[0] for line in lines] == [e.format(path) for e in expected]


def test_the_file_is_the_one_that_keras_reads(tmp_path: Path) -> None:
    """In a process of its own, since Keras reads it once."""
    environment = keras_home(tmp_path, floatx="float64")
    done = python("import keras; print(keras.config.floatx())", environment)
    assert done.stdout == "float64\n", done.stderr
    for known in (environment, {"KERAS_HOME": str(tmp_path / ".keras")}):
        assert keras_file(known)[1]["floatx"] == "float64"


def test_a_damaged_file_of_keras_is_passed_over(tmp_path: Path) -> None:
    keras_home(tmp_path)
    (tmp_path / ".keras" / "keras.json").write_text("[1")
    assert list(keras_overridden({"HOME": str(tmp_path)})) == []


def test_nothing_is_unusual_where_nothing_is_set(tmp_path: Path) -> None:
    assert list(machine.unusual({"HOME": str(tmp_path)})) == []


def test_a_temporary_directory_that_does_not_exist_is_said(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    code = "from cnn.spark.machine import prepare; prepare()"
    done = python(code, {"TMPDIR": nowhere, "HOME": str(tmp_path)})
    assert done.stdout.startswith(f"TMPDIR is {nowhere}, which cannot be written to: /")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize("told", ["error", "default,error::DeprecationWarning"])
def test_warnings_are_no_errors_once_a_job_has_begun(tmp_path: Path, told: str) -> None:
    code = (
        "import os, warnings\nfrom cnn.spark.machine import prepare\nprepare()\n"
        "warnings.warn('w', DeprecationWarning)\nwarnings.warn('w', UserWarning)\n"
        "print('PYTHONWARNINGS' in os.environ)"
    )
    done = python(code, {"PYTHONWARNINGS": told, "HOME": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"PYTHONWARNINGS is {told}: ignored")
    assert done.stdout.splitlines()[1:] == ["False"]
    assert python("pass", {"PYTHONWARNINGS": "ignore"}).stdout == ""


def limit_files(soft: int, hard: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_limit_of_open_files_is_raised_as_far_as_it_may(tmp_path: Path) -> None:
    code = "from cnn.spark import machine; machine.prepare(); print(machine.open_files())"
    done = python(code, {"HOME": str(tmp_path)}, limit_files(300, 4000))
    assert done.stdout == "(4000, 4000)\n", done.stderr


def test_too_few_open_files_are_refused() -> None:
    code = (
        "from cnn.core import cli; from cnn.spark import machine; "
        "cli.run_job(lambda _: machine.prepare())"
    )
    done = python(code, preexec=limit_files(256, 256))
    assert done.returncode == 2
    assert one_line(done.stderr).startswith(
        f"error: `ulimit -n` must be {machine.FEWEST_FILES} or more"
    )


def test_the_memory_of_this_machine() -> None:
    total, free, limit = memory()
    if sys.platform != "linux":
        assert (total, free, limit) == (None, None, None)
        return
    assert total is not None
    assert free is not None
    assert 0 < free < total
    assert limit is None or 0 < limit < total
