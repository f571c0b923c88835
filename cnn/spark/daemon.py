"""pyspark's worker daemon with the framework already imported, so that a trial starts at once.

Spark forks a Python worker from this process for each task. The framework is imported here once an
executor, and only where the tasks' environment names it; nothing is computed with it, since
forking after that deadlocks. With it comes what each worker would otherwise import for itself. On
macOS forking an imported framework is not safe: trials import it.

Spark ends a worker that has been idle for too long (`spark.python.worker.killOnIdleTimeout`) with
SIGTERM, which a stopped process does not get to see: the task would never end. On Linux the daemon
kills such a worker.
"""

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import zipimport
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from pyspark.daemon import manager

# In the environment of tasks: the modules to import, with commas between them.
PRELOAD = "CNN_PRELOAD"
# How often workers are looked at, in seconds.
_LOOK = 5.0


def preload(modules: Iterable[str]) -> None:
    """Imports what each worker needs; what that has to say is shown only where it fails."""
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
    # A worker has every finder forget what it knows, and those of pyspark's archive read it anew,
    # once for each of its packages: half of the time of a short task, measured.
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            del sys.path_importer_cache[path]


def kill_deaf_workers(_signal: int, _frame: FrameType | None) -> None:
    """Kills the workers that are stopped and have a SIGTERM waiting for them."""
    me = os.getpid()
    for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            status = {key: value for key, _, value in (line.partition(":\t") for line in lines)}
            told = int(status["ShdPnd"], 16) >> (signal.SIGTERM - 1) & 1
            if told and status["State"].startswith("T"):
                os.kill(int(pid), signal.SIGKILL)


def main() -> None:
    """Serves Spark's requests for workers until Spark ends it."""
    named = os.environ.get(PRELOAD, "")
    if named and sys.platform == "linux":
        preload(named.split(","))
    if Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        # A timer and not a thread, since this process forks; workers do not inherit it.
        signal.signal(signal.SIGALRM, kill_deaf_workers)
        signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)
    manager()
