"""A cache of folders on a host: built once, complete or absent, within a size limit.

An entry is in use while a process holds the lock on its mark. Unused entries are removed when a new
entry needs the space, least recently used first.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from cnn.core.directory import make_private
from cnn.core.errors import Error, Option
from cnn.core.lock import Locked, NoLocks, file_lock, flock, is_at
from cnn.settings.schema import CacheSettings

_MARK = "used"
_BUILD, _REMOVED = ".build-", ".gone-"
# Directories that Spark creates for one application or executor in its local directory.
_BLOCK_MANAGER_DIR = re.compile(r"blockmgr-[0-9a-f-]{36}")
_STANDALONE_DIR = re.compile(r"(spark|executor)-[0-9a-f-]{36}")


@dataclass(frozen=True)
class Entry:
    """A folder of the cache; it is not removed while `mark` is open."""

    folder: Path
    mark: TextIO


class Cache:
    """This user's cache in a directory; other users can neither read it nor write to it."""

    def __init__(self, settings: CacheSettings) -> None:
        base = Path(settings.dir) if settings.dir else local_dir()
        self.root = base / f"cnn-cache-{os.getuid()}"
        self._limit = int(settings.limit * 2**30)
        try:
            is_own = make_private(self.root)
        except OSError as error:
            raise Error(
                f"the cache directory must be one that can be created, but got {self.root}: "
                f"{error.strerror}; name another place with --cache-dir"
            ) from None
        if not is_own:
            raise Error(
                "the cache directory must be a directory that its user alone can write to, "
                f"but {self.root} is not; name another place with --cache-dir"
            )

    def open(
        self,
        name: str,
        *,
        size: int,
        build: Callable[[Path], None],
        check: Callable[[Path], bool],
    ) -> tuple[Entry, bool]:
        """Returns the entry `name`, of `size` bytes, and whether it was built now.

        It is built if there is none that passes `check`. If several processes need it, one builds
        it and the others wait. Raises Error if there is no room, and what `build` raises; it leaves
        nothing behind then.
        """
        with self._locks():
            return self._open(name, size, build, check)

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """Holds a lock of this cache, as `file_lock` does. Raises Locked and Error."""
        with self._locks(), file_lock(self._lock(name), wait=wait):
            yield

    @contextmanager
    def _locks(self) -> Iterator[None]:
        try:
            yield
        except NoLocks:
            raise Error(
                "the cache directory must be on a file system with file locks (flock), but that of "
                f"{self.root} has none; name another place with --cache-dir"
            ) from None

    def _open(
        self, name: str, size: int, build: Callable[[Path], None], check: Callable[[Path], bool]
    ) -> tuple[Entry, bool]:
        entry = self._take(name)
        if entry is not None and check(entry.folder):
            return entry, False
        with file_lock(self._lock(name)):
            entry = self._take(name)
            if entry is not None and check(entry.folder):
                return entry, False
            with file_lock(self._lock("room")):
                if entry is not None:
                    self._remove(entry.folder)
                self._tidy(name)
                self._make_room(size)
            return self._build(name, size, build), True

    def _lock(self, name: str) -> Path:
        return self.root / f".{name}.lock"

    def _take(self, name: str) -> Entry | None:
        folder = self.root / name
        while True:
            try:
                mark = (folder / _MARK).open("r+")
            except FileNotFoundError:
                return None
            flock(mark, fcntl.LOCK_SH)
            # It may have been removed, and even rebuilt, before this process got the lock.
            if is_at(mark, folder / _MARK):
                os.utime(mark.fileno())
                return Entry(folder, mark)
            mark.close()

    def _build(self, name: str, size: int, build: Callable[[Path], None]) -> Entry:
        staging, folder = self.root / f"{_BUILD}{name}", self.root / name
        staging.mkdir()
        try:
            build(staging)
            mark = (staging / _MARK).open("w+")
            flock(mark, fcntl.LOCK_SH)
            for path in (*staging.iterdir(), staging):
                _sync(path)
            staging.rename(folder)
            _sync(self.root)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self._no_room(size) from None
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return Entry(folder, mark)

    def _tidy(self, name: str) -> None:
        """Removes what killed processes left behind; the caller holds the lock of `name`."""
        for path in self.root.glob(f"{_REMOVED}*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(f"{_BUILD}*"):
            other = path.name.removeprefix(_BUILD)
            if other == name:
                shutil.rmtree(path)
                continue
            try:
                with file_lock(self._lock(other), wait=False):
                    shutil.rmtree(path, ignore_errors=True)
            except Locked:
                continue

    def _make_room(self, size: int) -> None:
        """Removes unused entries until `size` more bytes fit in the limit and on the disk."""
        entries = [path.parent for path in self.root.glob(f"[!.]*/{_MARK}")]
        sizes = {folder: _size(folder) for folder in entries}
        for folder in sorted(entries, key=lambda folder: (folder / _MARK).stat().st_mtime):
            if sum(sizes.values()) + size <= self._limit and self._free() >= size:
                return
            with (folder / _MARK).open("r+") as mark:
                try:
                    flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                self._remove(folder)
                del sizes[folder]
        if self._free() < size:
            raise self._no_room(size)

    def _remove(self, folder: Path) -> None:
        """Removes an entry; a process that has its files open can still read them."""
        gone = self.root / f"{_REMOVED}{folder.name}-{os.getpid()}"
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _free(self) -> int:
        return shutil.disk_usage(self.root).free

    def _no_room(self, size: int) -> Error:
        return Error(
            "the cache directory must have {} MiB free for the images' pixels, but {} has {} MiB; "
            "name another place with {}",
            _mebibytes(size),
            self.root,
            _mebibytes(self._free()),
            Option("cache.dir", flag="--cache-dir"),
        )


def local_dir() -> Path:
    """This host's directory for local files: Spark's first local directory in an executor's
    process, otherwise the system's directory for temporary files.
    """
    # Spark sets this for its Python processes to the executor's block directories.
    named = os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0]
    if not named:
        return Path(tempfile.gettempdir())
    path = Path(named)
    if _BLOCK_MANAGER_DIR.fullmatch(path.name):
        path = path.parent
    if all(_STANDALONE_DIR.fullmatch(part.name) for part in (path, path.parent)):
        path = path.parent.parent
    return path


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
