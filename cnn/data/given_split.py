"""An official test set beside the images to train on: two folders, read as one.

Where the test images lie below the folder of the others, their paths are relative to that folder,
as all paths are. Elsewhere they begin with `../` and the name of their own folder, which no path of
another image does, whatever lies between the two.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.decode import Decoding
from cnn.data.duplicates import Digests
from cnn.data.listing import Gathered, Listing, Side, escape
from cnn.data.manifest import DataSettings
from cnn.data.parts import Part, PartResult
from cnn.data.source import ImageSource
from cnn.data.splits import TRAIN, ImageFile

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def sides(images: str, tests: str) -> tuple[Side, Side]:
    """What distinguishes the two folders, given as paths or URIs.

    Raises InputError where the test images are not apart from the others.
    """
    one, other = _comparable(images), _comparable(tests)
    for at, test in zip(one, other, strict=True):
        if at == test:
            raise InputError(f"--test-images must be another folder than --images, but got {tests}")
        if f"{at}/".startswith(f"{test}/"):
            raise InputError(
                f"--test-images must not hold the folder of --images, but {tests} is above {images}"
            )
    for at, test in zip(one, other, strict=True):
        if test.startswith(f"{at}/"):
            below = test.removeprefix(f"{at}/")
            return Side(without=below), Side(tested=True, prefix=f"{escape(below)}/")
    return Side(), Side(tested=True, prefix=f"../{escape(other[0].rpartition('/')[2])}/")


def _comparable(place: str) -> tuple[str, str]:
    """A folder as it was named and with links resolved, without a slash at the end."""
    place = place.removeprefix("file://") if place.startswith("file:///") else place
    if "://" in place:
        return place.rstrip("/"), place.rstrip("/")
    path = Path(place)
    return os.path.normpath(path.absolute()).rstrip("/"), str(path.resolve()).rstrip("/")


class GivenSplit:
    """Two image sources as one: the images to train on and the test images.

    It does for preprocessing what an ImageSource does.
    """

    def __init__(self, images: ImageSource, tests: ImageSource) -> None:
        self._images = images
        self._tests = tests

    def find(self, settings: DataSettings) -> Listing:
        """Raises InputError too where the test images have not just the classes of the others."""
        listing = self._images.find(settings)
        return _joined(listing, self._tests.gather(settings.classes))

    def digests(self, spark: "SparkSession", files: Sequence[ImageFile], whole: bool) -> Digests:
        if not whole and not (self._images.reads_ends and self._tests.reads_ends):
            # What of one end there is says nothing where there is no other.
            return [""] * len(files)
        digests: Digests = [None] * len(files)
        for source, tested in ((self._images, False), (self._tests, True)):
            mine = [i for i, file in enumerate(files) if file.tested == tested]
            found = source.digests(spark, [files[i] for i in mine], whole)
            for i, digest in zip(mine, found, strict=True):
                digests[i] = digest
        return digests

    def write(
        self,
        spark: "SparkSession",
        parts: Sequence[Part],
        staging: Directory,
        how: Decoding,
        *,
        look: bool = False,
    ) -> list[PartResult]:
        # The parts of the training images come before the others. Of deep images one side alone
        # may have some, whose parts are then the only ones to be written again.
        mine = [part for part in parts if part.split == TRAIN]
        others = [part for part in parts if part.split != TRAIN]
        return [
            result
            for source, some in ((self._images, mine), (self._tests, others))
            if some
            for result in source.write(spark, some, staging, how, look=look)
        ]


def _joined(listing: Listing, found: Gathered) -> Listing:
    # Those without a path are of classes that were not asked for.
    files = [file for file in found.files if file.path]
    tested = {file.class_name for file in files}
    for name in sorted(tested - set(listing.classes)):
        raise InputError(
            f"--test-images must hold folders of the classes of --images "
            f"({', '.join(listing.classes)}), but {name!r} is none of them"
        )
    for name in listing.classes:
        if name not in tested:
            raise InputError(
                f"--test-images must hold images of every class, but {name!r} has none there"
            )
    inputs = hashlib.sha256(f"{listing.inputs} {found.stats}".encode())
    return Listing(
        [*listing.files, *files],
        listing.classes,
        [*listing.rejects, *found.rejects],
        listing.ignored + found.ignored,
        inputs.hexdigest(),
    )


Images = ImageSource | GivenSplit
