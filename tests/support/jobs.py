"""Jobs as a user runs them, and what they say."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

# A JVM that lives for seconds spends much of them on its best compiler.
SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
Run = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment() -> dict[str, str]:
    """The environment of a user who has configured nothing of Spark."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    return {**kept, "VIRTUAL_ENV": sys.prefix, "PATH": path, "SPARK_SUBMIT_OPTS": SHORT_LIVED}


def preprocess(submit: Run, root: Path) -> Path:
    """Makes ROOT/data, 32x32, of ROOT/images."""
    arguments = ("--images", root / "images", "--out", root / "data", "--image-size", "32")
    done = submit("jobs/preprocess.py", *arguments)
    assert done.returncode == 0, done.stderr
    return root / "data"


def one_line(text: str) -> str:
    """The error line of a job's stderr, of which there must be exactly one and no traceback."""
    lines: Sequence[str] = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]
