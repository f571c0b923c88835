"""A job whose output nobody reads any more goes on."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.jobs import clean_environment

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
    assert errors == "the output has no reader any more; the job continues\n"
    assert done_file.exists()
