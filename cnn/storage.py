"""Files of a run or data directory, on a local path or a URI that pyarrow's file systems know.

A file is whole or absent: it is written under a hidden name and moved into place where the file
system can rename, and on object stores appears when its upload is complete.
"""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TextIO

from pyarrow import fs

from cnn.settings import InputError

# A user's name alone may be part of an address, as in hdfs:// and abfss://.
_PASSWORD = re.compile(r"[^/?#]*://[^/?#@]*:[^/?#]*@")


def check_uri(uri: str) -> None:
    """Raises InputError where a path or a URI holds a password, or what no file could hold.

    It is kept in files and logs, and shown.
    """
    if _PASSWORD.match(uri):
        scheme, _, rest = uri.partition("://")
        raise InputError(
            "a URI must hold no credentials, which belong into the environment or where its "
            f"storage's own tools keep them, but got {scheme}://...@{rest.rpartition('@')[2]}"
        )
    if any("\ud800" <= character <= "\udfff" for character in uri):
        raise InputError(f"a path must be UTF-8, but got {uri!r}")


class Directory:
    """A directory by path or URI (`s3a://` means `s3://`). Pickles to its URI alone."""

    def __init__(self, uri: str | Path) -> None:
        text = str(uri)
        check_uri(text)
        if "://" not in text:
            text = str(Path(text).absolute())
        self.uri = text.rstrip("/") or "/"

    def __reduce__(self) -> tuple[type["Directory"], tuple[str]]:
        return Directory, (self.uri,)

    @cached_property
    def _location(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.uri:
            return fs.LocalFileSystem(), self.uri
        scheme, _, rest = self.uri.partition("://")
        try:
            return fs.FileSystem.from_uri(f"{'s3' if scheme == 's3a' else scheme}://{rest}")
        except (ValueError, OSError) as error:
            raise InputError(
                f"a directory must be a path or a URI that can be opened, but got {self.uri}: "
                f"{error}"
            ) from None

    @property
    def local_path(self) -> Path | None:
        """The directory on this machine's file systems, or None where it is elsewhere."""
        filesystem, base = self._location
        return Path(base) if isinstance(filesystem, fs.LocalFileSystem) else None

    def path(self, name: str = "") -> tuple[fs.FileSystem, str]:
        """The file system and the path in it of `name`, for a reader that wants both."""
        filesystem, base = self._location
        return filesystem, f"{base}/{name}".rstrip("/")

    def sub(self, name: str) -> "Directory":
        return Directory(f"{self.uri}/{name}")

    def _type(self, name: str = "") -> fs.FileType:
        filesystem, path = self.path(name)
        return filesystem.get_file_info(path).type

    def exists(self, name: str = "") -> bool:
        return self._type(name) != fs.FileType.NotFound

    def is_dir(self) -> bool:
        return self._type() == fs.FileType.Directory

    def names(self, sub: str = "") -> list[str]:
        """Names of what lies directly in `sub`, sorted; empty where there is no such directory.

        Hidden names are left out: a file being written has one.
        """
        filesystem, path = self.path(sub)
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is no such file."""
        filesystem, path = self.path(name)
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A stream to a file that appears whole, in place of one that was there, or not at all."""
        filesystem, path = self.path(name)
        if isinstance(filesystem, fs.S3FileSystem):
            # An object is there when its upload is complete.
            with filesystem.open_output_stream(path) as stream:
                yield stream
            return
        parent, _, base = path.rpartition("/")
        hidden = f"{parent}/.{base}.{uuid.uuid4().hex[:8]}"
        try:
            with filesystem.open_output_stream(hidden) as stream:
                yield stream
            filesystem.move(hidden, path)
        except BaseException:
            if filesystem.get_file_info(hidden).type != fs.FileType.NotFound:
                filesystem.delete_file(hidden)
            raise

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all, in place of one that was there."""
        filesystem, path = self.path(name)
        if not isinstance(filesystem, fs.S3FileSystem):
            filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.writer(name) as stream:
            stream.write(data)

    def move(self, name: str, target: str) -> None:
        """Moves a file, in place of one that was there."""
        filesystem, path = self.path(name)
        filesystem.create_dir(self.path(target)[1].rpartition("/")[0], recursive=True)
        filesystem.move(path, self.path(target)[1])

    def delete(self, name: str) -> None:
        """Removes a file."""
        filesystem, path = self.path(name)
        filesystem.delete_file(path)

    def create(self) -> None:
        filesystem, path = self.path()
        filesystem.create_dir(path, recursive=True)

    def remove(self) -> None:
        """Removes the directory with all in it; nothing where there is none."""
        if self.exists():
            filesystem, path = self.path()
            filesystem.delete_dir(path)

    def rename(self, target: "Directory") -> None:
        """Moves the directory to where `target` is, which must not exist."""
        filesystem, path = self.path()
        filesystem.move(path, target.path()[1])


class Locked(Exception):
    """Another process holds the lock."""


@contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Holds an exclusive lock on a local file; the system frees it when the process dies.

    Raises Locked where another holds it, unless told to wait. The file is gone afterwards.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Locked(str(path)) from None
            try:
                # Whoever held it may have removed this very file in the meantime.
                if not is_at(handle, path):
                    continue
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)


def is_at(handle: TextIO, path: Path) -> bool:
    """Whether an open file is still what is to be found at `path`."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False
