"""Where images lie: a source lists them, compares them, and has Spark's tasks read them.

There is one kind of source for each kind of place: a folder that driver and executors share
(`folder`), a bucket (`store`), and a file system that Spark alone can reach (`hadoop`).
`source_of` makes the one for a place that the user has named. To add a kind of place, derive a
class from ImageSource that says what lies there (`folders`) and how a task gets it (`opener`).
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.data.decode import Decoding, Unreadable, with_file
from cnn.data.duplicates import Digests
from cnn.data.listing import ALL, Folder, Gathered, Listing, Side, gather, listing_of, one_file
from cnn.data.manifest import DataSettings
from cnn.data.parts import Part, PartResult, decode_part, write_part
from cnn.data.splits import ImageFile
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# Of files of one size, what differs nearly always differs in their last bytes.
_END = 4096


class ImageSource(ABC):
    """The images at one place, for preprocessing and for predicting.

    Preprocessing uses `find`, `digests` and `write`, predicting `gather_new`, `frame` and `opener`.
    Spark's tasks get listed paths and what `opener` returns, never the source itself.
    """

    # Whether the last bytes of a file can be read in less time than the whole.
    reads_ends: ClassVar = False
    # How many files one task of `digests` reads.
    digests_a_task: ClassVar = 1

    def __init__(self, place: str, side: Side, *, is_folder: bool, is_file: bool) -> None:
        """Says what is at `place`, a path or URI as messages are to name it: neither is nothing."""
        self.place = place
        self.side = side
        self.is_folder = is_folder
        self.is_file = is_file

    @abstractmethod
    def folders(self) -> Iterator[Folder]:
        """The folder and all below it, each with its own files."""

    @abstractmethod
    def opener(self) -> Callable[[Any], Path | bytes]:
        """How a task gets an image: from an item of `frame` to a path or to the file's bytes.

        An item is a listed path unless the source overrides `frame`. What is returned here must be
        small when pickled, and may raise Unreadable.
        """

    def find(self, settings: DataSettings) -> Listing:
        """Lists the images of a data set; a class is the folder that directly holds its images.

        Raises:
            InputError: The place is no folder, or it lacks two classes or those asked for.
        """
        self._check_folder()
        found = gather(self.folders(), settings.classes, self.side)
        return listing_of(found, self.place, settings)

    def gather(self, classes: Collection[str] | None = None) -> Gathered:
        """Lists all images, whatever their folders are called, or those of some classes.

        Raises:
            InputError: The place is no folder, or it holds no images.
        """
        self._check_folder()
        found = gather(self.folders(), classes, self.side)
        if not found.files and not found.rejects:
            raise InputError(f"{self.side.flag} must hold images, but {self.place} has none")
        return found

    def gather_new(self) -> Gathered:
        """Lists images to classify: those in a folder, or the one file that the place is.

        Raises:
            InputError: The place is neither, or it holds no images.
        """
        if self.is_file:
            return one_file(self.place.rstrip("/").rpartition("/")[2])
        if not self.is_folder:
            raise InputError(f"--images must be a folder or a file, but got {self.place}")
        return self.gather()

    def _check_folder(self) -> None:
        if self.is_file:
            raise InputError(
                f"{self.side.flag} must be a folder that holds one folder of images for each "
                f"class, but {self.place} is a file"
            )
        if not self.is_folder:
            raise InputError(f"{self.side.flag} must be a folder, but got {self.place}")

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        """Digests files on the executors, to tell which are identical.

        Args:
            spark: The session whose executors read them.
            files: Listed images of this source.
            whole: Whether all bytes count or the last ones alone.

        Returns:
            For each file a digest, or None where it cannot be read: decoding will say why. Where
            reading the ends would save nothing, all of these are equal: "".
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
            spark: The session whose tasks do it.
            parts: One or more, of listed images of this source.
            staging: The data directory in the making.
            how: What becomes of an image's bytes.
            look: Whether deep images are only looked at: the result of a part that has some holds
                their values, and the part must be written again with a range for them.

        Returns:
            What came of each part, in their order.
        """
        opener = self.opener()

        def run(part: Part) -> PartResult:
            decoded = decode_part(opener, part, how, look=look)
            return write_part(staging, part.split, part.number, decoded)

        return collected(spark.sparkContext.parallelize(parts, len(parts)).map(run))

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        """Columns `path` and `item` of files, for so many tasks; `opener` takes an item."""
        paths = pa.array([file.path for file in files], pa.string())
        return spark.createDataFrame(pa.table({"path": paths, "item": paths})).repartition(tasks)


def needs_spark(place: str) -> bool:
    """Whether nothing but Spark can reach a place, so that even listing it takes a session."""
    return "://" in place and not place.startswith("s3://")


def source_of(place: str, spark: "SparkSession | None" = None, side: Side = ALL) -> ImageSource:
    """Makes the source of the images at a place that the user has named.

    Args:
        place: A path, s3://BUCKET/PATH, or any other URI that Spark can read.
        spark: The session, without which there is no source where `needs_spark(place)`.
        side: Which of two folders this is, where an official test set lies beside the images.

    Raises:
        InputError: The place's store or file system cannot be reached.
    """
    # Each kind derives from the class above.
    from cnn.data.folder import FolderSource
    from cnn.data.hadoop import SparkSource
    from cnn.data.store import StoreSource

    if needs_spark(place):
        assert spark is not None
        return SparkSource(spark, place, side)
    if "://" in place:
        return StoreSource(reachable(place), side)
    return FolderSource(Path(place), side)


def _digest(content: Any, *, whole: bool) -> str:
    """Of bytes or of an open file."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    if whole:
        return hashlib.file_digest(content, "sha256").hexdigest()
    content.seek(-min(_END, content.seek(0, io.SEEK_END)), io.SEEK_END)
    return hashlib.sha256(content.read()).hexdigest()
