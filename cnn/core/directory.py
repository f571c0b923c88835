"""Files of a run or data directory, on a local path or a URI that pyarrow's file systems support.

A file is complete or absent: it is written under a hidden name and moved into place. In an object
store it appears when its upload is complete.
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
# Attempts at a request, and the timeout of each in seconds. The pauses between attempts double, so
# that a store may be down for most of a minute; copying a large file takes a store some seconds.
# The first request to a store gives up sooner.
_PATIENCE, _FIRST_PATIENCE = (8, 20), (2, 5)
# The names that `writer` gives to incomplete files.
_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}")
# A user name without a password may be part of an address, as in hdfs:// and abfss://.
_PASSWORD = re.compile(r"[^/?#]*://[^/?#@]*:[^/?#]*@")


def check_uri(uri: str) -> None:
    """Raises InputError if a path or URI contains a password, or cannot be encoded as UTF-8.

    URIs are shown, and written to files and logs.
    """
    if _PASSWORD.match(uri):
        scheme, _, rest = uri.partition("://")
        raise InputError(
            "a URI must not contain credentials, which belong in the environment or in the "
            f"configuration of its storage, but got {scheme}://...@{rest.rpartition('@')[2]}"
        )
    if any("\ud800" <= character <= "\udfff" for character in uri):
        raise InputError(f"a path must be UTF-8, but got {uri!r}")


class Directory:
    """A directory by path or URI (`s3a://` means `s3://`). Only its URI is pickled.

    Raises InputError if a URI contains more than a location: URIs are shown and stored, so they
    must not contain credentials.
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
                    "a directory on S3 must be s3://BUCKET/PATH and nothing else: an endpoint "
                    "belongs in AWS_ENDPOINT_URL, a region in AWS_REGION, credentials in "
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
        """Raises InputError, after few retries, if the store of this directory is out of reach.

        Later requests are retried for up to a minute.
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
                "a directory must be on a store that can be reached with the available "
                f"credentials, but {self.uri} is not: {error}"
            ) from None
        if not there:
            raise InputError(f"a bucket must exist, but that of {self.uri} does not")

    @property
    def local_path(self) -> Path | None:
        """The directory's path on this machine, or None if it is on another storage."""
        filesystem, base = self._location
        return Path(base) if isinstance(filesystem, fs.LocalFileSystem) else None

    def path(self, name: str = "") -> tuple[fs.FileSystem, str]:
        """The file system of the directory, and the path of the file `name` in it."""
        filesystem, base = self._location
        return filesystem, f"{base}/{name}".rstrip("/")

    @property
    def is_store(self) -> bool:
        """Whether it is in an object store, which has no directories and cannot rename."""
        return self._location[0].type_name not in {"local", "hdfs"}

    def sub(self, name: str) -> "Directory":
        return Directory(f"{self.uri}/{name}")

    def beside(self, kind: str) -> "Directory":
        """The hidden path of a `kind` beside the directory. Raises InputError for a root."""
        parent, _, name = self.uri.rpartition("/")
        if not name or parent.endswith(":/"):
            raise InputError(f"an output directory must not be a root, but got {self.uri}")
        return Directory(f"{parent}/.{name}.{kind}")

    def all_beside(self, kind: str) -> list["Directory"]:
        """All existing directories `beside("KIND-...")`, sorted."""
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
        """Names of the entries directly in `sub`, sorted; empty if there is no such directory.

        Hidden names are left out, because a file that is being written has one.
        """
        filesystem, path = self.path(sub)
        found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        return sorted(info.base_name for info in found if not info.base_name.startswith("."))

    def read(self, name: str = "") -> bytes:
        """The content of a file. Raises FileNotFoundError."""
        filesystem, path = self.path(name)
        with filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    @contextmanager
    def writer(self, name: str) -> Iterator[BinaryIO]:
        """A stream to a file. It appears, or replaces an earlier one, only when it is complete."""
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
        """Writes a file completely or not at all; replaces an earlier one."""
        filesystem, path = self.path(name)
        content = memoryview(data)
        if self.is_store:
            # Even an error completes the upload when the block ends: nothing else may be in it.
            with filesystem.open_output_stream(path) as stream:
                stream.write(content)
            return
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        with self.writer(name) as stream:
            stream.write(content)

    def move(self, name: str, target: str) -> None:
        """Moves a file; replaces an earlier one."""
        filesystem, path = self.path(name)
        if not self.is_store:
            filesystem.create_dir(self.path(target)[1].rpartition("/")[0], recursive=True)
        filesystem.move(path, self.path(target)[1])

    def delete(self, name: str = "") -> None:
        """Removes a file."""
        filesystem, path = self.path(name)
        filesystem.delete_file(path)

    def create(self) -> None:
        """Creates the directory. In an object store a directory exists once it contains a file."""
        if not self.is_store:
            filesystem, path = self.path()
            filesystem.create_dir(path, recursive=True)

    def remove(self) -> None:
        """Removes the directory, if it exists, with everything in it."""
        if self.exists():
            filesystem, path = self.path()
            filesystem.delete_dir(path)

    def rename(self, target: "Directory") -> None:
        """Moves the directory to `target`, which must not exist."""
        filesystem, path = self.path()
        filesystem.move(path, target.path()[1])

    def files(self) -> list[str]:
        """Relative names of all files at any depth, sorted, without hidden ones."""
        filesystem, path = self.path()
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        found = filesystem.get_file_info(selector)
        names = (info.path.removeprefix(f"{path}/") for info in found if info.is_file)
        return sorted(name for name in names if not re.search(r"(^|/)\.", name))

    def drop_unfinished(self) -> None:
        """Removes incomplete files of killed writers, at any depth. No writer may be active."""
        if self.is_store:
            return
        filesystem, path = self.path()
        selector = fs.FileSelector(path, allow_not_found=True, recursive=True)
        for info in filesystem.get_file_info(selector):
            if info.is_file and _UNFINISHED.fullmatch(info.base_name):
                filesystem.delete_file(info.path)

    def copy(self, name: str, target: "Directory") -> None:
        """Copies a file to another directory of the same store, without a download."""
        filesystem, path = self.path(name)
        filesystem.copy_file(path, target.path(name)[1])


def is_store_error(error: BaseException) -> bool:
    """Whether an error comes from an object store; only its text tells."""
    return isinstance(error, OSError) and "AWS Error" in str(error)


def reachable(uri: str | Path) -> Directory:
    """The directory that a user has named. Raises InputError if its store cannot be reached."""
    directory = Directory(uri)
    directory.check_reachable()
    return directory


def _s3(bucket: str, patience: tuple[int, int] = _PATIENCE) -> fs.FileSystem:
    """The file system of a bucket, with the endpoint and region from AWS's variables."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint is None and region is None:
        region = fs.resolve_s3_region(bucket)
    return _s3_of(endpoint, region, *patience)


@cache
def _s3_of(endpoint: str | None, region: str | None, attempts: int, timeout: int) -> fs.FileSystem:
    """One file system per process, so that its connections are reused."""
    return fs.S3FileSystem(
        endpoint_override=endpoint,
        region=region,
        # Writes a small object in a single request.
        allow_delayed_open=True,
        request_timeout=timeout,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
    )


def make_private(folder: Path) -> bool:
    """Creates a folder that only this user can write to. Returns whether it is one.

    In a directory that all users can write to, another user may have created it first.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    info = folder.lstat()
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid() and not info.st_mode & 0o022
