"""One writer at a time for a directory: by a file lock, or where there is none by a lease.

A lock dies with its process. A lease is a file that its holder writes anew again and again: what
has not changed for as long as a lease lasts is a dead one's. No clocks are compared. It is best
effort: whoever stands still for longer than that may find another in its place, and then stops.
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

# How long a holder that has died still counts as alive; it is renewed three times as often.
_SECONDS = 60.0

_MOST_BYTES = 4096


@contextmanager
def held(directory: Directory, taken: InputError) -> Iterator[None]:
    """Holds a directory for this process. Raises `taken` where another holds it."""
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
            f"the file system of {directory.uri} has no file locks (flock): a lease keeps a second "
            "writer out, best effort",
            flush=True,
        )
        with lease(directory, taken):
            yield


@contextmanager
def lease(directory: Directory, taken: InputError, seconds: float = _SECONDS) -> Iterator[None]:
    """Holds a directory by a lease beside it, of so many seconds, for which a dead one is awaited.

    The lease is lost where another takes it nevertheless: the main thread is then interrupted.
    """
    place = directory.beside("lease")
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    _wait_until_free(place, directory, taken, seconds)
    _renew(place, owner)
    # Of two that have found it free at the same time the one that wrote last has it.
    time.sleep(min(1.0, seconds / 6))
    if _holder(place) != owner:
        raise taken
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(seconds / 3):
            # While the store is gone nobody can take it.
            with suppress(OSError):
                if _holder(place) not in {owner, None}:
                    print(f"lost to another process: {directory.uri}", file=sys.stderr, flush=True)
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
        # Where the store is gone it expires.
        with suppress(OSError):
            if _holder(place) == owner:
                place.delete()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets the main thread be interrupted also where a shell's script began it in the background.

    Such a process ignores SIGINT, and would go on after its lease was lost.
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
    whether = f"whether the process that holds {directory.uri} lives"
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
        # None of ours; it does not change, and so expires.
        return b""


def _holder(place: Directory) -> str | None:
    found = _read(place)
    return None if found is None else found.decode(errors="replace").partition(" ")[0]


class Locked(Exception):
    """Another process holds the lock."""


class NoLocks(Exception):
    """A file system that has no file locks."""


# What flock says there: FUSE and network file systems differ.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


def flock(handle: TextIO, operation: int) -> None:
    """fcntl.flock, which raises NoLocks where the file system has none."""
    try:
        fcntl.flock(handle, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(handle.name) from None
        raise


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a local file; the system frees it when the process dies.

    Raises Locked where another holds it, unless told to wait, and NoLocks where there are no locks.
    The file is gone afterwards.
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
                # Whoever held it may have removed this very file in the meantime.
                if not is_at(handle, path):
                    continue
                try:
                    yield
                finally:
                    # A file that stays is no lock.
                    with suppress(OSError):
                        path.unlink()
                return
            finally:
                flock(handle, fcntl.LOCK_UN)


def is_at(handle: TextIO, path: Path) -> bool:
    """Whether an open file is still what is to be found at `path`."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
