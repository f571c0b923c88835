"""pyspark's worker daemon with the framework already imported, so that a trial starts at once.

Spark forks a Python worker from this process for each task. The framework is imported here once per
executor, if the environment of the tasks names it, together with what each worker would otherwise
import itself. The daemon computes nothing with the framework, because a fork after that deadlocks.
On macOS it is not safe to fork after importing the framework: there each trial imports it.

Spark sends SIGTERM to a worker that has been idle for too long
(`spark.python.worker.killOnIdleTimeout`). A stopped process does not receive it, so its task would
never end. On Linux the daemon kills such a worker.
"""

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import zipimport
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from pyspark import daemon

# The environment variable of tasks with the modules to import, separated by commas.
PRELOAD = "CNN_PRELOAD"
# The interval between checks of the workers.
_CHECK_SECONDS = 5.0


def preload(modules: Iterable[str]) -> None:
    """Imports the modules that each worker needs; shows their output only if an import fails."""
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            for name in ("pyspark.worker", *modules):
                importlib.import_module(name)
        except ImportError:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    # A worker invalidates all import caches. The finders of pyspark's archive, one for each of its
    # packages, then read the archive again: half of the time of a short task, as measured.
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[path]


def kill_stopped_workers(_signal: int, _frame: FrameType | None) -> None:
    """Kills the workers that are stopped and have a pending SIGTERM."""
    me = os.getpid()
    for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = {key: value for key, _, value in (line.partition(":\t") for line in lines)}
            pending = int(status["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1
            if pending and status["State"].startswith("T"):
                os.kill(int(pid), signal.SIGKILL)


def quiet_if_orphaned(worker: Callable[..., int]) -> Callable[..., int]:
    """pyspark's worker, which ends without a traceback if the JVM that asked for it is gone.

    Errors of a task itself do not reach this function: the worker sends them to the JVM.
    """

    def run(*arguments: Any) -> int:
        try:
            return worker(*arguments)
        except ConnectionError:
            return 1

    return run


def main() -> None:
    """Serves Spark's requests for workers until Spark ends it."""
    named = os.environ.get(PRELOAD, "")
    if named and sys.platform == "linux":
        preload(named.split(","))
    if Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        # A timer and not a thread, because this process forks; workers do not inherit it.
        signal.signal(signal.SIGALRM, kill_stopped_workers)
        signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)
    daemon.worker = quiet_if_orphaned(daemon.worker)
    daemon.manager()
