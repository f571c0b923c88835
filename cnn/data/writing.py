"""Writes the parts of a data set on Spark, and sums up what they hold."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cnn.core.console import say
from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding
from cnn.data.decoding.deep_images import ValueRange
from cnn.data.decoding.deep_value_range import describe_dark, find_range
from cnn.data.overview import Pixels
from cnn.data.parts import Part, PartResult
from cnn.data.sources.given_split import Images
from cnn.data.splits import TEST, TRAIN
from cnn.data.stored_pictures import as_array

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def write_parts(
    spark: "SparkSession",
    images: Images,
    parts: Sequence[Part],
    staging: Directory,
    settings: DataSettings,
) -> tuple[list[PartResult], ValueRange | None]:
    """Writes all parts. Parts with deep images are written again when the value range of all
    training images is known; a data set without deep images is read once.
    """
    known = settings.value_range
    how = settings.decoding(known)
    results = images.write(spark, parts, staging, how, look=known is None)
    again = [number for number, result in enumerate(results) if result.deep]
    if not again:
        return results, known
    deep = [image for result in results if result.split == TRAIN for image in result.deep]
    if deep:
        known = find_range(deep)
        warning = describe_dark(deep, known)
        if warning is not None:
            say(warning)
    # Deep test images become rejects if there is no range: test images do not determine one.
    how = settings.decoding(known)
    written = images.write(spark, [parts[number] for number in again], staging, how)
    for number, result in zip(again, written, strict=True):
        results[number] = result
    return results, known


def decode_some(
    spark: "SparkSession", images: Images, how: Decoding, paths: Collection[str]
) -> Pixels:
    """The pixels of those of a few files that can be decoded."""
    found = images.decode_some(spark, sorted(paths), how)
    return {path: as_array(pixels, how) for path, pixels in found.items()}


@contextmanager
def as_error() -> Iterator[None]:
    """Turns any error of Spark or of a file system into an Error."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        raise Error(f"preprocessing failed, and nothing was written: {failure(error)}") from error


def fingerprint(
    results: Iterable[PartResult], settings: DataSettings, classes: Sequence[str]
) -> str:
    """A hash of all rows and positions: a sum, so that it does not depend on the parts."""
    total = sum(result.checksum for result in results) % 2**128
    text = f"{total:032x} {settings.image_size} {settings.channels} {'/'.join(classes)}"
    return hashlib.sha256(text.encode()).hexdigest()


def count_images(
    results: Iterable[PartResult], classes: Sequence[str]
) -> dict[str, dict[str, int]]:
    """The images of each class in each split; raises Error if a class has none in one."""
    counts = {split: dict.fromkeys(classes, 0) for split in (TRAIN, TEST)}
    for result in results:
        for label, count in result.counts.items():
            counts[result.split][classes[label]] += count
    for split, by_class in counts.items():
        for name, count in by_class.items():
            if count == 0:
                raise Error(f"no image of class {name!r} in the {split} split could be decoded")
    return counts
