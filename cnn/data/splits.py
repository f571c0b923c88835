"""Groups images and assigns the groups to the test split or to folds. Plain Python.

All images of a group are on the same side of a split. Groups, test split, folds and order depend on
a seeded hash, not on the state of a random generator or on the order of the listed files.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, Literal, NamedTuple

from cnn.core.errors import InputError, Option
from cnn.core.seeds import seeded_hash
from cnn.data.manifest import DataSettings
from cnn.settings.schema import FOLDS

TRAIN: Final = "train"
TEST: Final = "test"
# The parts of a given split.
GivenPart = Literal["", "train", "validation", "test"]
TEST_FOLD = -1
# The start of the paths of test images outside the training folder.
_OUTSIDE = re.compile(r"\A\.\./[^/]*/")


class ImageFile(NamedTuple):
    """One listed image; `path` is relative to the images' root and '/'-separated.

    `size` is in bytes; `same` is equal for names of the same file, 0 if unknown; `part` is the part
    of a given split that the image belongs to, "" if its part is still to be drawn. `group` and
    `weight` are those that a table of labels gives.
    """

    path: str
    class_name: str
    size: int
    same: int = 0
    part: GivenPart = ""
    group: str | None = None
    weight: float = 1.0

    @property
    def tested(self) -> bool:
        """Whether the image belongs to a given test set."""
        return self.part == TEST


class Row(NamedTuple):
    """One image's row in the data set. `fold` is -1 in the test split."""

    path: str
    label: int
    group: str
    fold: int


def tie_keys(files: Sequence[ImageFile], settings: DataSettings) -> list[str]:
    """Returns a key for each file; files with equal keys are in the same group.

    With an official test set, `--group stem` and `--group-regex` also group training images with
    test images. `--group auto` groups by stem in each part whose classes all have the same stems.
    If that is so in both parts, it also groups across them, unless all stems of one part occur in
    the other: then each part was numbered separately (train/cat/1.png, test/cat/1.png), and equal
    stems mean nothing.
    """
    if settings.group_regex is not None:
        pattern = re.compile(settings.group_regex)
        return [_match_key(pattern, file.path) for file in files]
    if settings.group == "none":
        return [file.path for file in files]
    stems = [PurePosixPath(file.path).stem for file in files]
    return stems if settings.group == "stem" else _auto_keys(files, stems)


def _auto_keys(files: Sequence[ImageFile], stems: Sequence[str]) -> list[str]:
    sides: list[dict[str, set[str]]] = [defaultdict(set), defaultdict(set)]
    for file, stem in zip(files, stems, strict=True):
        sides[file.tested][file.class_name].add(stem)
    by_stem = [len({frozenset(found) for found in side.values()}) == 1 for side in sides]
    trained, tested = (set[str]().union(*side.values()) for side in sides)
    across = all(by_stem) and not (trained <= tested or tested <= trained)

    def key(file: ImageFile, stem: str) -> str:
        if not by_stem[file.tested]:
            return file.path
        # No stem or path of a training image starts with "../".
        return stem if across or not file.tested else f"../{stem}"

    return [key(file, stem) for file, stem in zip(files, stems, strict=True)]


def _match_key(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(_OUTSIDE.sub("", path))
    if match is None:
        raise InputError(
            "{} must match every path, but does not match {!r}", Option("group_regex"), path
        )
    return match.group(1) if pattern.groups else match.group(0)


def connected_groups(keys: Sequence[str], digests: Sequence[str | None]) -> list[str]:
    """Returns the name of each file's group: connected components of equal keys and equal bytes.

    A digest is None if no other file has the same bytes. A group is named after its smallest key,
    so that its name does not depend on the order of the files.
    """
    parent: dict[str, str] = {key: key for key in keys}

    def find(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    first_with: dict[str, str] = {}
    for key, digest in zip(keys, digests, strict=True):
        if digest is None:
            continue
        one, other = find(key), find(first_with.setdefault(digest, key))
        parent[max(one, other)] = min(one, other)
    return [find(key) for key in keys]


def assign(
    files: Sequence[ImageFile],
    groups: Sequence[str],
    classes: Sequence[str],
    settings: DataSettings,
) -> dict[str, list[Row]]:
    """Splits the files by their groups: {"train": rows, "test": rows}, both in shuffled order.

    Groups are stratified by the set of classes they contain. In each stratum, groups are ranked by
    a seeded hash; the first become the test split, to within one group of `test_fraction` of the
    images, and the others are dealt to the ten folds. With `split = "stable"` the hash alone
    decides: counts only approximate the fraction, but images added later do not move earlier ones.
    An official test set is the test split, and all other groups are dealt to the folds. Raises
    InputError if a class would be missing from the test split or from all but one fold.
    """
    test_fraction = settings.test_fraction if settings.test_images is None else 0.0
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if not files[index].tested:
            members[group].append(index)
    strata: dict[frozenset[str], list[str]] = defaultdict(list)
    for group, indices in members.items():
        strata[frozenset(files[i].class_name for i in indices)].append(group)

    fold_of: dict[str, int] = {}
    for stratum in sorted(strata, key=sorted):
        ranked = sorted(
            (seeded_hash(settings.seed, "split", group), group) for group in strata[stratum]
        )
        if settings.split == "stable":
            fold_of |= _by_threshold(ranked, test_fraction)
        else:
            fold_of |= _by_rank(ranked, members, test_fraction)

    labels = {name: label for label, name in enumerate(classes)}
    order = sorted(
        range(len(files)), key=lambda i: seeded_hash(settings.seed, "order", files[i].path)
    )
    split: dict[str, list[Row]] = {TRAIN: [], TEST: []}
    for i in order:
        fold = TEST_FOLD if files[i].tested else fold_of[groups[i]]
        row = Row(files[i].path, labels[files[i].class_name], groups[i], fold)
        split[TEST if fold == TEST_FOLD else TRAIN].append(row)
    _check_sides(split, classes, settings)
    return split


def _by_rank(
    ranked: Sequence[tuple[int, str]], members: Mapping[str, Sequence[int]], test_fraction: float
) -> dict[str, int]:
    """The fold of each group: the first are the test split, the others go to the folds in turn."""
    wanted = test_fraction * sum(len(members[group]) for _, group in ranked)
    fold_of: dict[str, int] = {}
    taken, dealt = 0, 0
    for _, group in ranked:
        size = len(members[group])
        # Take a group if that brings the count closer to the wanted number.
        if taken + size / 2 <= wanted:
            fold_of[group] = TEST_FOLD
            taken += size
        else:
            fold_of[group] = dealt % FOLDS
            dealt += 1
    return fold_of


def _by_threshold(hashes: Sequence[tuple[int, str]], test_fraction: float) -> dict[str, int]:
    """The fold of each group by its hash, scaled to 0 to 1; below the fraction it is tested."""
    fold_of: dict[str, int] = {}
    for number, group in hashes:
        place = number / 2**128
        left = (place - test_fraction) / (1 - test_fraction)
        fold_of[group] = TEST_FOLD if left < 0 else min(int(left * FOLDS), FOLDS - 1)
    return fold_of


def _check_sides(
    split: dict[str, list[Row]], classes: Sequence[str], settings: DataSettings
) -> None:
    for label, name in enumerate(classes):
        tested = sum(row.label == label for row in split[TEST])
        folds = {row.fold for row in split[TRAIN] if row.label == label}
        if tested and len(folds) >= 2:
            continue
        groups = {row.group for rows in split.values() for row in rows if row.label == label}
        wanted = f"a test split of {settings.test_fraction:g} and two folds to train on"
        if settings.test_images is not None:
            groups = {row.group for row in split[TRAIN] if row.label == label}
            wanted = "two folds to train on, in addition to --test-images"
        raise InputError(
            f"every class must have enough groups of images for {wanted}, "
            f"but {name!r} has {len(groups)}"
        )
