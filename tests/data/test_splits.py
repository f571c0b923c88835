"""Groups, test split, folds and order."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.data_sets import images_of

from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.folders.stem_ties import find_stem_ties
from cnn.data.splits import (
    NO_TIES,
    TEST,
    TRAIN,
    ImageFile,
    Row,
    assign,
    connected_groups,
    tie_keys,
)
from cnn.settings.schema import FOLDS

CLASSES = ("a", "b")


def files(*paths: str) -> list[ImageFile]:
    return [ImageFile(path, path.split("/")[-2], 1) for path in paths]


def pairs(count: int) -> list[ImageFile]:
    return files(*(f"{name}/{number}.jpg" for number in range(count) for name in CLASSES))


def split_of(listed: list[ImageFile], **changes: Any) -> dict[str, list[Row]]:
    chosen = DataSettings(**{"group": "stem", **changes})
    groups = connected_groups(tie_keys(listed, chosen), [None] * len(listed))
    return assign(listed, groups, CLASSES, chosen)


@given(count=st.integers(30, 200), fraction=st.floats(0.1, 0.5), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_pairs_are_never_torn_and_counts_are_as_asked(
    count: int, fraction: float, seed: int
) -> None:
    split = split_of(pairs(count), test_fraction=fraction, seed=seed)
    train, test = ({row.group for row in split[name]} for name in (TRAIN, TEST))
    assert not train & test
    assert len(train) + len(test) == count
    assert abs(len(split[TEST]) - fraction * 2 * count) <= 2
    folds = {group: {r.fold for r in split[TRAIN] if r.group == group} for group in train}
    assert all(len(fold) == 1 for fold in folds.values())


def test_folds_are_as_large_as_each_other() -> None:
    counts = Counter(row.fold for row in split_of(pairs(125))[TRAIN])
    assert sorted(counts) == list(range(FOLDS))
    assert set(counts.values()) == {20}


def test_the_split_does_not_depend_on_the_order_of_the_files() -> None:
    assert split_of(pairs(50)) == split_of(pairs(50)[::-1])
    assert split_of(pairs(50)) != split_of(pairs(50), seed=1)


def test_rows_are_shuffled() -> None:
    labels = [row.label for row in split_of(pairs(200))[TRAIN]]
    changes = sum(one != other for one, other in itertools.pairwise(labels))
    assert 110 < changes < 210


def test_a_class_that_would_be_missing_on_a_side_is_refused() -> None:
    listed = files(*(f"a/{n}.jpg" for n in range(50)), "b/x.jpg", "b/y.jpg")
    with pytest.raises(InputError, match="'b' has 2"):
        split_of(listed, group="none")


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({}, ["a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg"]),
        ({"group": "stem"}, ["1", "1", "2", "2"]),
        ({"group": "none"}, ["a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg"]),
        ({"group_regex": r"[12]"}, ["1", "1", "2", "2"]),
        ({"group_regex": r"(a|b)/"}, ["a", "b", "a", "b"]),
    ],
)
def test_what_ties_files_together(changes: dict[str, Any], keys: list[str]) -> None:
    listed = files("a/1.jpg", "b/1.jpg", "a/2.jpg", "b/2.jpg")
    assert tie_keys(listed, DataSettings(**changes)) == keys


def test_a_path_that_the_group_regex_does_not_match_is_named() -> None:
    with pytest.raises(InputError, match="but does not match"):
        tie_keys(files("a/1.jpg", "b/y.jpg"), DataSettings(group_regex=r"\d"))


def test_groups_are_the_connected_components_of_keys_and_bytes() -> None:
    keys = ["p", "q", "r", "s", "q"]
    assert connected_groups(keys, ["x", "x", None, None, None]) == ["p", "p", "r", "s", "p"]
    assert connected_groups(keys, ["x", "x", "y", "y", "y"]) == ["p"] * 5


def test_a_stable_split_moves_no_old_image() -> None:
    changes = {"split": "stable", "group": "none"}
    before, after = (split_of(pairs(count), **changes) for count in (400, 600))
    folds = [{row.path: row.fold for rows in s.values() for row in rows} for s in (before, after)]
    assert folds[0].items() <= folds[1].items()
    assert len(before[TEST]) == pytest.approx(0.2 * 800, rel=0.25)
    assert {row.fold for row in after[TRAIN]} == set(range(10))


def test_a_stable_split_needs_groups_that_stay() -> None:
    with pytest.raises(InputError, match="--split stable must be used with"):
        DataSettings(split="stable")


def alike_by_stem(files: Sequence[ImageFile]) -> list[bytes]:
    """Small pictures that are equal where the stems are."""
    return [np.random.default_rng(int(Path(f.path).stem)).bytes(256) for f in files]


def unlike(files: Sequence[ImageFile]) -> list[bytes]:
    """Small pictures that have nothing to do with each other."""
    return [np.random.default_rng(number).bytes(256) for number, _ in enumerate(files)]


@pytest.mark.parametrize(
    ("listed", "look", "tied", "said"),
    [
        (pairs(40), alike_by_stem, True, "100% of the others): they stay together"),
        (pairs(40), unlike, False, "do not look alike .* each is split by itself"),
        (pairs(40)[:-2] + files("b/77.jpg"), alike_by_stem, True, "stay together"),
        (pairs(40)[:-6] + files("b/77.jpg", "b/78.jpg", "b/79.jpg"), alike_by_stem, False, None),
        (pairs(7), alike_by_stem, False, "too few to tell"),
        (
            files(*(f"{c}/{n}.jpg" for n in range(2) for c in ("faces", "comics"))),
            unlike,
            True,
            None,
        ),
    ],
)
def test_stems_tie_where_nearly_all_match_and_pairs_look_alike(
    listed: list[ImageFile], look: Any, tied: bool, said: str | None
) -> None:
    ties, notes = find_stem_ties(listed, DataSettings(), look)
    keys = tie_keys(listed, DataSettings(), ties)
    assert (len(set(keys)) < len(keys)) == tied
    assert len(notes) == (said is not None)
    assert said is None or re.search(said.replace(")", r"\)"), notes[0])
    assert find_stem_ties(listed, DataSettings(group="none"), look) == (NO_TIES, [])


PAIRED: dict[str, Any] = {"test_images": "test"}


def keys_of(train: range, test: range, classes: str = "ab", **changes: Any) -> list[set[str]]:
    """Keys of training and of test images that are numbered so in each class."""
    files = [
        ImageFile(f"{prefix}{name}/{n}.png", name, 1, part="test" if prefix else "")
        for prefix, numbers in (("", train), ("../test/", test))
        for name in classes
        for n in numbers
    ]
    chosen = DataSettings(**PAIRED, **changes)
    ties, _ = find_stem_ties(files, chosen, alike_by_stem)
    keys = tie_keys(files, chosen, ties)
    found = zip(files, keys, strict=True)
    sides: list[set[str]] = [set(), set()]
    for file, key in found:
        sides[file.tested].add(key)
    return sides


def test_auto_ties_across_the_parts_where_the_stems_run_on() -> None:
    train, test = keys_of(range(40), range(30, 50))
    assert train & test == {str(n) for n in range(30, 40)}
    assert len(train) == 40


def test_auto_does_not_tie_across_where_each_part_has_its_own_numbers() -> None:
    train, test = keys_of(range(40), range(10))
    assert not train & test
    # Pairs stay together all the same.
    assert (len(train), len(test)) == (40, 10)
    train, test = keys_of(range(40), range(10), group="stem")
    assert train & test == test


def test_auto_ties_nothing_across_without_evidence_within() -> None:
    files = [*images_of("a", count=5), *images_of("b", count=6)]
    files += images_of("../test/a", "../test/b", first=4, count=8, tested=True)
    ties, _ = find_stem_ties(files, DataSettings(**PAIRED), alike_by_stem)
    keys = tie_keys(files, DataSettings(**PAIRED), ties)
    assert keys[:11] == [file.path for file in files[:11]]
    assert not set(keys[:11]) & set(keys[11:])


def test_a_group_regex_sees_paths_below_either_folder() -> None:
    train, test = keys_of(range(3), range(2), group_regex=r"\A[ab]/\d")
    assert test == {"a/0", "a/1", "b/0", "b/1"} < train


def test_all_groups_of_training_images_are_dealt_to_the_folds() -> None:
    files = images_of("a", "b", count=20) + images_of("../t/a", "../t/b", count=4, tested=True)
    groups = [file.path for file in files]
    split = assign(files, groups, ("a", "b"), DataSettings(**PAIRED))
    assert Counter(row.fold for row in split["train"]) == dict.fromkeys(range(FOLDS), 4)
    assert {row.path for row in split["test"]} == {file.path for file in files if file.tested}
