"""A job's output directory: one writer at a time, and it appears whole or not at all.

The output is written to a hidden directory beside its place, which is then renamed. Object stores
cannot rename: there the store copies the files, and last of all the marker, the file that tells
readers that the output is complete. If a writer is killed while it copies, the next one finishes.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.core.lock import held

# Marks a hidden directory that is complete and only has to be copied.
_COMPLETE = ".complete"
_COPIES = 16
OUT = Option("out")


@contextmanager
def claim(out: Directory, marker: str) -> Iterator[None]:
    """Holds `out` for one writer, and cleans up what a killed writer has left beside it.

    An earlier output that a killed writer had moved aside and not yet replaced is put back; a copy
    that it had begun is finished. Raises InputError if another writer holds `out`.
    """
    taken = InputError(
        "{} must have one writer at a time, but another process is writing {}", OUT, out.uri
    )
    with no_new_folders(out.local_path), held(out, taken):
        for partial in out.all_beside("partial"):
            if partial.exists(_COMPLETE):
                _replace(partial, out, marker)
            else:
                partial.remove()
        old = out.all_beside("old")
        if old and not out.exists():
            old.pop().rename(out)
        for stale in old:
            stale.remove()
        yield


@contextmanager
def no_new_folders(path: Path | None) -> Iterator[None]:
    """Removes parent folders of a path that were created inside the block and are still empty."""
    above = path.parents if path else ()
    new_folders = [folder for folder in above if not folder.exists()]
    try:
        yield
    finally:
        for folder in new_folders:
            # A folder that now holds the output is not empty, and stays.
            with suppress(OSError):
                folder.rmdir()


def beside(out: Directory, kind: str) -> Directory:
    """A new directory beside `out`, which the next claim() removes if this process is killed."""
    return out.beside(f"{kind}-{uuid.uuid4().hex[:8]}")


def clear_away(staging: Directory) -> None:
    """Removes a directory from beside(); if the storage fails, the next claim() does it."""
    with suppress(OSError):
        staging.remove()


def check_out(out: Directory, *, overwrite: bool, marker: str, kind: str) -> None:
    """Raises InputError if `out` holds something that must not be replaced.

    A directory that contains `marker` is an earlier output of this `kind`, such as "a data set".
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError("{} must be a directory, but {} is a file", OUT, out.uri)
    if not out.names():
        return
    if not out.exists(marker):
        raise InputError(
            "{} must be a new or empty directory or {}, but {} is neither", OUT, kind, out.uri
        )
    if not overwrite:
        raise InputError(
            "{} must not exist without {}, but {} holds {}", OUT, Option("overwrite"), out.uri, kind
        )


@contextmanager
def staged(out: Directory, marker: str) -> Iterator[Directory]:
    """A directory to fill, which then replaces `out`. If the block fails, it is removed.

    `marker` is the file without which readers do not accept `out` as complete.
    """
    staging = beside(out, "partial")
    try:
        yield staging
        if staging.is_store:
            staging.write(_COMPLETE, b"")
        else:
            # Tasks whose executor was lost may have left incomplete files.
            staging.drop_unfinished()
            old = beside(out, "old")
            if out.exists():
                out.rename(old)
            staging.rename(out)
            old.remove()
    except BaseException:
        clear_away(staging)
        raise
    if staging.is_store:
        _replace(staging, out, marker)


@contextmanager
def discarded(out: Directory) -> Iterator[Directory]:
    """A directory to fill like that of `staged`, which is removed in the end: `out` stays."""
    staging = beside(out, "partial")
    try:
        yield staging
    finally:
        clear_away(staging)


def _replace(staging: Directory, out: Directory, marker: str) -> None:
    """Copies a complete directory to `out`. If it is killed in the middle, it can be repeated."""
    if out.exists(marker):
        out.delete(marker)
    out.remove()
    names = staging.files()
    names.remove(marker)
    with ThreadPoolExecutor(_COPIES) as threads:
        list(threads.map(lambda name: staging.copy(name, out), names))
    staging.copy(marker, out)
    staging.delete(_COMPLETE)
    staging.remove()
