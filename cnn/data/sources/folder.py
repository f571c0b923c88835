"""Reads images from a file system that the driver and the executors share."""

import itertools
import os
import stat
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from cnn.core.errors import InputError
from cnn.data.sources.listing import ALL, Folder, Found, Subset, is_junk
from cnn.data.sources.paths import escape, real_path
from cnn.data.sources.source import ImageSource


class FolderSource(ImageSource):
    """Images by path, on a local or shared file system: each task opens its own files."""

    reads_ends = True
    digests_a_task = 64

    def __init__(self, place: Path, subset: Subset = ALL) -> None:
        super().__init__(
            os.fspath(place), subset, is_folder=place.is_dir(), is_file=place.is_file()
        )
        self._root = place.parent if self.is_file else place

    def folders(self) -> Iterator[Folder]:
        return _walk(os.fspath(self._root), "", (), self.subset)

    def opener(self) -> Callable[[str], Path]:
        # Tasks may run in a different directory.
        root, prefix = self._root.absolute(), self.subset.prefix
        return lambda path: real_path(root, path.removeprefix(prefix))


_DEVICES = itertools.count()


def _walk(
    folder: str, relative: str, above: tuple[tuple[int, int], ...], subset: Subset
) -> Iterator[Folder]:
    """A folder and those below it, in the order of their names; links to folders are followed."""
    try:
        status = os.stat(folder)
        here = (*above, (status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            every = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            "{} must be readable with all its folders, but got {}", subset.option, error
        ) from None
    kept = [entry for entry in every if not is_junk(entry.name)]
    folders = [entry for entry in kept if entry.is_dir() and subset.has(relative + entry.name)]
    found = [_found(entry, relative + entry.name) for entry in kept if not entry.is_dir()]
    name, ignored = escape(os.path.basename(os.path.abspath(folder))), len(every) - len(kept)
    # A generator keeps its variables, and a folder of a million files has as many entries.
    del every, kept
    yield Folder(name, found, ignored, bool(folders), relative.rstrip("/"))
    for entry in folders:
        below = entry.stat()
        # Following a link to a folder above would never end.
        if (below.st_dev, below.st_ino) not in here:
            yield from _walk(entry.path, f"{relative}{entry.name}/", here, subset)


def _found(entry: os.DirEntry[str], path: str) -> Found:
    try:
        # Not entry.stat(), which caches its result: half a gigabyte for a million files.
        status = os.stat(entry.path)
    except OSError as error:
        return Found(path, 0, 0, 0, f"unreadable: {error.strerror}")
    reason = None if stat.S_ISREG(status.st_mode) else "not a regular file"
    same = _device(status.st_dev) << 64 | status.st_ino
    return Found(path, status.st_size, status.st_mtime_ns, same, reason)


@cache
def _device(number: int) -> int:
    """A device as 0, 1, ... in the order of their discovery: small numbers take less memory."""
    return next(_DEVICES)
