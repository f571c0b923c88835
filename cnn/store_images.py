"""Images on an object store that executors reach without Spark's help (s3://)."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pyarrow import fs

from cnn.duplicates import Digests
from cnn.images import Unreadable
from cnn.listing import Folder, Found, Gathered, Listing, gather, is_rubbish, listing_of, some
from cnn.manifest import DataSettings
from cnn.parts import Part, PartResult
from cnn.readers import digest_files, write_parts
from cnn.settings import InputError
from cnn.splits import ImageFile
from cnn.storage import Directory

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class StoreReader:
    """A `cnn.readers.Reader`: the driver lists the images, each task reads its own."""

    def __init__(self, root: Directory) -> None:
        self._root = root

    def find(self, settings: DataSettings) -> Listing:
        return listing_of(self._folders(), self._root.uri, settings)

    def gather(self) -> Gathered:
        """All images, whatever their folders are called. Raises InputError where there are none."""
        return some(gather(self._folders()), self._root.uri)

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        if not whole:
            # A second request for each would take longer than reading the few whole at once.
            return [""] * len(files)
        root = self._root

        def digest(path: str) -> str | None:
            try:
                return hashlib.sha256(read_image(root, path)).hexdigest()
            except Unreadable:
                # Decoding will meet the same error and say it.
                return None

        return digest_files(spark, files, digest, 1)

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        settings: DataSettings,
    ) -> list[PartResult]:
        return write_parts(spark, partial(read_image, self._root), parts, staging, settings)

    def _folders(self) -> Iterator[Folder]:
        if not self._root.is_dir():
            raise InputError(f"--images must be a folder, but got {self._root.uri}")
        filesystem, root = self._root.path()
        files: dict[str, list[Found]] = defaultdict(list)
        rubbish: dict[str, set[str]] = defaultdict(set)
        folders = {""}
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
            path = info.path.removeprefix(f"{root}/")
            names = path.split("/")
            place = next((i for i, name in enumerate(names) if is_rubbish(name)), None)
            if place is not None:
                rubbish["/".join(names[:place])].add(names[place])
                names = names[: place + 1]
            elif info.is_file:
                files["/".join(names[:-1])].append(Found(path, info.size, info.mtime_ns or 0, 0))
            else:
                folders.add(path)
            folders |= {"/".join(names[:end]) for end in range(1, len(names))}
        holding = {folder.rpartition("/")[0] for folder in folders if folder}
        for folder in sorted(folders):
            name = folder.rpartition("/")[2] or root.rpartition("/")[2]
            found = sorted(files[folder])
            yield Folder(name, found, len(rubbish[folder]), folder in holding)


def read_image(root: Directory, path: str) -> bytes:
    """A file's bytes. Raises Unreadable."""
    try:
        return root.read(path)
    except OSError as error:
        raise Unreadable(f"unreadable: {error.strerror or error}") from None
