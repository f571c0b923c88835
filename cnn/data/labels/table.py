"""A table of labels at a place that the user named, and the Spark frame of its rows.

Tables at a path or s3:// are read by tasks with Arrow; at any other URI by Spark's own readers. The
driver reads only the header. A small file on a path is an exception: the driver sends its content
along, so that executors on other machines need not see that path.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from cnn.core.directory import check_uri, reachable
from cnn.core.errors import InputError
from cnn.data.labels.columns import LABELS
from cnn.data.labels.file import (
    Format,
    TableFile,
    batches,
    checked,
    content_of,
    format_of,
    info_of,
    sniffed,
)
from cnn.data.sources.source import needs_spark

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

# A larger file on a path is read by the tasks, which must see the path.
SENT_BYTES = 16 << 20
# Changes each batch of rows; it runs in the tasks.
Change = Callable[[pa.RecordBatch], pa.RecordBatch]


class LabelTable(ABC):
    """A table of labels. `stats` changes whenever the table does, as far as its storage tells."""

    place: str
    columns: tuple[str, ...]
    stats: str

    @abstractmethod
    def frame(
        self, spark: "SparkSession", columns: Sequence[str], change: Change, schema: str
    ) -> "DataFrame":
        """The rows of these columns, in this order, after `change`, whose result has `schema`."""


def folder_of(place: str) -> str:
    """The folder of a table: a path or URI."""
    if "://" in place:
        return place.rstrip("/").rpartition("/")[0]
    return str(Path(place).absolute().parent)


def open_table(place: str, spark: "SparkSession | None" = None) -> LabelTable:
    """Opens the table at a place that the user named.

    Args:
        place: A path, s3://BUCKET/PATH, or any other URI that Spark can read.
        spark: The session; required if `needs_spark(place)`.

    Raises:
        InputError: There is no table.
    """
    check_uri(place)
    if needs_spark(place):
        assert spark is not None
        return _SparkTable(place, spark)
    return _ArrowTable(place)


def _none_there(place: str, why: object = None) -> InputError:
    return InputError(
        "{} must be a CSV, TSV or Parquet file, or a folder of Parquet files, but got {}{}",
        LABELS,
        place,
        f": {why}" if why else "",
    )


class _ArrowTable(LabelTable):
    def __init__(self, place: str) -> None:
        self.place = place
        root = reachable(place)
        names = [""] if root.is_file() else [n for n in root.files() if n.endswith(".parquet")]
        files = [root.sub(name) if name else root for name in names]
        if not files:
            raise _none_there(place)
        infos = [info_of(file) for file in files]
        self.stats = " ".join(
            f"{name}:{info.size}:{info.mtime_ns}" for name, info in zip(names, infos, strict=True)
        )
        self._files = [
            TableFile(
                file.uri,
                content_of(file) if file.local_path and info.size <= SENT_BYTES else None,
            )
            for file, info in zip(files, infos, strict=True)
        ]
        try:
            self._format = format_of(self._files[0], place, LABELS)
        except (OSError, ValueError) as error:
            raise _none_there(place, error) from None
        self.columns = self._format.columns

    def frame(
        self, spark: "SparkSession", columns: Sequence[str], change: Change, schema: str
    ) -> "DataFrame":
        uris = pa.array([file.uri for file in self._files], pa.string())
        contents = pa.array([file.content for file in self._files], pa.binary())
        frame = spark.createDataFrame(pa.table({"uri": uris, "content": contents}))
        read = partial(_read, how=self._format, columns=tuple(columns), change=change)
        return frame.repartition(len(self._files)).mapInArrow(read, schema)


def _read(
    given: Iterable[pa.RecordBatch], how: Format, columns: Sequence[str], change: Change
) -> Iterator[pa.RecordBatch]:
    for batch in given:
        for row in batch.to_pylist():
            try:
                for found in batches(TableFile(**row), how, columns):
                    yield change(found)
            except (ValueError, KeyError) as error:
                raise ValueError(f"{row['uri']} is no table: {error}") from None


class _SparkTable(LabelTable):
    def __init__(self, place: str, spark: "SparkSession") -> None:
        from py4j.protocol import Py4JJavaError
        from pyspark.errors import PySparkException

        self.place = place
        java: Any = spark.sparkContext._jsc
        jvm: Any = spark.sparkContext._jvm
        try:
            path = jvm.org.apache.hadoop.fs.Path(place)
            system = path.getFileSystem(java.hadoopConfiguration())
            status, about = system.getFileStatus(path), system.getContentSummary(path)
            self.stats = f"{about.getLength()} {status.getModificationTime()}"
            if status.isDirectory() or place.endswith((".parquet", ".pq")):
                self._frame = spark.read.parquet(place)
                names = tuple(self._frame.columns)
                self._format = checked(Format(names, names), place, LABELS)
            else:
                lines = [row[0] for row in spark.read.text(place).head(20)]
                self._format = checked(sniffed(lines), place, LABELS)
                self._frame = _text_frame(spark, place, self._format)
        except Py4JJavaError as error:
            raise _none_there(place, error.java_exception.getMessage()) from None
        except PySparkException as error:
            raise _none_there(place, str(error).partition("\n")[0]) from None
        self.columns = self._format.columns

    def frame(
        self, spark: "SparkSession", columns: Sequence[str], change: Change, schema: str
    ) -> "DataFrame":
        from pyspark.sql.functions import col

        # By number: the name of a column may contain a dot, which Spark takes for a field.
        numbered = self._frame.toDF(*(f"c{i}" for i in range(len(self.columns))))
        chosen = [
            col(f"c{self.columns.index(name)}").alias(f"chosen{place}")
            for place, name in enumerate(columns)
        ]

        def changed(given: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            return map(change, given)

        return numbered.select(*chosen).mapInArrow(changed, schema)


def _text_frame(spark: "SparkSession", place: str, how: Format) -> "DataFrame":
    schema = ", ".join(f"c{i} string" for i in range(len(how.columns)))
    return (
        spark.read.schema(schema)
        .option("header", "true")
        .option("sep", how.separator)
        .option("multiLine", "true")
        .option("escape", '"')
        .option("encoding", "UTF-8")
        # A row with too few or too many values is an error, also if they are not used.
        .option("mode", "FAILFAST")
        .option("columnPruning", "false")
        .csv(place)
    )
