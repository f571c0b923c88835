"""Image sources: list images, compare them, and let Spark tasks read them.

There is one class for each kind of place: a folder that the driver and the executors share
(`folder`), a bucket (`store`), and a file system that only Spark can reach (`hadoop`). `source_of`
creates the source for a place that the user named. To add a kind of place, derive a class from
ImageSource that lists its folders (`folders`) and says how a task reads an image (`opener`).
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding, Unreadable, decode_file, with_file
from cnn.data.duplicates import Digests
from cnn.data.folders.class_rule import BY_FOLDER, ClassRule, class_rule
from cnn.data.folders.likeness import thumbnail
from cnn.data.parts import Part, PartResult, decode_part, write_part
from cnn.data.sources.listing import (
    ALL,
    Folder,
    Gathered,
    Listing,
    Subset,
    gather,
    listing_of,
    no_images,
    one_file,
)
from cnn.data.splits import ImageFile
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Different files of equal size nearly always differ in their last bytes.
_END = 4096
# Raises InputError if what was found cannot be a data set.
Check = Callable[[Gathered], None]


class ImageSource(ABC):
    """The images at one place, for preprocessing and for predicting.

    Preprocessing uses `find`, `digests` and `write`; prediction uses `gather_new`, `frame` and
    `opener`. Spark tasks get listed paths and the result of `opener`, never the source itself.
    """

    # Whether reading the last bytes of a file is faster than reading the whole file.
    reads_ends: ClassVar = False
    # The number of files that one task of `digests` reads.
    digests_a_task: ClassVar = 1

    def __init__(self, place: str, subset: Subset, *, is_folder: bool, is_file: bool) -> None:
        """`place` is a path or URI for messages; it is missing if it is neither folder nor file."""
        self.place = place
        self.subset = subset
        self.is_folder = is_folder
        self.is_file = is_file

    @abstractmethod
    def folders(self) -> Iterator[Folder]:
        """Yields the folder and all folders inside it, each with the files directly in it."""

    @abstractmethod
    def opener(self) -> Callable[[Any], Path | bytes]:
        """Returns a function that turns an item of `frame` into a path or the file's bytes.

        An item is a listed path unless the source overrides `frame`. The function must be small
        when pickled; it may raise Unreadable.
        """

    def find(self, settings: DataSettings, check: Check = lambda found: None) -> Listing:
        """Lists the images of a data set.

        Args:
            settings: The settings of the data set, which say what a class is.
            check: Called with what was found, before it is made a listing.

        Raises:
            InputError: The place is not a folder, has fewer than two classes, or lacks a
                requested one.
        """
        self._check_folder()
        found = gather(self.folders(), class_rule(settings), self.subset)
        check(found)
        return listing_of(found, self.place, settings)

    def gather(self, rule: ClassRule = BY_FOLDER) -> Gathered:
        """Lists all images with the classes that a rule gives them.

        Raises:
            InputError: The place is not a folder, or holds no images, or one without a class.
        """
        self._check_folder()
        found = gather(self.folders(), rule, self.subset)
        if not found.files and not found.rejects:
            raise no_images(self.subset.option, self.place, found)
        return found

    def gather_new(self) -> Gathered:
        """Lists images to classify: those in a folder, or a single file.

        Raises:
            InputError: The place is neither a folder nor a file, or holds no images.
        """
        if self.is_file:
            return one_file(self.place.rstrip("/").rpartition("/")[2])
        if not self.is_folder:
            raise InputError(
                "{} must be a folder or a file, but got {}", self.subset.option, self.place
            )
        return self.gather()

    def _check_folder(self) -> None:
        if self.is_file:
            raise InputError(
                "{} must be a folder that holds one folder of images for each class, but {} is a "
                "file",
                self.subset.option,
                self.place,
            )
        if not self.is_folder:
            raise InputError("{} must be a folder, but got {}", self.subset.option, self.place)

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        """Computes digests of files on the executors, to find identical files.

        Args:
            spark: The session whose executors read the files.
            files: Listed images of this source.
            whole: Whether to digest all bytes or only the last ones.

        Returns:
            A digest for each file, or None if it cannot be read; decoding will report why. All
            digests are "" if reading only the last bytes would not be faster.
        """
        if not whole and not self.reads_ends:
            return [""] * len(files)
        if not files:
            return []
        opener = self.opener()

        def digest(path: str) -> str | None:
            try:
                return with_file(opener(path), partial(_digest, whole=whole))
            except Unreadable:
                return None

        context, paths = spark.sparkContext, [file.path for file in files]
        slices = min(-(-len(paths) // self.digests_a_task), 4 * context.defaultParallelism)
        return collected(context.parallelize(paths, slices).map(digest))

    def thumbnails(self, spark: "SparkSession", files: Sequence[ImageFile]) -> list[bytes | None]:
        """Small grey copies of a few listed images, made on the executors; None if unreadable."""
        if not files:
            return []
        opener = self.opener()
        frame = self.frame(spark, files, spark.sparkContext.defaultParallelism)
        pairs = frame.rdd.map(lambda row: (row["path"], thumbnail(opener, row["item"])))
        found = dict(collected(pairs))
        return [found.get(file.path) for file in files]

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        """Decodes images and writes one Parquet file for each part.

        Args:
            spark: The session whose tasks decode the images.
            parts: One or more parts of listed images of this source.
            staging: The data directory that is being made.
            how: How images are decoded.
            look: Whether to return the values of deep images instead of decoding them. A part that
                has any must be written again with a value range.

        Returns:
            The result of each part, in the same order.
        """
        opener = self.opener()

        def run(part: Part) -> PartResult:
            decoded = decode_part(opener, part, how, look=look)
            return write_part(staging, part.split, part.number, decoded, how)

        return collected(spark.sparkContext.parallelize(parts, len(parts)).map(run))

    def decode_some(
        self, spark: "SparkSession", paths: Sequence[str], how: Decoding
    ) -> dict[str, bytes]:
        """The pixels of those of a few files that can be decoded, by listed path."""
        opener = self.opener()

        def run(path: str) -> tuple[str, bytes | None]:
            try:
                return path, decode_file(opener(path), how).tobytes()
            except Unreadable:
                return path, None

        if not paths:
            return {}
        context = spark.sparkContext
        slices = min(len(paths), context.defaultParallelism)
        found = collected(context.parallelize(paths, slices).map(run))
        return {path: pixels for path, pixels in found if pixels is not None}

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        """Columns `path` and `item` of files, in `tasks` partitions; `opener` takes an item."""
        paths = pa.array([file.path for file in files], pa.string())
        return spark.createDataFrame(pa.table({"path": paths, "item": paths})).repartition(tasks)


def needs_spark(place: str) -> bool:
    """Whether only Spark can reach a place, so that even listing it needs a session."""
    return "://" in place and not place.startswith("s3://")


def source_of(place: str, spark: "SparkSession | None" = None, subset: Subset = ALL) -> ImageSource:
    """Creates the source of the images at a place that the user named.

    Args:
        place: A path, s3://BUCKET/PATH, or any other URI that Spark can read.
        spark: The session; required if `needs_spark(place)`.
        subset: The part of the data set that the place holds.

    Raises:
        InputError: The place's store or file system cannot be reached.
    """
    # Imported here because these modules import this one.
    from cnn.data.sources.folder import FolderSource
    from cnn.data.sources.hadoop import SparkSource
    from cnn.data.sources.store import StoreSource

    if needs_spark(place):
        assert spark is not None
        return SparkSource(spark, place, subset)
    if "://" in place:
        return StoreSource(reachable(place), subset)
    return FolderSource(Path(place), subset)


def _digest(content: Any, *, whole: bool) -> str:
    """The digest of bytes or of an open file."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if whole:
        return hashlib.file_digest(content, "sha256").hexdigest()
    content.seek(-min(_END, content.seek(0, io.SEEK_END)), io.SEEK_END)
    return hashlib.sha256(content.read()).hexdigest()
