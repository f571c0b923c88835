"""Jobs whose driver is killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support.jobs import started
from support.processes import descendants


def kill_after(arguments: list[str], seconds: float) -> None:
    """Kills a job's driver after some time; returns when all that it had started is gone."""
    until = time.monotonic() + seconds
    kill_when(arguments, lambda: time.monotonic() >= until)


def kill_when(arguments: list[str], ready: Callable[[], bool]) -> None:
    """Starts a job and kills its driver; returns when all that it had started is gone."""
    devnull = subprocess.DEVNULL
    process = started(*arguments, stdout=devnull, stderr=devnull)
    while not ready() and process.poll() is None:
        time.sleep(0.005)
    begun = list(descendants(process.pid))
    # The driver is a JVM and the Python process in it; what it has started is to notice by itself.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in begun):
            return
        time.sleep(0.1)
    left = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in begun if _exists(pid)]
    raise AssertionError(f"still there 10 s after their driver: {left}")


def _exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
