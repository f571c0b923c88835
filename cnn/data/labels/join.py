"""Joins the rows of a table of labels with the listed files, in Spark.

A row names the file with its path below the images' folder, or else the only one whose path ends
with it; in both cases the extension may be missing. Rows without a file stay in Spark, and tasks
write them to `rejects/`; of the others the driver gets what belongs to listed files.
"""

import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure
from cnn.data.labels.rows import SCHEMA, Reading, text
from cnn.data.labels.table import LabelTable
from cnn.data.rejects import AbsentRows, Kind, rejects_table, write_table
from cnn.spark.interruptible import collected, interruptible

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

# How well a row's path fits a file's: the whole path, its end, or these without the extension.
_KEYS = "key string, rank int, index int"
# A task's result beyond a mebibyte takes a detour through the JVM's memory, where it can be lost.
_FILES_A_TASK = 10_000
_NO_PATH, _NO_FILE = "no path in the table", "no such file"


@dataclass(frozen=True)
class Joined:
    """What became of a table's rows.

    `named` has a row for each file that the table names: its `index` in the listing, the number of
    `rows` that name it, `label`, `group`, `part` and `weight`, and why it is a reject, or null.
    """

    named: pa.Table
    absent: AbsentRows

    @property
    def rows(self) -> int:
        """The number of rows of the table."""
        return (pc.sum(self.named["rows"]).as_py() or 0) + self.absent.total


@contextmanager
def joined(
    spark: "SparkSession", paths: Sequence[str], table: LabelTable, reading: Reading
) -> Iterator[Joined]:
    """Joins a table with listed paths; its rows stay in Spark until the end of the block.

    Raises Error if the table is damaged.
    """
    matched = _matched(spark, paths, table, reading).persist()
    pieces = 1 + len(paths) // _FILES_A_TASK
    # The paths and the rows of a large data set are not kept until the end.
    del paths
    try:
        with _as_error(table.place):
            found = [_collected(matched, pieces)]
        yield found.pop()
    finally:
        matched.unpersist()


def _collected(matched: "DataFrame", pieces: int) -> Joined:
    """What the driver gets of the rows, in so many pieces."""
    from pyspark.sql.functions import col, count, substring_index, trim
    from pyspark.sql.functions import min as least

    named = interruptible(matched.sparkSession.sparkContext, _by_file(matched, pieces).toArrow)
    absent = matched.where("index IS NULL")
    kind = trim(substring_index("reason", "(", 1)).alias("kind")
    kinds = absent.groupBy(kind).agg(count("*"), least("name"))
    found = {k: Kind(n, example or "") for k, n, example in map(tuple, collected(kinds))}
    rejects = absent.select(col("name").alias("path"), "reason")
    return Joined(named.sort_by("index"), AbsentRows(found, lambda data: _write(rejects, data)))


def different_values(
    spark: "SparkSession", table: LabelTable, column: str, most: int = 100_000
) -> list[str]:
    """Different values of a column, sorted; at most `most` of them."""
    frame = table.frame(spark, [column], _unique, "value string").distinct().limit(most)
    with _as_error(table.place):
        return sorted(value for (value,) in collected(frame) if value is not None)


def _unique(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([text(batch.column(0)).unique()], ["value"])


def _matched(
    spark: "SparkSession", paths: Sequence[str], table: LabelTable, reading: Reading
) -> "DataFrame":
    """The rows with the index of their file, or null and the reason."""
    from pyspark.sql.functions import coalesce, col, concat, lit, when

    rows = table.frame(spark, reading.columns.used(), reading, SCHEMA)
    # Spark sends all rows without a key to one task: give them keys that no file has.
    rows = rows.withColumn("alternative", coalesce("alternative", concat(lit("\0"), col("key"))))
    files = _files(spark, paths)
    one = files.select(col("key"), col("found").alias("one"))
    two = files.select(col("key").alias("alternative"), col("found").alias("two"))
    both = rows.join(one, "key", "left").join(two, "alternative", "left")
    first = col("two").isNull() | (col("one.rank") <= col("two.rank"))
    chosen = both.withColumn("found", when(first, col("one")).otherwise(col("two")))
    several = concat(
        lit("ambiguous path ("), col("found.files").cast("string"), lit(" files end with it)")
    )
    reason = (
        when(col("name").isNull(), lit(_NO_PATH))
        .when(col("found").isNull(), lit(_NO_FILE))
        .when(col("found.files") > 1, several)
        .otherwise(col("reason"))
    )
    index = when(col("found.files") == 1, col("found.index"))
    return chosen.select(
        index.alias("index"), "name", "label", "group", "part", "weight", reason.alias("reason")
    )


def _files(spark: "SparkSession", paths: Sequence[str]) -> "DataFrame":
    """By each key that may name a file: how well it does, the number of files, and the first."""
    from pyspark.sql.functions import count, struct
    from pyspark.sql.functions import min as least

    listed = pa.table(
        {"path": pa.array(paths, pa.string()), "index": pa.array(range(len(paths)), pa.int32())}
    )
    keys = spark.createDataFrame(listed).mapInArrow(_keys, _KEYS).repartition("key")
    ranked = keys.groupBy("key", "rank").agg(
        count("*").alias("files"), least("index").alias("index")
    )
    return ranked.groupBy("key").agg(least(struct("rank", "files", "index")).alias("found"))


def _keys(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        found: list[tuple[str, int, int]] = []
        for path, index in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            found += [(key, rank, index) for key, rank in keys_of(path)]
        columns = zip(*found, strict=True)
        types = (pa.string(), pa.int32(), pa.int32())
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)],
            ["key", "rank", "index"],
        )


def keys_of(path: str) -> Iterator[tuple[str, int]]:
    """What a table may call a file, each with its rank, the best being 0.

    >>> sorted(keys_of("a/1.jpg"), key=lambda found: found[1])
    [('a/1.jpg', 0), ('1.jpg', 1), ('a/1', 2), ('1', 3)]
    """
    rest = unicodedata.normalize("NFC", path)
    rank = 0
    while rest:
        yield rest, rank
        stem = posixpath.splitext(rest)[0]
        if stem != rest:
            yield stem, rank + 2
        rest, rank = rest.partition("/")[2], 1


def _by_file(matched: "DataFrame", pieces: int) -> "DataFrame":
    from pyspark.sql.functions import coalesce, concat, count, lit, when
    from pyspark.sql.functions import max as most
    from pyspark.sql.functions import min as least

    def conflict(name: str) -> "Column":
        low, high = least(name), most(name)
        pair = concat(low.cast("string"), lit(" and "), high.cast("string"))
        text = concat(lit(f"named twice with different {name}s ("), pair, lit(")"))
        return when(low != high, text)

    values: Any = ("label", "group", "part", "weight")
    reason = coalesce(least("reason"), *map(conflict, values))
    return (
        matched.where("index IS NOT NULL")
        .repartition(pieces, "index")
        .groupBy("index")
        .agg(count("*").alias("rows"), *(least(n).alias(n) for n in values), reason.alias("why"))
    )


def _write(rejects: "DataFrame", data: Directory) -> None:
    """Writes rejects by tasks, each its own file."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        assert context is not None
        # One file for each partition: a task that is tried again replaces its own.
        rows = [batch for batch in batches if batch.num_rows]
        if rows:
            table = rejects_table(pa.Table.from_batches(rows))
            write_table(data, f"rows-{context.partitionId():05d}", table)
        yield pa.RecordBatch.from_pydict({"rows": pa.array([sum(map(len, rows))], pa.int64())})

    slots = rejects.sparkSession.sparkContext.defaultParallelism
    collected(rejects.coalesce(slots).mapInArrow(run, "rows long"))


@contextmanager
def _as_error(place: str) -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise Error("the table {} cannot be read: {}", place, failure(error)) from error
