"""Where new images lie that are to be classified, and how a task gets at them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from cnn.hadoop import SparkReader
from cnn.listing import Gathered, find_images, real_path
from cnn.splits import ImageFile
from cnn.storage import Directory
from cnn.store_images import StoreReader, read_image

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


class Images(Protocol):
    """Where new images lie."""

    def gather(self) -> Gathered: ...

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        """Columns `path` and `item`, from which `opener` makes what a Classifier takes."""

    def opener(self) -> Callable[[Any], Path | bytes]: ...


class FolderImages:
    """On a file system that driver and executors share: each task opens its own files."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def gather(self) -> Gathered:
        return find_images(self._root)

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return _paths(spark, files, tasks)

    def opener(self) -> Callable[[Any], Path | bytes]:
        root = self._root
        return lambda path: real_path(root, path)


class StoreImages:
    """On an object store that executors reach by themselves: each task reads its own files."""

    def __init__(self, root: Directory) -> None:
        self._root = root

    def gather(self) -> Gathered:
        return StoreReader(self._root).gather()

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return _paths(spark, files, tasks)

    def opener(self) -> Callable[[Any], Path | bytes]:
        return partial(read_image, self._root)


def _paths(spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
    paths = pa.array([file.path for file in files], pa.string())
    return spark.createDataFrame(pa.table({"path": paths, "item": paths})).repartition(tasks)


class SparkImages:
    """On a file system that Spark alone can reach: tasks get whole files from it."""

    def __init__(self, spark: "SparkSession", uri: str) -> None:
        self._reader = SparkReader(spark, uri)

    def gather(self) -> Gathered:
        return self._reader.gather()

    def frame(self, spark: "SparkSession", files: Sequence[ImageFile], tasks: int) -> "DataFrame":
        return self._reader.contents(files).withColumnRenamed("content", "item")

    def opener(self) -> Callable[[Any], Path | bytes]:
        return lambda content: content
