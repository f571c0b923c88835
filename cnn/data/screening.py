"""Decides from listed files and their digests which become rows, and in which groups."""

from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.duplicates import Digests, contradictions, find_duplicates, withheld
from cnn.data.rejects import Reject
from cnn.data.splits import NO_TIES, ImageFile, StemTies, connected_groups, tie_keys

FOLDERS = Option("folders")


class Screened(NamedTuple):
    """The files that become rows, each with its group, and those that do not."""

    files: list[ImageFile]
    groups: list[str]
    contradictory: list[Reject]
    # Images that are also in a given part that is not trained on.
    withheld: list[Reject]
    # Files with the same bytes as an earlier file, each with that file.
    duplicates: list[tuple[str, str]]


class Crossing(InputError):
    """Groups have images in two parts of a given split."""


def screen(
    files: Sequence[ImageFile],
    digests: Digests,
    settings: DataSettings,
    ties: StemTies = NO_TIES,
) -> Screened:
    """Groups the files, and sets aside those whose label or place in the split is in doubt.

    Args:
        files: All listed files.
        digests: For each file a digest, or None if no other file has the same bytes.
        settings: The settings of the data set.
        ties: Where files with the same stem are in the same group.

    Raises:
        Crossing: A group has images in two parts of a split that folders or a table give.
    """
    # Empty files have the same bytes, but are rejected because they are empty.
    digests = [digest if file.size else None for file, digest in zip(files, digests, strict=True)]
    keys = tie_keys(files, settings, ties)
    contradictory = contradictions(files, digests)
    left = [i for i in range(len(files)) if i not in contradictory]
    some = [files[i] for i in left]
    same = [digests[i] for i in left]
    groups = connected_groups([keys[i] for i in left], same)
    apart = withheld(some, same, groups)
    if apart and settings.refuses_crossing:
        _refuse_crossing(list(apart.values()), settings)
    kept = [i for i in range(len(some)) if i not in apart]
    return Screened(
        [some[i] for i in kept],
        [groups[i] for i in kept],
        list(contradictory.values()),
        list(apart.values()),
        find_duplicates([some[i] for i in kept], [same[i] for i in kept]),
    )


def _refuse_crossing(apart: Sequence[Reject], settings: DataSettings) -> NoReturn:
    shown = "; ".join(f"{path}: {reason}" for path, reason in sorted(apart)[:3])
    raise Crossing(
        "{} must find each group of images in one part of the split, but {:,} images are also in a "
        "part that is not trained on ({}{}); to leave these out use {} given,move-groups",
        FOLDERS if settings.keeps_folders else Option("split_column"),
        len(apart),
        shown,
        "; ..." if len(apart) > 3 else "",
        FOLDERS,
    )
