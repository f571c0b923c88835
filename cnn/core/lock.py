"""One writer at a time for a directory: by a file lock or, where there are none, by a lease.

A lock ends with its process. A lease is a file that its holder rewrites regularly: if it has not
changed for as long as a lease lasts, its holder is dead. No clocks are compared. A lease is best
effort: a holder that was suspended for longer may lose it to another process, and then stops.
"""

import errno
import fcntl
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_document
from cnn.core.errors import InputError

# How long a lease lasts after its holder has died. The holder renews it three times in that time.
_SECONDS = 60.0

_MOST_BYTES = 4096


@contextmanager
def held(directory: Directory, taken: InputError) -> Iterator[None]:
    """Holds a directory for this process. Raises `taken` if another process holds it."""
    path = directory.local_path
    if path is None:
        with lease(directory, taken):
            yield
        return
    try:
        with file_lock(path.with_name(f".{path.name}.lock"), wait=False):
            yield
    except Locked:
        raise taken from None
    except NoLocks:
        print(
            f"the file system of {directory.uri} has no file locks (flock): a lease is used "
            "instead, which excludes a second writer in most cases",
            flush=True,
        )
        with lease(directory, taken):
            yield


@contextmanager
def lease(directory: Directory, taken: InputError, seconds: float = _SECONDS) -> Iterator[None]:
    """Holds a directory by a lease file beside it, which lasts for `seconds` once not renewed.

    If there is a lease already, waits as long to see whether its holder is alive, and raises
    `taken` if so. If another process takes the lease later, the main thread is interrupted.
    """
    place = directory.beside("lease")
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    _wait_until_free(place, directory, taken, seconds)
    _renew(place, owner)
    # If two processes have found it free at the same time, the last to write has it.
    time.sleep(min(1.0, seconds / 6))
    if _holder(place) != owner:
        raise taken
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(seconds / 3):
            # While the store is out of reach, no other process can take the lease either.
            with suppress(OSError):
                if _holder(place) not in {owner, None}:
                    lost = f"another process has taken the lease of {directory.uri}: stopping"
                    print(lost, file=sys.stderr, flush=True)
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                _renew(place, owner)

    thread = threading.Thread(target=keep, name="lease", daemon=True)
    thread.start()
    try:
        with _interruptible():
            yield
    finally:
        stop.set()
        thread.join()
        # If the store is out of reach, the lease expires.
        with suppress(OSError):
            if _holder(place) == owner:
                place.delete()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Makes sure that SIGINT interrupts the main thread.

    A process that a shell script has started in the background ignores SIGINT, and would continue
    after it has lost its lease.
    """
    ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignores or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _wait_until_free(
    place: Directory, directory: Directory, taken: InputError, seconds: float
) -> None:
    found = _read(place)
    if found is None:
        return
    whether = f"whether the process that holds {directory.uri} is alive"
    print(f"waiting up to {seconds:.0f} s to see {whether}", flush=True)
    expired = time.monotonic() + seconds
    while time.monotonic() < expired:
        time.sleep(min(1.0, seconds / 6))
        current = _read(place)
        if current is None:
            return
        if current != found:
            raise taken


def _renew(place: Directory, owner: str) -> None:
    place.write("", f"{owner} {uuid.uuid4().hex}\n".encode())


def _read(place: Directory) -> bytes | None:
    try:
        return read_document(place, "", _MOST_BYTES)
    except FileNotFoundError:
        return None
    except Malformed:
        # Not written by this program: it does not change, and so expires.
        return b""


def _holder(place: Directory) -> str | None:
    found = _read(place)
    return None if found is None else found.decode(errors="replace").partition(" ")[0]


class Locked(Exception):
    """Another process holds the lock."""


class NoLocks(Exception):
    """The file system has no file locks."""


# The errors of flock on such file systems; FUSE and network file systems differ.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


def flock(handle: TextIO, operation: int) -> None:
    """Like fcntl.flock, but raises NoLocks if the file system has no file locks."""
    try:
        fcntl.flock(handle, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(handle.name) from None
        raise


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a local file; the system releases it when the process dies.

    Without `wait` raises Locked if another process holds it. Raises NoLocks if the file system has
    no file locks. The file is removed afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as handle:
            try:
                flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Locked(str(path)) from None
            except NoLocks:
                path.unlink(missing_ok=True)
                raise
            try:
                # The last holder may have removed this file in the meantime.
                if not is_at(handle, path):
                    continue
                try:
                    yield
                finally:
                    # If the file remains, it does no harm: only the lock on it counts.
                    with suppress(OSError):
                        path.unlink()
                return
            finally:
                flock(handle, fcntl.LOCK_UN)


def is_at(handle: TextIO, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
