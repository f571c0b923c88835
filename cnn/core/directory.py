"""Files of a run or data directory, on a local path or a URI that pyarrow's file systems know.

A file is whole or absent: it is written under a hidden name and moved into place, and what is given
as a whole to an object store appears when its upload is complete.
"""

import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import BinaryIO

from pyarrow import fs

from cnn.core.errors import InputError

_OBJECT = re.compile(r"s3a?://([^/]*)(.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Times that a request is made before it counts as failed: with the pauses between them, which
# double, a store may be gone for most of a minute. And seconds that it may be silent: copying a
# large file takes it some. The first request of all is not so patient.
_PATIENCE, _FIRST_PATIENCE = (8, 20), (2, 5)
# As `writer` names a file that is not whole.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}")
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
    """A directory by path or URI (`s3a://` means `s3://`). Pickles to its URI alone.

    Raises InputError where a URI has more than a place in it: a URI is shown and kept, so it must
    hold no credentials.
    """

    def __init__(self, uri: str | Path) -> None:
        text = str(uri)
        check_uri(text)
        if "://" not in text:
            text = str(Path(text).absolute())
        elif found := _OBJECT.fullmatch(text):
            text = f"s3://{found[1]}{found[2]}"
            if not _BUCKET.fullmatch(found[1]) or "?" in found[2]:
                raise InputError(
                    "a directory on S3 must be s3://BUCKET/PATH and no more: an endpoint belongs "
                    "into AWS_ENDPOINT_URL, a region into AWS_REGION, credentials into "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or ~/.aws"
                )
        self.uri = text.rstrip("/") or "/"

    def __reduce__(self) -> tuple[type["Directory"], tuple[str]]:
        return Directory, (self.uri,)

    @cached_property
    def _location(self) -> tuple[fs.FileSystem, str]:
        if "://" not in self.uri:
            return fs.LocalFileSystem(), self.uri
        if self.uri.startswith("s3://"):
            path = self.uri.removeprefix("s3://")
            return _s3(path.partition("/")[0]), path
        try:
            return fs.FileSystem.from_uri(self.uri)
        except (ValueError, OSError) as error:
            raise InputError(
                f"a directory must be a path or a URI that can be opened, but got {self.uri}: "
                f"{error}"
            ) from None

    def check_reachable(self) -> None:
        """Raises InputError, and soon, where the store of this directory cannot be reached.

        Later requests are made again for as long as a minute.
        """
        if "://" not in self.uri:
            return
        try:
            if not self.uri.startswith("s3://"):
                self.exists()
                return
            path = self.uri.removeprefix("s3://")
            bucket = path.partition("/")[0]
            filesystem = _s3(bucket, _FIRST_PATIENCE)
            there = filesystem.get_file_info(path).type != fs.FileType.NotFound
            there = there or filesystem.get_file_info(bucket).type != fs.FileType.NotFound
        except OSError as error:
            raise InputError(
                "a directory must be on a store that can be reached with the credentials that "
                f"there are, but {self.uri} is not: {error}"
            ) from None
        if not there:
            raise InputError(f"a bucket must exist, but there is none of {self.uri}")

    @property
    def local_path(self) -> Path | None:
        """The directory on this machine's file systems, or None where it is elsewhere."""
        filesystem, base = self._location
        return Path(base) if isinstance(filesystem, fs.LocalFileSystem) else None

    def path(self, name: str = "") -> tuple[fs.FileSystem, str]:
        """The file system and the path in it of `name`, for a reader that wants both."""
        filesystem, base = self._location
        return filesystem, f"{base}/{name}".rstrip("/")

    @property
    def is_store(self) -> bool:
        """Whether it is on an object store, which has no directories and cannot rename."""
        return self._location[0].type_name not in {"local", "hdfs"}

    def sub(self, name: str) -> "Directory":
        return Directory(f"{self.uri}/{name}")

    def beside(self, kind: str) -> "Directory":
        """The hidden place of this `kind` beside the directory. Raises InputError at a root."""
        parent, _, name = self.uri.rpartition("/")
        if not name or parent.endswith(":/"):
            raise InputError(f"a directory to write to must be below a root, but got {self.uri}")
        return Directory(f"{parent}/.{name}.{kind}")

    def all_beside(self, kind: str) -> list["Directory"]:
        """What there is of `beside(kind-...)`, sorted."""
        start = f"{self.beside(kind).uri}-"
        filesystem, path = self.path()
        selector = fs.FileSelector(path.rpartition("/")[0] or "/", allow_not_found=True)
        names = [info.base_name for info in filesystem.get_file_info(selector)]
        parent, _, prefix = start.rpartition("/")
        return [Directory(f"{parent}/{name}") for name in sorted(names) if name.startswith(prefix)]

    def _type(self, name: str = "") -> fs.FileType:
        filesystem, path = self.path(name)
        return filesystem.get_file_info(path).type

    def exists(self, name: str = "") -> bool:
        return self._type(name) != fs.FileType.NotFound

    def is_dir(self) -> bool:
        return self._type() == fs.FileType.Directory

    def is_file(self) -> bool:
        return self._type() == fs.FileType.File

    def names(self, sub: str = "") -> list[str]:
        """Names of what lies directly in `sub`, sorted; empty where there is no such directory.

        Hidden names are left out: a file being written has one.
        """
        filesystem, path = self.path(sub)
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def read(self, name: str = "") -> bytes:
        """Raises FileNotFoundError where there is no such file."""
        filesystem, path = self.path(name)
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A stream to a file that appears whole, in place of one that was there, or not at all."""
        filesystem, path = self.path(name)
        parent, _, base = path.rpartition("/")
        hidden = f"{parent}/.{base}.{uuid.uuid4().hex[:8]}"
        try:
            with filesystem.open_output_stream(hidden) as stream:
                yield stream
            filesystem.move(hidden, path)
        except BaseException as error:
            with suppress(OSError):
                filesystem.delete_file(hidden)
            if isinstance(error, OSError) and error.errno is not None:
                # Arrow does not name the file when the disk is full.
                raise OSError(error.errno, os.strerror(error.errno), path) from error
            raise

    def write(self, name: str, data: bytes) -> None:
        """Writes a file whole or not at all, in place of one that was there."""
        filesystem, path = self.path(name)
        content = memoryview(data)
        if self.is_store:
            # An object is there when its upload is complete. That is so even where an error ends
            # the block, in which therefore nothing else may fail.
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
            return
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.writer(name) as stream:
            stream.write(content)

    def move(self, name: str, target: str) -> None:
        """Moves a file, in place of one that was there."""
        filesystem, path = self.path(name)
        if not self.is_store:
            filesystem.create_dir(self.path(target)[1].rpartition("/")[0], recursive=True)
        filesystem.move(path, self.path(target)[1])

    def delete(self, name: str = "") -> None:
        """Removes a file."""
        filesystem, path = self.path(name)
        filesystem.delete_file(path)

    def create(self) -> None:
        """Makes the directory; on object stores one is there when something is in it."""
        if not self.is_store:
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

    def files(self) -> list[str]:
        """Names of all files at any depth, relative and sorted, without hidden ones."""
        filesystem, path = self.path()
        found = filesystem.get_file_info(
            fs.FileSelector(path, allow_not_found=True, recursive=True)
        )
        names = (info.path.removeprefix(f"{path}/") for info in found if info.is_file)
        return sorted(name for name in names if not re.search(r"(^|/)\.", name))

    def drop_unfinished(self) -> None:
        """Removes what killed writers have left, at any depth; nobody may be writing now."""
        if self.is_store:
            return
        filesystem, path = self.path()
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        for info in filesystem.get_file_info(selector):
            if info.is_file and _UNFINISHED.fullmatch(info.base_name):
                filesystem.delete_file(info.path)

    def copy(self, name: str, target: "Directory") -> None:
        """Copies a file to another directory of this store; the store does it by itself."""
        filesystem, path = self.path(name)
        filesystem.copy_file(path, target.path(name)[1])


def is_stores(error: BaseException) -> bool:
    """Whether an error is a store's that was asked in vain: of these there is but the text."""
    return isinstance(error, OSError) and "AWS Error" in str(error)


def reachable(uri: str | Path) -> Directory:
    """The directory that a user names. Raises InputError where its store cannot be reached."""
    directory = Directory(uri)
    directory.check_reachable()
    return directory


def _s3(bucket: str, patience: tuple[int, int] = _PATIENCE) -> fs.FileSystem:
    """The file system of a bucket, with the endpoint and region that AWS's variables name."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint is None and region is None:
        region = fs.resolve_s3_region(bucket)
    return _s3_of(endpoint, region, *patience)


@cache
def _s3_of(endpoint: str | None, region: str | None, attempts: int, timeout: int) -> fs.FileSystem:
    """One for each process: its connections are kept."""
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        # What is small is one request.
        allow_delayed_open=True,
        request_timeout=timeout,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
    )


def make_own(folder: Path) -> bool:
    """Makes a folder of this user's alone; whether it is one, where it was there before.

    In a directory that all can write to another user may have been the first to make it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
