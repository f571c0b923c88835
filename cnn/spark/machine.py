"""Checks of the machine before Spark starts.

Imports only the standard library, because it runs before everything else. A job prints a line for
whatever is unusual or what it overrides, and refuses what no job can work with.
"""

import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnn.core.console import plain
from cnn.core.errors import InputError
from cnn.spark.versions import check_spark

# Spark's JVM keeps hundreds of files open and fails below the first limit. No job needs more than
# the second; it is bounded because some programs close every file descriptor that might be open.
FEWEST_FILES, _MOST_FILES = 512, 65536
# The memory of a driver's JVM, TensorFlow and one small trial, and the disk space of a small run.
_LEAST_MEMORY, _LEAST_DISK = 2 << 30, 1 << 30
_CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
# Keras's settings in trials, whatever the user's own are.
KERAS = {"backend": "tensorflow", "image_data_format": "channels_last", "floatx": "float32"}


def prepare(*, quiet: bool = False) -> None:
    """Prepares this process and those that it starts; the first call of every job.

    Unless `quiet`, prints a line for whatever is unusual. Raises InputError for what no job can
    work with.
    """
    for line in () if quiet else unusual():
        print(plain(line), flush=True)
    check_spark()
    raise_open_files()
    if warnings_are_errors():
        ignore_warnings_as_errors()


def unusual(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A line for whatever is unusual on this machine, with its consequence."""
    yield from keras_overridden(environment)
    if warnings_are_errors(environment):
        yield (
            f"PYTHONWARNINGS is {environment.get('PYTHONWARNINGS', 'error')}: ignored, because a "
            "library's warning must not end a search"
        )
    temporary, named = Path(tempfile.gettempdir()), environment.get("TMPDIR")
    if named and Path(named).absolute() != temporary.absolute():
        yield f"TMPDIR is {named}, which cannot be written to: {temporary} is used instead"
    free = free_space(temporary)
    if free is not None and free < _LEAST_DISK:
        yield f"{temporary} has only {size(free)} free for a job's images and Spark's data"
    if has_locks(temporary) is False:
        yield (
            f"{temporary} is on a file system without file locks (flock), which the cache of "
            "images needs: choose another directory with --cache-dir"
        )
    available = memory()[1]
    if available is not None and available < _LEAST_MEMORY:
        yield f"only {size(available)} of memory is free: trials may run out of it and be killed"
    if sys.getfilesystemencoding().lower() not in {"utf-8", "utf8"}:
        yield (
            f"the locale's encoding is {sys.getfilesystemencoding()}: file names may be displayed "
            "incorrectly; set LANG=C.UTF-8"
        )


def keras_overridden(environment: Mapping[str, str] = os.environ) -> Iterator[str]:
    """A line for each of the user's Keras settings that trials ignore."""
    path, found = keras_file(environment)
    if environment.get("KERAS_BACKEND"):
        backend, source = environment["KERAS_BACKEND"], "KERAS_BACKEND"
    else:
        backend, source = str(found.get("backend", KERAS["backend"])), f"backend in {path}"
    if backend != KERAS["backend"]:
        yield f"{source} is {backend}: ignored, trials and predictions use TensorFlow"
    for key in ("image_data_format", "floatx"):
        if found.get(key, KERAS[key]) != KERAS[key]:
            yield f"{key} in {path} is {found[key]}: ignored, networks use {KERAS[key]}"


def keras_file(environment: Mapping[str, str] = os.environ) -> tuple[Path, dict[str, Any]]:
    """The path of this user's Keras settings, and the settings in it."""
    home = environment.get("KERAS_HOME")
    path = (Path(home) if home else _home(environment) / ".keras") / "keras.json"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return path, {}
    return path, found if isinstance(found, dict) else {}


def _home(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or "~").expanduser()
    # As Keras does it.
    return home if os.access(home, os.W_OK) else Path("/tmp")


def raise_open_files() -> None:
    """Raises this process's limit of open files, and so that of the processes that it starts.

    Raises InputError if the hard limit is too low for Spark.
    """
    import resource

    soft, hard = open_files()
    if hard < FEWEST_FILES:
        raise InputError(
            f"`ulimit -n` must be {FEWEST_FILES} or more, because Spark keeps many files open, but "
            f"its hard limit is {hard}"
        )
    wanted = min(hard, max(soft, _MOST_FILES))
    if wanted > soft:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        )


def open_files() -> tuple[int, int]:
    """The soft and the hard limit of a process's open files."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = [sys.maxsize if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard)]
    return limits[0], limits[1]


def warnings_are_errors(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether PYTHONWARNINGS or -W tells Python to raise warnings as errors."""
    told = [*environment.get("PYTHONWARNINGS", "").split(","), *sys.warnoptions]
    return any(option.strip().partition(":")[0] == "error" for option in told)


def ignore_warnings_as_errors() -> None:
    """Restores Python's default filters, for this process and those that it starts."""
    os.environ.pop("PYTHONWARNINGS", None)
    sys.warnoptions.clear()
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)


def allowed_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> tuple[int | None, int | None, int | None]:
    """Bytes of total and of free memory, and the limit of this process's control group.

    None stands for unknown, and for no limit.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None, None, None
    known = {
        key: int(value.split()[0]) << 10 for key, _, value in (x.partition(":") for x in lines)
    }
    total, free, limit = known.get("MemTotal"), known.get("MemAvailable"), None
    for path in _CGROUPS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        # A group without a limit reports "max", or the largest number of pages.
        if text.isdigit() and total is not None and int(text) < total:
            limit = int(text)
            used = _used_by_group(path)
            free = min(free or limit, max(0, limit - used))
        break
    return total, free, limit


def _used_by_group(limit: Path) -> int:
    """Bytes that a control group uses and cannot release at once."""
    used = limit.with_name(
        limit.name.replace("limit_in_bytes", "usage_in_bytes").replace("max", "current")
    )
    try:
        known = dict(
            line.split() for line in limit.with_name("memory.stat").read_text().splitlines()
        )
        return int(used.read_text()) - int(known.get("inactive_file", 0))
    except (OSError, ValueError):
        return 0


def free_space(path: Path) -> int | None:
    """Bytes that are free for this user at `path`; None if unknown."""
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def has_locks(folder: Path) -> bool | None:
    """Whether files in a folder can be locked; None if no file can be created there."""
    import fcntl

    try:
        file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
    except OSError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def size(count: float) -> str:
    """A number of bytes as people say it."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
