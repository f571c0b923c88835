"""pyspark's worker daemon with the framework already imported, so that a trial starts at once.

Spark forks a Python worker from this process for each task. The framework is imported here once an
executor, and only where the tasks' environment asks for it; nothing is computed with it, since
forking after that deadlocks. With it comes what each worker would otherwise import for itself. On
macOS forking an imported framework is not safe: trials import it.
"""

import os
import sys
import tempfile
import zipimport

from pyspark.daemon import manager

# Set to 1 in the environment of tasks that train.
PRELOAD = "CNN_PRELOAD"


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


if __name__ == "__main__":
    if os.environ.get(PRELOAD) == "1" and sys.platform == "linux":
        preload()
    manager()
