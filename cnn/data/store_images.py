"""Images on an object store that executors reach without Spark's help (s3://)."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from pyarrow import fs

from cnn.core.directory import Directory
from cnn.data.decode import Decoding, Unreadable
from cnn.data.duplicates import Digests
from cnn.data.listing import (
    ALL,
    Folder,
    Found,
    Gathered,
    Listing,
    Side,
    check_folder,
    gather,
    is_rubbish,
    listing_of,
    some,
)
from cnn.data.manifest import DataSettings
from cnn.data.parts import Part, PartResult
from cnn.data.readers import digest_files, write_parts
from cnn.data.splits import ImageFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class StoreReader:
    """A `cnn.data.readers.Reader`: the driver lists the images, each task reads its own."""

    def __init__(self, root: Directory, side: Side = ALL) -> None:
        self._root = root
        self._side = side

    def find(self, settings: DataSettings) -> Listing:
        return listing_of(self._folders(), self._root.uri, settings, self._side)

    def gather(self, classes: Collection[str] | None = None) -> Gathered:
        """All images, whatever their folders are called. Raises InputError where there are none."""
        return some(gather(self._folders(), classes, self._side), self._root.uri, self._side)

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        if not whole:
            # A second request for each would take longer than reading the few whole at once.
            return [""] * len(files)
        opener = self._opener()

        def digest(path: str) -> str | None:
            try:
                return hashlib.sha256(opener(path)).hexdigest()
            except Unreadable:
                # Decoding will meet the same error and say it.
                return None

        return digest_files(spark, files, digest, 1)

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        return write_parts(spark, self._opener(), parts, staging, how, look)

    def _opener(self) -> Callable[[str], bytes]:
        root, prefix = self._root, self._side.prefix
        return lambda path: read_image(root, path.removeprefix(prefix))

    def _folders(self) -> Iterator[Folder]:
        check_folder(self._root.is_dir(), self._root.exists(), self._root.uri, self._side)
        filesystem, root = self._root.path()
        files: dict[str, list[Found]] = defaultdict(list)
        rubbish: dict[str, set[str]] = defaultdict(set)
        folders = {""}
        for info in filesystem.get_file_info(fs.FileSelector(root, recursive=True)):
            path = info.path.removeprefix(f"{root}/")
            if not self._side.has(path):
                continue
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
