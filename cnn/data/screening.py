"""Decides from listed files and their digests which become rows, and in which groups."""

from collections.abc import Sequence
from typing import NamedTuple

from cnn.data.duplicates import Digests, contradictions, find_duplicates, withheld
from cnn.data.manifest import DataSettings
from cnn.data.rejects import Reject
from cnn.data.splits import ImageFile, connected_groups, tie_keys


class Screened(NamedTuple):
    """The files that become rows, each with its group, and those that do not."""

    files: list[ImageFile]
    groups: list[str]
    contradictory: list[Reject]
    # Training images that are also in an official test set.
    withheld: list[Reject]
    # Files with the same bytes as an earlier file, each with that file.
    duplicates: list[tuple[str, str]]


def screen(files: Sequence[ImageFile], digests: Digests, settings: DataSettings) -> Screened:
    """Groups the files, and sets aside those whose label or place in the split is in doubt.

    Args:
        files: All listed files.
        digests: For each file a digest, or None if no other file has the same bytes.
        settings: The settings of the data set.
    """
    # Empty files have the same bytes, but are rejected because they are empty.
    digests = [digest if file.size else None for file, digest in zip(files, digests, strict=True)]
    keys = tie_keys(files, settings)
    contradictory = contradictions(files, digests)
    left = [i for i in range(len(files)) if i not in contradictory]
    some = [files[i] for i in left]
    same = [digests[i] for i in left]
    groups = connected_groups([keys[i] for i in left], same)
    apart = withheld(some, same, groups)
    kept = [i for i in range(len(some)) if i not in apart]
    return Screened(
        [some[i] for i in kept],
        [groups[i] for i in kept],
        list(contradictory.values()),
        list(apart.values()),
        find_duplicates([some[i] for i in kept], [same[i] for i in kept]),
    )
