"""Help and installation: what ./spark-submit.sh does before a job begins."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.jobs import clean_environment, python
from support.paths import REPOSITORY


@pytest.mark.parametrize("job", ["jobs/preprocess.py", "jobs/tune.py", "jobs/predict.py"])
def test_a_jobs_help_imports_neither_spark_nor_what_draws(job: str) -> None:
    code = (
        f"import runpy, sys\nsys.argv = [{job!r}, '--help']\n"
        f"try:\n    runpy.run_path({job!r}, run_name='__main__')\n"
        "except SystemExit as error:\n    assert not error.code\n"
        "heavy = ('pyspark', 'py4j', 'rich', 'pandas', 'hyperopt', 'tensorflow', 'sklearn')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = python(code)
    assert done.stdout.startswith("usage: ")
    assert done.stderr == "[]\n"


def test_usage_needs_neither_java_nor_an_installation(tmp_path: Path) -> None:
    """A copy of the script alone, where nothing is installed and only the system's tools are."""
    script = tmp_path / "spark-submit.sh"
    script.write_bytes((REPOSITORY / "spark-submit.sh").read_bytes())
    for flag in ("--help", "-h"):
        done = subprocess.run(
            ["bash", script, flag],
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: ./spark-submit.sh")
        assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["spark-submit.sh"]


def test_an_installation_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    """What is to be installed is not there."""
    for name in ("spark-submit.sh", "constraints.txt"):
        (tmp_path / name).write_bytes((REPOSITORY / name).read_bytes())
    (tmp_path / "pyproject.toml").write_text("no TOML\n")
    environment = {k: v for k, v in clean_environment().items() if k != "VIRTUAL_ENV"}
    done = subprocess.run(
        ["bash", tmp_path / "spark-submit.sh", "jobs/tune.py"],
        env=environment | {"PYTHON": sys.executable, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    log = tmp_path / ".venv" / "install.log"
    assert done.returncode == 1
    first, *lines = done.stderr.splitlines()
    assert first == (
        "installing into .venv: TensorFlow, Spark and others, about 3 GB; usually 2 to 5 minutes;"
        " log: .venv/install.log"
    )
    assert lines[-1].endswith(f"the whole log is {log}")
    assert [line[4:] for line in lines[:-1]] == log.read_text().splitlines()[-10:]
    assert "TOML" in log.read_text()
