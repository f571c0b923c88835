"""Writes the rows of a data set anew in another order and split, without decoding images again."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from cnn.core.directory import Directory
from cnn.data.data_settings import DataSettings
from cnn.data.parts import Decoded, Part, PartResult, cut_parts, write_part
from cnn.data.splits import Row
from cnn.data.stored_pictures import read_pixels
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


class _Copy(NamedTuple):
    """A part to write, the files that have its pixels, and its blank images."""

    part: Part
    sources: list[str]
    blank: frozenset[str]


def rearrange(
    spark: "SparkSession",
    staging: Directory,
    parts: Sequence[Part],
    results: Sequence[PartResult],
    split: Mapping[str, list[Row]],
    settings: DataSettings,
) -> list[PartResult]:
    """Replaces the parts of a data set by parts of other rows, and returns their results.

    Rows are ordered by a hash of their path in each split, so a new part gets its pixels from few
    old ones. A task holds the pixels of one part.

    Args:
        spark: The session whose tasks copy the pixels.
        staging: The data directory that is being made.
        parts: Its parts.
        results: The results of the parts.
        split: The new rows. Rows that could not be decoded keep their places, but stay away.
        settings: The settings of the data set.
    """
    source_of = {row.path: part.name for part in parts for row in part.rows}
    for result in results:
        for path, _ in result.rejects:
            del source_of[path]
    blank = {path for result in results for path, _ in result.blank}
    sizes = {row.path: 0 for rows in split.values() for row in rows}
    beyond = 1 + max(part.number for part in parts)
    copies = []
    cores = spark.sparkContext.defaultParallelism
    for cut in cut_parts(dict(split), sizes, settings, cores):
        part = cut._replace(number=cut.number + beyond)
        paths = [row.path for row in part.rows]
        sources = sorted({source_of[path] for path in paths if path in source_of})
        copies.append(_Copy(part, sources, frozenset(blank.intersection(paths))))

    def run(copy: _Copy) -> PartResult:
        return write_part(staging, copy.part.split, copy.part.number, _copied(staging, copy))

    written = collected(spark.sparkContext.parallelize(copies, len(copies)).map(run))
    replaced = {part.name for part in parts}
    for name in split:
        # A part of which Spark could read no file was not written.
        for file in replaced & {f"{name}/{file}" for file in staging.names(name)}:
            staging.delete(file)
    return written


def _copied(staging: Directory, copy: _Copy) -> Iterator[Decoded]:
    wanted = {row.path for row in copy.part.rows}
    pixels = dict(found for name in copy.sources for found in read_pixels(staging, name, wanted))
    for place, row in enumerate(copy.part.rows, start=copy.part.start):
        # Rows without pixels are rejects, of which the first results tell.
        yield Decoded(place, row, pixels.get(row.path), is_blank=row.path in copy.blank)
