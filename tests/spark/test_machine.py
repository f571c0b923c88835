"""What this machine and its environment are, as far as a process can tell before Spark starts."""

import errno
import json
import os
import pty
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.jobs import clean_environment, one_line
from support.no_locks import no_locks
from support.paths import REPOSITORY

from cnn.core.errors import InputError
from cnn.spark import machine, versions
from cnn.spark.machine import has_locks, keras_file, keras_overridden, memory


def python(
    code: str, env: dict[str, str] | None = None, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs code as a job's process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=clean_environment() | (env or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=preexec,
    )


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
    assert done.stdout.startswith(f"TMPDIR is {nowhere}, where nothing can be written: /")
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


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_a_file_system_without_locks_is_known(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", errno.ENOLCK)
    if environment is None:
        pytest.skip("needs cc")
    (tmp_path / "there").mkdir()
    assert has_locks(tmp_path) is True
    assert has_locks(tmp_path / "nowhere") is None
    code = (
        "from pathlib import Path\nfrom cnn.spark.machine import has_locks\n"
        f"place = Path({str(tmp_path)!r})\nprint(has_locks(place), has_locks(place / 'there'))"
    )
    done = python(code, environment)
    assert done.stdout == "True False\n", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
@pytest.mark.parametrize("error", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_file_locks_there_is_a_lease(tmp_path: Path, error: int) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", error)
    if environment is None:
        pytest.skip("needs cc")
    code = (
        "import os\nfrom cnn.core.lock import held\nfrom cnn.core.directory import Directory\n"
        "from cnn.core.errors import InputError\n"
        f"run = Directory({str(tmp_path / 'there' / 'run')!r})\n"
        "with held(run, InputError('taken')):\n    print(os.listdir(run.local_path.parent))"
    )
    done = python(code, environment)
    said, listed = done.stdout.splitlines()
    assert "has no file locks (flock): a lease keeps a second writer out, best effort" in said
    assert listed == "['.run.lease']"
    assert list((tmp_path / "there").iterdir()) == []


# It is renewed every 20 s; whoever comes waits to see it change.
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_without_file_locks_a_lease_keeps_a_second_writer_out(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "there", errno.ENOSYS)
    if environment is None:
        pytest.skip("needs cc")
    code = (
        "import sys\nfrom cnn.core.lock import held\nfrom cnn.core.directory import Directory\n"
        "from cnn.core.errors import InputError\n"
        f"with held(Directory({str(tmp_path / 'there' / 'run')!r}), InputError('taken')):\n"
        "    print('held', flush=True)\n    sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code],
        env=clean_environment() | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert first.stdout is not None
    said = first.stdout.readline()
    assert "has no file locks (flock): a lease keeps a second writer out" in said
    assert first.stdout.readline() == "held\n"
    second = python(code, environment)
    assert "InputError: taken" in second.stderr.splitlines()[-1]
    first.communicate("", timeout=30)
    assert first.returncode == 0
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc")
def test_a_cache_without_file_locks_is_refused_by_name(tmp_path: Path) -> None:
    environment = no_locks(tmp_path, tmp_path / "cache", errno.ENOSYS)
    if environment is None:
        pytest.skip("needs cc")
    code = (
        "from cnn.data.host_cache import Cache\nfrom cnn.core.cli import run_job\n"
        "from cnn.settings.schema import CacheSettings\n"
        f"cache = Cache(CacheSettings(dir={str(tmp_path / 'cache')!r}))\n"
        "build = dict(size=1, build=lambda folder: None, check=lambda folder: True)\n"
        "run_job(lambda _: cache.open('entry', **build))"
    )
    done = python(code, environment)
    assert done.returncode == 1
    line = one_line(done.stderr)
    assert str(tmp_path / "cache") in line
    assert line.endswith("has none; name another place with --cache-dir")


PRINTS = """
import time
from cnn.core.cli import run_job

def main(arguments):
    for number in range(50):
        print(number, flush=True)
        time.sleep(0.01)
    open(arguments[0], "w").close()

run_job(main)
"""
DRAWS = """
import time
from rich.live import Live
from cnn.core.cli import run_job

def main(arguments):
    with Live("", refresh_per_second=50) as live:
        for number in range(50):
            live.update(str(number))
            time.sleep(0.02)
    open(arguments[0], "w").close()

run_job(main)
"""


@pytest.mark.parametrize(
    ("ends", "code", "env"),
    [
        (os.pipe, PRINTS, {"FORCE_COLOR": "1"}),
        (os.pipe, DRAWS, {"FORCE_COLOR": "1"}),
        (pty.openpty, DRAWS, {"TERM": "xterm"}),
    ],
    ids=["lines", "table", "terminal"],
)
def test_a_job_goes_on_when_nobody_reads_it(
    tmp_path: Path, ends: Callable[[], tuple[int, int]], code: str, env: dict[str, str]
) -> None:
    done_file = tmp_path / "done"
    ours, theirs = ends()
    job = subprocess.Popen(
        [sys.executable, "-c", code, done_file],
        env=clean_environment() | env,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(theirs)
    os.read(ours, 1)
    os.close(ours)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 0, errors
    assert errors == "nobody reads the output any more; the job goes on\n"
    assert done_file.exists()


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
        ("3.5.1", "Spark must be 4.3, as pyspark is, but SPARK_HOME, {}, is Spark 3.5.1"),
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
    assert f"pyspark must be 4.3, but PYTHONPATH has 3.4.1 first, in {tmp_path}/pyspark" in line


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
        (f"echo {sys.version_info[0]} {sys.version_info[1]} keras", "has no keras"),
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
    with pytest.raises(InputError, match=r"has no .*keras, tensorflow"):
        versions.check_python(str(bare / "bin" / "python"), "spark.pyspark.python")
    with pytest.raises(InputError, match="/nowhere/python is not there or cannot be executed"):
        versions.check_python("/nowhere/python", "spark.pyspark.python")
    versions.check_python(sys.executable, "PYSPARK_PYTHON")


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
    assert lines[-1].endswith(f"the whole is in {log}")
    assert [line[4:] for line in lines[:-1]] == log.read_text().splitlines()[-10:]
    assert "TOML" in log.read_text()
