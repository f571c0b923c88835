"""What a page about a data set is made from: `cnn.report.data_page` makes it.

Nothing here grows with the number of images, except the lists of single files that the data
directory has as well.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cnn.core.errors import Error
from cnn.data.blank_images import BlankImage
from cnn.data.decoding.originals import (
    EXTREMES,
    KEYS,
    SHOWN_CLASSES,
    Original,
    Originals,
    merged,
)
from cnn.data.manifest import Manifest
from cnn.data.near.resolution import NearDuplicate
from cnn.data.parts import PartResult
from cnn.data.rejects import Kinds, Reject
from cnn.data.splits import TEST, TRAIN, Row

# The page, in the data directory.
DATA_PAGE = "data.html"
# Images of a class that it shows.
SAMPLES = 8

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
        originals: What the decoded files have, also those that were left out as near-duplicates;
            its places are meaningless here.
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
    results: Iterable[PartResult],
    first: Mapping[str, Sequence[Row]],
    rows: Sequence[Row],
    classes: Sequence[str],
    *,
    unread: Collection[str],
) -> Looked:
    """Adds up what all parts of a data set learnt about their originals.

    Args:
        results: The results of the parts.
        first: The rows of these parts.
        rows: The training images, when near-duplicates have been resolved.
        classes: The classes, in the order of their labels.
        unread: The paths of files that could not be decoded.
    """
    parts: dict[str, list[bytes]] = {TRAIN: [], TEST: []}
    for result in results:
        parts[result.split].append(result.originals)
    each = {side: merged(some) for side, some in parts.items()}
    found: dict[str, list[tuple[float, Picked]]] = {name: [] for name in KEYS}
    for side, originals in each.items():
        for name, some in originals.extremes.items():
            for key, place, original in some:
                row = first[side][place]
                found[name].append((key, Picked(row.path, classes[row.label], original)))
    extremes = {
        name: [picked for _, picked in sorted(some)[:EXTREMES]] for name, some in found.items()
    }
    total = Originals()
    for originals in each.values():
        total.merge(originals)
    return Looked(total, _samples(rows, classes, unread), extremes)


def _samples(
    rows: Sequence[Row], classes: Sequence[str], unread: Collection[str]
) -> dict[str, list[str]]:
    """The paths of the first images of each of the first classes."""
    samples: dict[str, list[str]] = {name: [] for name in classes[:SHOWN_CLASSES]}
    left = len(samples)
    for row in rows:
        if row.label >= SHOWN_CLASSES or row.path in unread:
            continue
        some = samples[classes[row.label]]
        if len(some) < SAMPLES:
            some.append(row.path)
            left -= len(some) == SAMPLES
        if not left:
            break
    return samples
