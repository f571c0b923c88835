"""pyspark's worker daemon with the framework already imported, so that a trial starts at once.

Spark forks a Python worker from this process for each task. The framework is imported here once an
executor, and only where the tasks' environment asks for it; nothing is computed with it, since
forking after that deadlocks. With it comes what each worker would otherwise import for itself. On
macOS forking an imported framework is not safe: trials import it.

Spark ends a worker that has been idle for too long (`spark.python.worker.killOnIdleTimeout`) with
SIGTERM, which a stopped process does not get to see: the task would never end. On Linux the daemon
kills such a worker.
"""

import contextlib
import os
import signal
import sys
import tempfile
import zipimport
from pathlib import Path
from types import FrameType

from pyspark.daemon import manager

# Set to 1 in the environment of tasks that train.
PRELOAD = "CNN_PRELOAD"
# How often workers are looked at, in seconds.
_LOOK = 5.0


def preload() -> None:
    """Imports the framework; what it has to say of itself is shown only where that fails."""
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            import pyspark.worker  # noqa: F401

            import cnn.model
            import cnn.training
            import cnn.trial  # noqa: F401
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


if __name__ == "__main__":
    if os.environ.get(PRELOAD) == "1" and sys.platform == "linux":
        preload()
    if Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        # A timer and not a thread, since this process forks; workers do not inherit it.
        signal.signal(signal.SIGALRM, kill_deaf_workers)
        signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)
    manager()
