"""What a page about a data set is made from: `cnn.report.data_page` makes it.

Nothing here grows with the number of images, except the lists of single files that the data
directory has as well.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnn.core.errors import Error
from cnn.data.decoding.blank_images import BlankImage
from cnn.data.decoding.originals import EXTREMES, KEYS, Original, Originals, merged
from cnn.data.manifest import Manifest
from cnn.data.near.resolution import NearDuplicate
from cnn.data.parts import PartResult
from cnn.data.rejects import Kinds, Reject
from cnn.data.splits import TEST, TRAIN, Row

# The page, in the data directory.
DATA_PAGE = "data.html"

Pixels = dict[str, np.ndarray]


class Picked(NamedTuple):
    """An extreme image."""

    path: str
    class_name: str
    original: Original


@dataclass(frozen=True)
class Overview:
    """A data set that is about to be complete, for its page.

    Attributes:
        manifest: The manifest.
        originals: What the files have; its places are meaningless here.
        samples: Paths of training images, by class, for the first classes.
        extremes: The most extreme images, for each of `cnn.data.decoding.originals.KEYS`.
        blank: The blank images.
        duplicates: Paths of files, each with that of an earlier file with the same bytes.
        near: Pairs of images that show the same picture.
        rejects: Paths and reasons of files that did not become images.
        kinds: Their numbers, with those of rows of a table that name no file.
        stored: Returns the stored pixels of the images with these paths.
        decode: Returns the pixels of those of these files that can be decoded.
        too_many: Why the rejects are too many for a data set, if they are.
    """

    manifest: Manifest
    originals: Originals
    samples: Mapping[str, Sequence[str]]
    extremes: Mapping[str, Sequence[Picked]]
    blank: Sequence[BlankImage]
    duplicates: Sequence[tuple[str, str]]
    near: Sequence[NearDuplicate]
    rejects: Sequence[Reject]
    kinds: Kinds
    stored: Callable[[Collection[str]], Pixels]
    decode: Callable[[Collection[str]], Pixels]
    too_many: Error | None = None


# Makes the page.
Page = Callable[[Overview], str]


class Looked(NamedTuple):
    """The originals of a data set, with paths in place of places."""

    originals: Originals
    samples: dict[str, list[str]]
    extremes: dict[str, list[Picked]]


def look_at(
    results: Iterable[PartResult], split: Mapping[str, Sequence[Row]], classes: Sequence[str]
) -> Looked:
    """Adds up what all parts of a data set learnt about their originals."""
    parts: dict[str, list[bytes]] = {TRAIN: [], TEST: []}
    for result in results:
        parts[result.split].append(result.originals)
    each = {side: merged(some) for side, some in parts.items()}

    def picked(name: str) -> list[Picked]:
        found = []
        for side, originals in each.items():
            for key, place, original in originals.extremes[name]:
                row = split[side][place]
                found.append((key, Picked(row.path, classes[row.label], original)))
        return [one for _, one in sorted(found)[:EXTREMES]]

    samples = {
        classes[label]: [split[TRAIN][place].path for place in places]
        for label, places in sorted(each[TRAIN].samples.items())
    }
    total = merged(originals.pack() for originals in each.values())
    return Looked(total, samples, {name: picked(name) for name in KEYS})
