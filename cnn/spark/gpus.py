"""The GPUs and the number of threads that a trial may use, set before TensorFlow reads them.

On a cluster Spark assigns GPUs to a task. In local mode Spark cannot: there a trial leases one, by
a lock that the system releases when its process dies.
"""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyspark import TaskContext

from cnn.core.directory import make_private
from cnn.core.errors import Error
from cnn.core.lock import Locked, NoLocks, file_lock

VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 0.05


def local_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The GPUs of this machine that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return ()
    inherited = _inherited(environment)
    return tuple(listed) if inherited is None else inherited


def gpus_of_task() -> tuple[str, ...] | None:
    """The GPUs that Spark has assigned to the calling task, or None if it assigns none.

    Spark's addresses are indices into the devices that the executor sees.
    """
    context = TaskContext.get()
    given = context.resources().get("gpu") if context else None
    if given is None:
        return None
    inherited = _inherited(os.environ)
    if inherited is None:
        return tuple(given.addresses)
    return tuple(
        inherited[int(address)] if address.isdigit() and int(address) < len(inherited) else address
        for address in given.addresses
    )


def _inherited(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """The devices in an inherited CUDA_VISIBLE_DEVICES, up to the first invalid one, as in CUDA."""
    text = environment.get(VISIBLE)
    if text is None:
        return None
    devices = []
    for name in text.split(","):
        if not name.strip() or name.strip().startswith("-"):
            break
        devices.append(name.strip())
    return tuple(devices)


@contextmanager
def lease(gpus: Sequence[str], trials_per_gpu: int, folder: Path | None = None) -> Iterator[str]:
    """Leases one of `gpus`, each of which at most `trials_per_gpu` processes of this user hold.

    Waits until one is free. The GPUs with the fewest holders are tried first.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"cnn-gpus-{os.getuid()}"
    if not make_private(folder):
        raise Error(
            "the directory of locks on GPUs must be one that only this user can write to, but "
            f"{folder} is not; set TMPDIR to another directory"
        )
    while True:
        for place in range(trials_per_gpu):
            for gpu in gpus:
                try:
                    with file_lock(folder / f"{gpu}.{place}.lock", wait=False):
                        yield gpu
                        return
                except Locked:
                    continue
                except NoLocks:
                    raise Error(
                        "the directory of locks on GPUs must be on a file system with file locks "
                        f"(flock), but that of {folder} has none; set TMPDIR to another directory"
                    ) from None
        time.sleep(_POLL_SECONDS)


def environment_for(threads: int | None, gpus: Sequence[str] | None) -> dict[str, str]:
    """Variables that limit TensorFlow to its share; it reads them when it first computes.

    None means no limit of `threads`, and that no `gpus` were assigned.
    """
    environment: dict[str, str] = {}
    if threads is not None:
        environment |= {
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_NUM_INTEROP_THREADS": "1",
            "OMP_NUM_THREADS": str(threads),
        }
    if gpus is not None:
        environment |= {
            VISIBLE: ",".join(gpus),
            # Allocate memory as it is needed, not all of it at once.
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
    return environment
