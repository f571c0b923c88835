"""Which images belong together, and who is tested, validated and trained on. Plain Python.

A group is what a split must not tear apart. Groups, test split, folds and order follow from a
seeded hash, never from a generator that runs on or from the order in which files were listed.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from cnn.core.errors import InputError, Option
from cnn.core.seeds import seeded_hash
from cnn.data.manifest import DataSettings
from cnn.settings.schema import FOLDS

TRAIN, TEST = "train", "test"
TEST_FOLD = -1
# How paths of test images begin that lie outside the folder of the others.
_OUTSIDE = re.compile(r"\A\.\./[^/]*/")


class ImageFile(NamedTuple):
    """One listed image; `path` is relative to the images' root and '/'-separated.

    `size` is in bytes; `same` is equal for names of one and the same file, 0 where not known;
    `tested` where it is of an official test set (`--test-images`).
    """

    path: str
    class_name: str
    size: int
    same: int = 0
    tested: bool = False


class Row(NamedTuple):
    """One image's place in the data set. `fold` is -1 in the test split."""

    path: str
    label: int
    group: str
    fold: int


def tie_keys(files: Sequence[ImageFile], settings: DataSettings) -> list[str]:
    """For each file the key that ties it to others of its group.

    With an official test set `--group stem` and `--group-regex` tie across the two parts as within
    them. `--group auto` asks each part by itself whether all its classes have the same stems. Where
    both say so, stems tie across the parts too, unless those of one part are all among those of the
    other: then each part was numbered by itself (train/cat/1.png, test/cat/1.png), and equal stems
    mean nothing.
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
        # No stem and no path of a training image begins so.
        return stem if across or not file.tested else f"../{stem}"

    return [key(file, stem) for file, stem in zip(files, stems, strict=True)]


def _match_key(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(_OUTSIDE.sub("", path))
    if match is None:
        raise InputError(
            "{} must match every path, but {!r} has no match", Option("group_regex"), path
        )
    return match.group(1) if pattern.groups else match.group(0)


def connected_groups(keys: Sequence[str], digests: Sequence[str | None]) -> list[str]:
    """The name of each file's group: connected components of equal keys and equal bytes.

    `digests` has None where a file's bytes are known to be unlike all others. A group is named by
    the smallest key in it, so that its name does not depend on the order of the files.
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

    Strata are the sets of classes that a group spans. In each, groups are ranked by a seeded hash
    and cut to within one group of `test_fraction` of the images; the other groups are dealt to the
    ten folds. With `split = "stable"` the hash itself decides: counts are only nearly as asked, but
    images added later move no old one. An official test set is the test split, whole and alone;
    all groups of the other images are dealt to the folds. Raises InputError where a class would be
    missing on one side.
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
    """The fold of each group: the first are tested, the others dealt to the folds in turn."""
    wanted = test_fraction * sum(len(members[group]) for _, group in ranked)
    fold_of: dict[str, int] = {}
    taken, dealt = 0, 0
    for _, group in ranked:
        size = len(members[group])
        # Take a group while that brings the count nearer to what was asked.
        if taken + size / 2 <= wanted:
            fold_of[group] = TEST_FOLD
            taken += size
        else:
            fold_of[group] = dealt % FOLDS
            dealt += 1
    return fold_of


def _by_threshold(hashes: Sequence[tuple[int, str]], test_fraction: float) -> dict[str, int]:
    """The fold of each group by its hash alone, a number from 0 to 1: below the fraction, test."""
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
            wanted = "two folds to train on, beside what is in --test-images"
        raise InputError(
            f"every class must have enough groups of images for {wanted}, "
            f"but {name!r} has {len(groups)}"
        )
