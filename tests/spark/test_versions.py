"""Versions that must agree: of Spark, of pyspark, and of executors' Python."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import one_line, python

from cnn.core.errors import InputError
from cnn.spark import versions


def other_spark(folder: Path, version: str) -> Path:
    """What a Spark distribution is known by."""
    for name in ("jars", "bin"):
        (folder / name).mkdir(parents=True)
    (folder / "jars" / f"spark-core_2.13-{version}.jar").touch()
    (folder / "bin" / "spark-submit").touch()
    return folder


@pytest.mark.parametrize(
    ("version", "refusal"),
    [
        ("4.3.7", None),
        ("3.5.1", "Spark must be 4.3, like pyspark, but SPARK_HOME, {}, is Spark 3.5.1"),
        ("4.4.0-SNAPSHOT", "but SPARK_HOME, {}, is Spark 4.4.0-SNAPSHOT"),
        (None, "SPARK_HOME must be a Spark 4.3, but {} has no Spark"),
    ],
)
def test_a_spark_of_another_version(tmp_path: Path, version: str | None, refusal: str) -> None:
    home = other_spark(tmp_path / "spark", version) if version else tmp_path
    if refusal is None:
        versions.check_spark({"SPARK_HOME": str(home)})
        return
    with pytest.raises(InputError) as refused:
        versions.check_spark({"SPARK_HOME": str(home)})
    assert refusal.format(home) in str(refused.value)


def test_another_pyspark_first_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "pyspark").mkdir()
    (tmp_path / "pyspark" / "__init__.py").write_text("raise ImportError('not for this Python')")
    (tmp_path / "pyspark" / "version.py").write_text('__version__: str = "3.4.1"\n')
    done = python(
        "import sys; sys.argv[0] = 'jobs/tune.py'\n"
        "import runpy; runpy.run_path('jobs/tune.py', run_name='__main__')",
        {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert f"pyspark must be 4.3, but PYTHONPATH provides 3.4.1, in {tmp_path}/pyspark" in line


def interpreter(folder: Path, says: str) -> str:
    """A program that stands for a Python and answers whatever it is asked."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{says}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("says", "refusal"),
    [
        ("echo 3 8", "is Python 3.8"),
        (f"echo {sys.version_info[0]} {sys.version_info[1]}", None),
        (f"echo {sys.version_info[0]} {sys.version_info[1]} keras", "lacks keras"),
        ("echo broken >&2; exit 1", "cannot be started: broken"),
    ],
)
def test_executors_python_must_be_able_to_run_trials(
    tmp_path: Path, says: str, refusal: str | None
) -> None:
    program = interpreter(tmp_path, says)
    if refusal is None:
        versions.check_python(program, "PYSPARK_PYTHON")
        return
    with pytest.raises(InputError) as refused:
        versions.check_python(program, "PYSPARK_PYTHON")
    assert str(refused.value).startswith("PYSPARK_PYTHON must name a Python ")
    assert str(refused.value).endswith(f"but {program} {refusal}")


def test_a_python_without_the_package_and_one_that_is_not_there(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(InputError, match=r"lacks .*keras, tensorflow"):
        versions.check_python(str(bare / "bin" / "python"), "spark.pyspark.python")
    with pytest.raises(InputError, match="/nowhere/python does not exist or cannot be executed"):
        versions.check_python("/nowhere/python", "spark.pyspark.python")
    versions.check_python(sys.executable, "PYSPARK_PYTHON")
