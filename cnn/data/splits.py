"""Groups images and assigns the groups to the test split or to folds. Plain Python.

All images of a group are on the same side of a split. Groups, test split, folds and order depend on
a seeded hash, not on the state of a random generator or on the order of the listed files.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, Literal, NamedTuple

from cnn.core.errors import InputError, Option
from cnn.core.seeds import seeded_hash
from cnn.data.data_settings import NO_COLUMN, DataSettings
from cnn.settings.schema import FOLDS

TRAIN: Final = "train"
VALIDATION: Final = "validation"
TEST: Final = "test"
# The parts of a given split.
GivenPart = Literal["", "train", "validation", "test"]
TEST_FOLD = -1
# The fold of the validation images of a given split.
VALIDATION_FOLD = 0
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


class TooFewGroups(InputError):
    """Some classes have too few groups of images to be divided; `groups` has their numbers."""

    def __init__(self, wanted: str, groups: Mapping[str, int]) -> None:
        self.groups = dict(groups)
        few = [f"{name!r} has {count}" for name, count in groups.items()]
        some = ", ".join(few[:5]) + (f", and {len(few) - 5} more" if len(few) > 5 else "")
        super().__init__(
            "every class must have enough groups of images for {}, but {}", wanted, some
        )

    def with_commands(
        self,
        classes: Sequence[str],
        settings: DataSettings,
        suggest: Callable[[Mapping[str, str | bool | None]], str],
    ) -> InputError:
        """The same error with the user's command, changed so that it would go on."""
        advice = ""
        if settings.has_column("group"):
            without = suggest({"group_column": NO_COLUMN})
            advice += f"; without the groups of the column {settings.group_column}: {without}"
        enough = [name for name in classes if name not in self.groups]
        if len(enough) > 1:
            advice += f"; with the other classes only: {suggest({'classes': ','.join(enough)})}"
        return InputError("{}{}", self, advice)


class Row(NamedTuple):
    """One image's row in the data set. `fold` is -1 in the test split; `weight` is None where no
    table gives weights.
    """

    path: str
    label: int
    group: str
    fold: int
    weight: float | None = None


class StemTies(NamedTuple):
    """Where files with the same stem are in the same group (`cnn.data.folders.stem_ties`).

    `parts` are the parts of a split in which they are, and `across` is whether they are in
    different parts too.
    """

    parts: frozenset[GivenPart] = frozenset()
    across: bool = False


NO_TIES = StemTies()


def tie_keys(
    files: Sequence[ImageFile], settings: DataSettings, ties: StemTies = NO_TIES
) -> list[str]:
    """Returns a key for each file; files with equal keys are in the same group.

    With a given split, `--group stem` and `--group-regex` also group images of different parts.

    Args:
        files: All listed files.
        settings: The settings of the data set.
        ties: What `--group auto` does.
    """
    if settings.group_regex is not None:
        pattern = re.compile(settings.group_regex)
        return [_match_key(pattern, file.path) for file in files]
    if settings.has_column("group"):
        return [file.path if file.group is None else file.group for file in files]
    if settings.group == "none" or (settings.group == "auto" and not ties.parts):
        return [file.path for file in files]
    stems = [PurePosixPath(file.path).stem for file in files]
    if settings.group == "stem":
        return stems

    def key(file: ImageFile, stem: str) -> str:
        if file.part not in ties.parts:
            return file.path
        # No stem or path of a training image starts with "../".
        apart = {TEST: f"../{stem}", VALIDATION: f"../{VALIDATION}/{stem}"}
        return stem if ties.across else apart.get(file.part, stem)

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

    Of a given split (`ImageFile.part`), the test images are the test split, the validation images
    are fold 0 and nothing else is, and the training images are dealt to the other folds; without
    test images, the test split is drawn from the training images. Raises TooFewGroups if a class
    would be missing from the test split or from all but one fold.
    """
    test_fraction = 0.0 if any(file.part == TEST for file in files) else settings.test_fraction
    validated = any(file.part == VALIDATION for file in files)
    folds = range(VALIDATION_FOLD + 1, FOLDS) if validated else range(FOLDS)
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        if files[index].part in {"", TRAIN}:
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
            fold_of |= _by_threshold(ranked, test_fraction, folds)
        else:
            fold_of |= _by_rank(ranked, members, test_fraction, folds)

    given = {TEST: TEST_FOLD, VALIDATION: VALIDATION_FOLD}
    labels = {name: label for label, name in enumerate(classes)}
    order = sorted(
        range(len(files)), key=lambda i: seeded_hash(settings.seed, "order", files[i].path)
    )
    split: dict[str, list[Row]] = {TRAIN: [], TEST: []}
    for i in order:
        part = files[i].part
        fold = given[part] if part in given else fold_of[groups[i]]
        weight = files[i].weight if settings.has_column("weight") else None
        row = Row(files[i].path, labels[files[i].class_name], groups[i], fold, weight)
        split[TEST if fold == TEST_FOLD else TRAIN].append(row)
    _check_sides(split, classes, folds, test_fraction)
    return split


def _by_rank(
    ranked: Sequence[tuple[int, str]],
    members: Mapping[str, Sequence[int]],
    test_fraction: float,
    folds: Sequence[int],
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
            fold_of[group] = folds[dealt % len(folds)]
            dealt += 1
    return fold_of


def _by_threshold(
    hashes: Sequence[tuple[int, str]], test_fraction: float, folds: Sequence[int]
) -> dict[str, int]:
    """The fold of each group by its hash, scaled to 0 to 1; below the fraction it is tested."""
    fold_of: dict[str, int] = {}
    for number, group in hashes:
        place = number / 2**128
        left = (place - test_fraction) / (1 - test_fraction)
        fold = folds[min(int(max(left, 0) * len(folds)), len(folds) - 1)]
        fold_of[group] = TEST_FOLD if left < 0 else fold
    return fold_of


def _check_sides(
    split: dict[str, list[Row]],
    classes: Sequence[str],
    folds: Sequence[int],
    test_fraction: float,
) -> None:
    """Raises TooFewGroups if a class is missing from a side; a `test_fraction` of 0 is a given test
    set.
    """
    # With given validation images, which are not among these folds, one is enough to train on.
    needed = 2 if len(folds) == FOLDS else 1
    tested = {row.label for row in split[TEST]}
    trained: dict[int, set[int]] = defaultdict(set)
    groups: dict[int, set[str]] = defaultdict(set)
    for row in [*split[TRAIN], *split[TEST]] if test_fraction else split[TRAIN]:
        groups[row.label].add(row.group)
        if row.fold in folds:
            trained[row.label].add(row.fold)
    few = {
        name: len(groups[label])
        for label, name in enumerate(classes)
        if label not in tested or len(trained[label]) < needed
    }
    if few:
        train = "two folds to train on" if needed == 2 else "a fold to train on"
        wanted = f"a test split of {test_fraction:g} and {train}"
        if not test_fraction:
            wanted = f"{train}, in addition to the given test images"
        raise TooFewGroups(wanted, few)
