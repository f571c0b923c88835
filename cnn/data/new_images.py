"""Where new images lie that are to be classified, and how a task gets at them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.hadoop import SparkReader
from cnn.data.listing import Gathered, find_images, one_file, real_path
from cnn.data.splits import ImageFile
from cnn.data.store_images import StoreReader, read_image

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Images(Protocol):
    """Where new images lie: in a folder, or in a file that is one of them."""

    def gather(self) -> Gathered:
        """Raises InputError where there are none."""

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        """Columns `path` and `item`, from which `opener` makes what a Classifier takes."""

    def opener(self) -> Callable[[Any], Path | bytes]: ...


class FolderImages:
    """On a file system that driver and executors share: each task opens its own files."""

    def __init__(self, place: Path) -> None:
        self._place = place.absolute()
        self._root = self._place.parent if place.is_file() else self._place

    def gather(self) -> Gathered:
        if self._place.is_file():
            return one_file(self._place.name, self._place.stat().st_size)
        if not self._place.is_dir():
            raise _nothing(self._place)
        return find_images(self._place)

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return _paths(spark, files, tasks)

    def opener(self) -> Callable[[Any], Path | bytes]:
        root = self._root
        return lambda path: real_path(root, path)


class StoreImages:
    """On an object store that executors reach by themselves: each task reads its own files."""

    def __init__(self, place: Directory) -> None:
        self._place = place
        self._is_file = place.is_file()
        self._root = Directory(place.uri.rpartition("/")[0]) if self._is_file else place

    def gather(self) -> Gathered:
        if self._is_file:
            return one_file(self._place.uri.rpartition("/")[2], 0)
        if not self._place.exists():
            raise _nothing(self._place.uri)
        return StoreReader(self._place).gather()

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return _paths(spark, files, tasks)

    def opener(self) -> Callable[[Any], Path | bytes]:
        return partial(read_image, self._root)


def _nothing(place: object) -> InputError:
    return InputError(f"--images must be a folder or a file, but got {place}")


def _paths(spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
    paths = pa.array([file.path for file in files], pa.string())
    return spark.createDataFrame(pa.table({"path": paths, "item": paths})).repartition(tasks)


class SparkImages:
    """On a file system that Spark alone can reach: tasks get whole files from it."""

    def __init__(self, spark: "SparkSession", uri: str) -> None:
        self._reader = SparkReader(spark, uri, or_file=True)

    def gather(self) -> Gathered:
        return self._reader.gather()

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return self._reader.contents(files).withColumnRenamed("content", "item")

    def opener(self) -> Callable[[Any], Path | bytes]:
        return lambda content: content
