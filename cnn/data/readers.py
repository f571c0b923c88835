"""Where images lie: on a file system that driver and executors share, read in Python."""

import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cnn.core.directory import Directory
from cnn.data.decode import Decoding
from cnn.data.duplicates import Digests
from cnn.data.listing import ALL, Gathered, Listing, Side, find_images, list_images, real_path
from cnn.data.manifest import DataSettings
from cnn.data.parts import Part, PartResult, decode_part, write_part
from cnn.data.splits import ImageFile
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Of files of one size, what differs nearly always differs in their last bytes.
_END = 4096
_DIGESTS_A_TASK = 64


class Reader(Protocol):
    """Lists, compares and decodes the images under a root."""

    def find(self, settings: DataSettings) -> Listing: ...

    def digests(
        self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool
    ) -> Digests: ...

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        """Writes one Parquet file for each part.

        With `look`, the result of a part with deep images has their values, and the part has to be
        written again with a range for them.
        """


class FolderReader(Reader, Protocol):
    """A reader of one folder."""

    def gather(self, classes: Collection[str] | None = None) -> Gathered:
        """All images, whatever their folders are called, or those of some classes.

        Raises InputError where there are none.
        """


class FileReader:
    """Images on a local or shared file system, by path: each task opens its own files."""

    def __init__(self, root: Path, side: Side = ALL) -> None:
        self._root = root
        self._side = side

    def find(self, settings: DataSettings) -> Listing:
        return list_images(self._root, settings, self._side)

    def gather(self, classes: Collection[str] | None = None) -> Gathered:
        return find_images(self._root, self._side, classes)

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        opener = self._opener()

        def digest(path: str) -> str | None:
            return _digest(opener(path), whole)

        return digest_files(spark, files, digest, _DIGESTS_A_TASK)

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

    def _opener(self) -> Callable[[str], Path]:
        # Tasks may run in another directory.
        root, prefix = self._root.absolute(), self._side.prefix
        return lambda path: real_path(root, path.removeprefix(prefix))


def digest_files(
    spark: "SparkSession",
    files: Sequence[ImageFile],
    digest: Callable[[str], str | None],
    files_a_task: int,
) -> Digests:
    """For each file what `digest` makes of its path, on the executors."""
    if not files:
        return []
    context, paths = spark.sparkContext, [file.path for file in files]
    slices = min(-(-len(paths) // files_a_task), 4 * context.defaultParallelism)
    return collected(context.parallelize(paths, slices).map(digest))


def write_parts(
    spark: "SparkSession",
    opener: Callable[[str], Path | bytes],
    parts: Sequence[Part],
    staging: Directory,
    how: Decoding,
    look: bool,
) -> list[PartResult]:
    """Each part's files decoded and written by a task of its own; `opener` as for decode_part."""

    def run(part: Part) -> PartResult:
        decoded = decode_part(opener, part, how, look=look)
        return write_part(staging, part.split, part.number, decoded)

    return collected(spark.sparkContext.parallelize(parts, len(parts)).map(run))


def _digest(path: Path, whole: bool) -> str | None:
    try:
        with path.open("rb") as handle:
            if whole:
                return hashlib.file_digest(handle, "sha256").hexdigest()
            handle.seek(-min(_END, os.fstat(handle.fileno()).st_size), os.SEEK_END)
            return hashlib.sha256(handle.read()).hexdigest()
    except OSError:
        # Decoding will meet the same error and say it.
        return None
