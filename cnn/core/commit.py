"""A job's output directory: one writer at a time, and it appears whole or not at all.

It is filled beside its place and renamed. On object stores, which cannot rename, its files are
copied by the store, the one that says that it is there, its marker, last; what a killed writer has
not copied the next one copies.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.core.lock import held

# In what has been filled and is being copied: it is to be copied to the end.
_COMPLETE = ".complete"
_COPIES = 16
OUT = Option("out")


@contextmanager
def claim(out: Directory, marker: str) -> Iterator[None]:
    """Holds `out` for one writer, and clears away what a killed one has left beside it.

    What a killed writer had moved aside, and not yet replaced, is put back; what it had begun to
    copy is copied. Raises InputError where another writer is at work.
    """
    taken = InputError("{} must have one writer at a time, but another is writing {}", OUT, out.uri)
    with _no_new_folders(out.local_path), held(out, taken):
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
def _no_new_folders(path: Path | None) -> Iterator[None]:
    """Removes folders above a path that were made inside and are empty."""
    above = path.parents if path else ()
    new_folders = [folder for folder in above if not folder.exists()]
    try:
        yield
    finally:
        for folder in new_folders:
            # Those that hold the output now stay.
            with suppress(OSError):
                folder.rmdir()


def beside(out: Directory, kind: str) -> Directory:
    """A new directory's name beside `out`, which claim() clears away if this process is killed."""
    return out.beside(f"{kind}-{uuid.uuid4().hex[:8]}")


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
    """A directory to fill, which then is in the place of `out`; where it is not, nothing is left.

    `marker` is the file without which a reader takes `out` for none.
    """
    staging = beside(out, "partial")
    try:
        yield staging
        if staging.is_store:
            staging.write(_COMPLETE, b"")
        else:
            # Of tasks whose executor was lost.
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


def _replace(staging: Directory, out: Directory, marker: str) -> None:
    """Copies what is complete; killed in the middle and called again it goes on."""
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
