"""A job's output directory: one writer at a time, and it appears whole or not at all."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cnn.settings import InputError
from cnn.storage import Directory, Locked, file_lock


@contextmanager
def claim(out: Directory) -> Iterator[None]:
    """Holds `out` for one writer, and clears away what a killed one has left beside it.

    A data set that a killed writer had moved aside, and not yet replaced, is put back. Raises
    InputError where another writer is at work.
    """
    path = out.local_path
    if path is None:
        # Object stores and HDFS know no lock that dies with its process.
        yield
        return
    new_folders = [folder for folder in path.parents if not folder.exists()]
    try:
        with file_lock(path.with_name(f".{path.name}.lock"), wait=False):
            old = sorted(path.parent.glob(f".{path.name}.old-*"))
            if old and not path.exists():
                old.pop().rename(path)
            for stale in (*old, *path.parent.glob(f".{path.name}.partial-*")):
                Directory(stale).remove()
            yield
    except Locked:
        raise InputError(
            f"--out must have one writer at a time, but another is writing {out.uri}"
        ) from None
    finally:
        for folder in new_folders:
            # Those that hold the output now stay.
            with suppress(OSError):
                folder.rmdir()


def beside(out: Directory, kind: str) -> Directory:
    """A new directory's name beside `out`, which claim() clears away if this process is killed."""
    parent, _, name = out.uri.rpartition("/")
    return Directory(f"{parent}/.{name}.{kind}-{uuid.uuid4().hex[:8]}")


def clear_away(staging: Directory) -> None:
    """Removes what beside() named; where the storage fails, the next writer's claim() does it."""
    with suppress(OSError):
        staging.remove()


def check_out(out: Directory, *, overwrite: bool, marker: str, kind: str) -> None:
    """Raises InputError where `out` holds what must not be replaced.

    What has `marker` in it is an earlier output of this `kind`, such as "a data set".
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"--out must be a directory, but {out.uri} is a file")
    if not out.names():
        return
    if not out.exists(marker):
        raise InputError(
            f"--out must be a new or empty directory or {kind}, but {out.uri} is neither"
        )
    if not overwrite:
        raise InputError(f"--out must not exist without --overwrite, but {out.uri} holds {kind}")


def put_in_place(staging: Directory, out: Directory) -> None:
    """Moves what is complete to `out`, in place of what was there."""
    old = beside(out, "old")
    if out.exists():
        out.rename(old)
    staging.rename(out)
    old.remove()
