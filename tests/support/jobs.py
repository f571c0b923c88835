"""Jobs as a user runs them, and what they say."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from support.paths import REPOSITORY

# A JVM that lives for seconds spends much of them on its best compiler.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
Run = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment() -> dict[str, str]:
    """The environment of a user who has configured nothing of Spark."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    return {**kept, "VIRTUAL_ENV": sys.prefix, "PATH": path, "SPARK_SUBMIT_OPTS": SHORT_LIVED}


def preprocess(submit: Run, root: Path, *more: str) -> Path:
    """Makes ROOT/data, 32x32, of ROOT/images."""
    arguments = ("--images", root / "images", "--out", root / "data", "--image-size", "32")
    done = submit("jobs/preprocess.py", *arguments, *more)
    assert done.returncode == 0, done.stderr
    return root / "data"


def started(
    *words: str | Path,
    env: dict[str, str] | None = None,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[str]:
    """A job that runs while the test goes on, in a process group of its own as in a shell."""
    return subprocess.Popen(
        [str(REPOSITORY / "spark-submit.sh"), *map(str, words)],
        cwd=REPOSITORY,
        env=clean_environment() | (env or {}),
        stdout=stdout,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def one_line(text: str) -> str:
    """The error line of a job's stderr, of which there must be exactly one and no traceback."""
    lines: Sequence[str] = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


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


# The smallest search.
TEST_SEARCH = ("--config", "conf/test.toml", "--max-trials", "1")
# A proxy that answers nobody.
PROXY = "http://someone:secret@127.0.0.1:9"


def tune(data: Path, run: Path, *more: str) -> list[str]:
    return ["jobs/tune.py", "--data", str(data), "--out", str(run), *TEST_SEARCH, *more]
