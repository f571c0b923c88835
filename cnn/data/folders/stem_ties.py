"""Decides whether equal file names in different classes mean the same thing (`--group auto`).

`faces/7.jpg` and `comics/7.jpg` show one person, `cats/7.jpg` and `dogs/7.jpg` are merely numbered
alike. Names alone cannot tell, so the pictures are compared.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from cnn.data.data_settings import DataSettings
from cnn.data.folders.class_order import KNOWN_PAIR
from cnn.data.folders.likeness import LEAST_PAIRS, Likeness, compare
from cnn.data.splits import NO_TIES, GivenPart, ImageFile, StemTies

# The share of a class's stems that all other classes must have too.
_NEARLY_ALL = 0.95
# How many pairs are compared, with how many classes at most.
_PAIRS, _MOST_CLASSES = 50, 5
# Reads small copies of images; None for one that cannot be read.
Look = Callable[[Sequence[ImageFile]], Sequence[bytes | None]]


class _Side(NamedTuple):
    """The stems of each class in one part of a split, and those that all classes have."""

    part: GivenPart
    stems: Mapping[str, set[str]]
    common: set[str]

    @property
    def nearly_match(self) -> bool:
        """Whether nearly all stems of every class occur in all classes."""
        return len(self.stems) > 1 and all(
            len(self.common) >= _NEARLY_ALL * len(found) for found in self.stems.values()
        )


def find_stem_ties(
    files: Sequence[ImageFile], settings: DataSettings, look: Look
) -> tuple[StemTies, list[str]]:
    """Decides where files of the same stem stay together.

    They do in each part of a split in which nearly all stems occur in all classes and the pictures
    of a pair look more alike than others, or the classes are known pairs. If that is so in all
    parts, they do across them too, unless all stems of one part occur in another: then each part
    was numbered separately (train/cat/1.png, test/cat/1.png), and equal stems mean nothing.

    Args:
        files: All listed files.
        settings: The settings of the data set; with `group` other than auto, or other
            groups, nothing is decided.
        look: Reads small copies of some of the files.

    Returns:
        The decision, and what was seen, in sentences.
    """
    elsewhere = settings.group_regex is not None or settings.has_column("group")
    if settings.group != "auto" or elsewhere:
        return NO_TIES, []
    sides = _sides(files)
    tied: set[GivenPart] = set()
    notes: list[str] = []
    for side in sides:
        if not side.nearly_match:
            continue
        names = " and ".join(sorted(side.stems)) if len(side.stems) == 2 else "all classes"
        if {name.lower() for name in side.stems} == set(KNOWN_PAIR):
            tied.add(side.part)
            continue
        found = _likeness(files, side, look)
        seen = f"files of {names} have the same names"
        if found is not None and found.is_clear:
            tied.add(side.part)
            notes.append(
                f"{seen} and show the same (a picture is more like its partner than "
                f"{found.share:.0%} of the others): they stay together"
            )
        else:
            why = (
                "too few to tell whether they show the same"
                if found is None
                else "but do not look alike (a picture is more like its partner than "
                f"{found.share:.0%} of the others)"
            )
            notes.append(f"{seen}, {why}: each is split by itself; group stem keeps them together")
    return StemTies(frozenset(tied), _run_on(sides, tied)), list(dict.fromkeys(notes))


def _sides(files: Sequence[ImageFile]) -> list[_Side]:
    stems: dict[GivenPart, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in files:
        stems[file.part][file.class_name].add(PurePosixPath(file.path).stem)
    return [
        _Side(part, by_class, set.intersection(*by_class.values()))
        for part, by_class in sorted(stems.items())
    ]


def _run_on(sides: Sequence[_Side], tied: set[GivenPart]) -> bool:
    """Whether stems mean the same in all parts."""
    every = [set[str]().union(*side.stems.values()) for side in sides]
    return (
        len(sides) > 1
        and all(side.part in tied for side in sides)
        and not any(one <= other for one in every for other in every if one is not other)
    )


def _likeness(files: Sequence[ImageFile], side: _Side, look: Look) -> Likeness | None:
    """The least likeness of some classes to the first one; None if there are too few pairs."""
    first, *others = sorted(side.stems)
    rng = random.Random(0)
    others = rng.sample(others, min(len(others), _MOST_CLASSES))
    each = max(2 * LEAST_PAIRS, _PAIRS // len(others))
    stems = sorted(side.common)
    chosen = {name: rng.sample(stems, min(each, len(stems))) for name in others}
    wanted = {(name, stem) for name, some in chosen.items() for stem in some}
    wanted |= {(first, stem) for _, stem in wanted}
    found: dict[tuple[str, str], ImageFile] = {}
    for file in files:
        key = file.class_name, PurePosixPath(file.path).stem
        if key in wanted and file.part == side.part:
            found[key] = min(found.get(key, file), file)
    keys = sorted(found)
    seen = dict(zip(keys, look([found[key] for key in keys]), strict=True))
    results = []
    for name, some in chosen.items():
        pairs = [(seen[first, stem], seen[name, stem]) for stem in some]
        read = [(one, other) for one, other in pairs if one is not None and other is not None]
        if len(read) < LEAST_PAIRS:
            return None
        results.append(compare([one for one, _ in read], [other for _, other in read]))
    return min(results)
