"""Finds the near-duplicates of a data set that is being made, with Spark.

Each task reads the hashes of all images, 24 bytes each, and looks for candidates in some of the
bands. Only the pixels of candidates are then read again, reduced, and brought together by a
shuffle.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnn.core.directory import Directory
from cnn.data.decoding.decode import Decoding
from cnn.data.near.hashes import HASHES, pictures, read_hashes
from cnn.data.near.method import BANDS, NearPair, candidates, look, nearest, similarity
from cnn.data.parts import Part
from cnn.data.splits import TEST, TRAIN
from cnn.data.stored_pictures import read_pixels
from cnn.spark.interruptible import collected

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A candidate pair's number, and which of its two images.
_Side = tuple[int, int]
# Which of a pair's images, and its reduced pixels.
_Look = tuple[int, bytes]


def find_near_duplicates(
    spark: "SparkSession",
    staging: Directory,
    parts: Sequence[Part],
    how: Decoding,
    without: Collection[str] = (),
) -> list[NearPair]:
    """Finds pairs of near-duplicates among the images of a data set, in the order of its rows.

    Args:
        spark: The session whose tasks compare the images.
        staging: The data directory, whose parts and hashes are written.
        parts: All parts, each split in the order of its rows.
        how: How the images were decoded.
        without: Paths of images that are not compared, because they have the same bytes as others.
    """
    in_order = sorted(parts, key=lambda part: (part.split != TRAIN, part.start))
    paths = [row.path for part in in_order for row in part.rows]
    first = {TRAIN: 0, TEST: sum(len(part.rows) for part in parts if part.split == TRAIN)}
    left_out = np.array([i for i, path in enumerate(paths) if path in without], np.int64)
    pairs = find_candidates(spark, staging, first, left_out)
    if not len(pairs):
        return []
    agreeing = _compared(spark, staging, parts, how, [(paths[i], paths[j]) for i, j, _ in pairs])
    return [
        NearPair(paths[pairs[k][0]], paths[pairs[k][1]], value)
        for k, value in sorted(agreeing.items())
    ]


def find_candidates(
    spark: "SparkSession", staging: Directory, first: Mapping[str, int], left_out: np.ndarray
) -> np.ndarray:
    """Pairs of images with similar hashes, sorted: two numbers, the smaller first, and a distance.

    `first` is the number of the first image by split; images in `left_out` are not compared.
    """
    names = staging.names(HASHES)
    if not names:
        return np.empty((0, 3), np.int64)
    tasks = min(BANDS, spark.sparkContext.defaultParallelism)

    def find(task: int) -> np.ndarray:
        numbers, found = read_hashes(staging, names, first)
        kept = ~np.isin(numbers, left_out)
        numbers = numbers[kept]
        pairs = candidates(found[kept], range(task, BANDS, tasks))
        return np.column_stack([numbers[pairs[:, :2]], pairs[:, 2]])

    found = collected(spark.sparkContext.parallelize(range(tasks), tasks).map(find))
    pairs = nearest(np.concatenate(found))
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def _compared(
    spark: "SparkSession",
    staging: Directory,
    parts: Sequence[Part],
    how: Decoding,
    pairs: Sequence[tuple[str, str]],
) -> dict[int, float]:
    """The similarity of those pairs that are near-duplicates, by their position in `pairs`."""
    sides: dict[str, list[_Side]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        for side, path in enumerate(pair):
            sides[path].append((number, side))
    wanted = [
        (part.name, here)
        for part in parts
        if (here := {row.path: sides[row.path] for row in part.rows if row.path in sides})
    ]

    def reduced(task: tuple[str, dict[str, list[_Side]]]) -> Iterator[tuple[int, _Look]]:
        name, here = task
        for path, pixels in read_pixels(staging, name, here):
            seen = look(pictures([pixels], how)[0]).tobytes()
            for number, side in here[path]:
                yield number, (side, seen)

    def compare(found: Iterable[_Look]) -> float:
        looks = [np.frombuffer(seen, np.uint8) for _, seen in sorted(found)]
        side = math.isqrt(len(looks[0]) // how.channels)
        one, other = (seen.reshape(side, side, how.channels) for seen in looks)
        return round(similarity(one, other), 3)

    context = spark.sparkContext
    together = (
        context.parallelize(wanted, len(wanted))
        .flatMap(reduced)
        .groupByKey(min(len(pairs), 4 * context.defaultParallelism))
        .mapValues(compare)
    )
    return dict(collected(together.filter(lambda item: item[1] > 0)))
