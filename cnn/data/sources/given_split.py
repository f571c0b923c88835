"""Combines the training images and an official test set, in two folders, into one data set.

If the test folder is inside the training folder, the paths of the test images are relative to the
training folder, like all paths. Otherwise they start with `../` and the name of the test folder;
no other path starts with `../`.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding
from cnn.data.duplicates import Digests
from cnn.data.folders.class_rule import class_rule
from cnn.data.parts import Part, PartResult
from cnn.data.sources.listing import Gathered, Listing, Subset
from cnn.data.sources.paths import escape
from cnn.data.sources.source import Check, ImageSource, source_of
from cnn.data.splits import TRAIN, ImageFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Result = TypeVar("Result")
IMAGES, TESTS = Option("images"), Option("test_images")


def subsets(images: str, tests: str) -> tuple[Subset, Subset]:
    """Returns the subsets of the training and the test images, given their paths or URIs.

    Raises InputError if the test folder is or contains the training folder.
    """
    one, other = _comparable(images), _comparable(tests)
    for at, test in zip(one, other, strict=True):
        if at == test:
            raise InputError(
                "{} must be a different folder from {}, but got {}", TESTS, IMAGES, tests
            )
        if f"{at}/".startswith(f"{test}/"):
            raise InputError(
                "{} must not contain the folder of {}, but {} contains {}",
                TESTS,
                IMAGES,
                tests,
                images,
            )
    for at, test in zip(one, other, strict=True):
        if test.startswith(f"{at}/"):
            below = test.removeprefix(f"{at}/")
            return Subset(without=below), Subset(tested=True, prefix=f"{escape(below)}/")
    return Subset(), Subset(tested=True, prefix=f"../{escape(other[0].rpartition('/')[2])}/")


def _comparable(place: str) -> tuple[str, str]:
    """A folder as named and with links resolved, without a trailing slash."""
    place = place.removeprefix("file://") if place.startswith("file:///") else place
    if "://" in place:
        return place.rstrip("/"), place.rstrip("/")
    path = Path(place)
    return os.path.normpath(path.absolute()).rstrip("/"), str(path.resolve()).rstrip("/")


class GivenSplit:
    """Two image sources as one: the training images and the test images.

    It has the methods of an ImageSource that preprocessing uses.
    """

    def __init__(self, images: ImageSource, tests: ImageSource) -> None:
        self._images = images
        self._tests = tests

    def find(self, settings: DataSettings, check: Check = lambda found: None) -> Listing:
        """`ImageSource.find` for both; raises InputError if their classes differ."""
        listing = self._images.find(settings, check)
        return _joined(listing, self._tests.gather(class_rule(settings)))

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        if not whole and not (self._images.reads_ends and self._tests.reads_ends):
            # Digests of the last bytes are useless unless both sources have them.
            return [""] * len(files)
        return self._of_each(files, lambda source, some: source.digests(spark, some, whole))

    def thumbnails(self, spark: "SparkSession", files: Sequence[ImageFile]) -> list[bytes | None]:
        return self._of_each(files, lambda source, some: source.thumbnails(spark, some))

    def _of_each(
        self,
        files: Sequence[ImageFile],
        read: Callable[[ImageSource, Sequence[ImageFile]], Sequence[Result | None]],
    ) -> list[Result | None]:
        """What `read` returns for each file, from the source that the file belongs to."""
        results: list[Result | None] = [None] * len(files)
        for source, tested in ((self._images, False), (self._tests, True)):
            mine = [i for i, file in enumerate(files) if file.tested == tested]
            for i, result in zip(mine, read(source, [files[i] for i in mine]), strict=True):
                results[i] = result
        return results

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        # Training parts come before test parts. One of the two may be empty: only parts with deep
        # images are written again.
        mine = [part for part in parts if part.split == TRAIN]
        others = [part for part in parts if part.split != TRAIN]
        return [
            result
            for source, some in ((self._images, mine), (self._tests, others))
            if some
            for result in source.write(spark, some, staging, how, look=look)
        ]

    def decode_some(
        self, spark: "SparkSession", paths: Sequence[str], how: Decoding
    ) -> dict[str, bytes]:
        prefix = self._tests.subset.prefix
        tests = [path for path in paths if path.startswith(prefix)]
        others = [path for path in paths if not path.startswith(prefix)]
        found = self._images.decode_some(spark, others, how)
        return found | self._tests.decode_some(spark, tests, how)


def _joined(listing: Listing, found: Gathered) -> Listing:
    # Files without a path belong to classes that were not requested.
    files = [file for file in found.files if file.path]
    tested = {file.class_name for file in files}
    for name in sorted(tested - set(listing.classes)):
        raise InputError(
            "{} must hold folders of the classes of {} ({}), but {!r} is not one of them",
            TESTS,
            IMAGES,
            ", ".join(listing.classes),
            name,
        )
    for name in listing.classes:
        if name not in tested:
            raise InputError(
                "{} must hold images of every class, but {!r} has none there", TESTS, name
            )
    inputs = hashlib.sha256(f"{listing.inputs} {found.stats}".encode())
    return Listing(
        [*listing.files, *files],
        listing.classes,
        [*listing.rejects, *found.rejects],
        listing.ignored + found.ignored,
        inputs.hexdigest(),
        Counter(listing.passed_over) + found.passed_over,
    )


Images = ImageSource | GivenSplit


def images_at(places: Sequence[str], spark: "SparkSession | None" = None) -> Images:
    """The source of images at a place, or of images and an official test set at two."""
    if len(places) == 1:
        return source_of(places[0], spark)
    one, other = subsets(*places)
    return GivenSplit(source_of(places[0], spark, one), source_of(places[1], spark, other))
