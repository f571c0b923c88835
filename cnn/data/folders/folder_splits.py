"""Finds folders that look like an existing split, such as train/ and test/, and keeps it.

Merging them and drawing a new split would put most of an official test set into the training
images, so the user must choose; `layout_check` asks.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.splits import TEST, TRAIN, VALIDATION, GivenPart, ImageFile

# In increasing order of how likely a folder with the word is the test set.
_TRAINS = ("training", "train")
_VALIDATIONS = ("dev", "validation", "valid", "val")
_EVALUATIONS = ("evaluation", "eval")
_TESTS = (*_VALIDATIONS, *_EVALUATIONS, "testing", "test")
# Matches a separate word, also with a suffix: test, test_set, TestSet, seg_test, test2017.
_SPLIT_NAME = re.compile(
    rf"(?:.*[^a-z])?({'|'.join(_TRAINS + _TESTS)})(?:sets?|data|images?)?(?:[^a-z].*)?", re.DOTALL
)


class Place(NamedTuple):
    """A folder that directly holds images.

    `names` are the folders from the root down to it, `images` the number of images of each class,
    and `at` is the index of the name that is their class: -1 for the root, None if no folder's.
    """

    names: tuple[str, ...]
    images: Mapping[str, int]
    at: int | None

    @property
    def path(self) -> str:
        return "/".join(self.names)

    @property
    def total(self) -> int:
        return sum(self.images.values())


class Split(NamedTuple):
    """Folders in one parent folder that are named like the parts of a split.

    `parent` is relative to the images' root. `parts` has the number of images of each part, the
    test set last. `classes` are the classes that the parts share, empty if a part holds images
    directly. If there is only one part, the class folders next to it are the training images.
    """

    parent: str
    parts: dict[str, int]
    classes: tuple[str, ...]

    def part_of(self, name: str) -> GivenPart:
        """Which part of a split the folder `name` is, one of `parts`."""
        return part_named(split_word(name) or "", {split_word(part) or "" for part in self.parts})

    def folder(self, name: str) -> str:
        """The path of one of `parts`."""
        return f"{self.parent}/{name}".lstrip("/")


def places_of(
    tree: Mapping[str, Mapping[str, int]], *, level: int = 1, by_regex: bool = False
) -> list[Place]:
    """The folders of a listing (`Gathered.tree`) that hold images.

    Args:
        tree: The images of each class by folder.
        level: Which folder above a file is its class.
        by_regex: Whether classes are found in paths, so that no folder in particular names them.
    """
    found = []
    for folder, images in tree.items():
        names = tuple(folder.split("/")) if folder else ()
        found.append(Place(names, images, None if by_regex else len(names) - level))
    return found


def places_under(tree: Mapping[str, Mapping[str, int]], settings: DataSettings) -> list[Place]:
    """`places_of` for the rule that the settings give."""
    return places_of(tree, level=settings.class_level, by_regex=settings.class_regex is not None)


def find_splits(places: Sequence[Place]) -> list[Split]:
    """Finds all splits that folders look like, those nearest to the root first."""
    # By parent and part: the images of each class, "" for images directly in the part.
    parts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    beside: dict[str, set[str]] = defaultdict(set)
    wraps = wrappers(places)
    for place in places:
        if place.at is not None and place.at >= 0:
            beside["/".join(place.names[: place.at])] |= place.images.keys()
        for i, name in enumerate(place.names):
            if split_word(name) is None:
                continue
            here = parts["/".join(place.names[:i])][name]
            if is_bare(place, i, wraps):
                here[""] += place.total
            else:
                here.update(place.images)
    only_splits = all(split_word(name) for place in places for name in place.images)
    found = [
        _split_of(parent, parts[parent], beside[parent], only_splits)
        for parent in sorted(parts, key=lambda folder: (folder.count("/"), folder != "", folder))
    ]
    return [split for split in found if split is not None]


def wrappers(places: Iterable[Place]) -> set[str]:
    """Folders that hold nothing but one folder of the same name, as some archives do."""
    inside: dict[str, set[str]] = defaultdict(set)
    for place in places:
        inside[place.path].add("")
        for i, name in enumerate(place.names):
            inside["/".join(place.names[:i])].add(name)
    return {folder for folder, names in inside.items() if names == {folder.rpartition("/")[2]}}


def is_bare(place: Place, i: int, wraps: set[str]) -> bool:
    """Whether the folder at index `i` of a place holds its images without a class between them."""
    if place.at is None or i > place.at:
        return False
    return all("/".join(place.names[: j + 1]) in wraps for j in range(i, place.at))


def split_word(name: str) -> str | None:
    """The word in a folder's name that names a part of a split, if there is one."""
    match = _SPLIT_NAME.fullmatch(name.lower())
    return match[1] if match else None


def _split_of(
    parent: str, parts: Mapping[str, Counter[str]], beside: set[str], only_splits: bool
) -> Split | None:
    seen = Counter(name for of_class in parts.values() for name in of_class if name)
    shared = {name for name, count in seen.items() if count > 1}
    # A part that shares no class with the others holds unlabelled images or something else.
    order = _test_last(name for name, of_class in parts.items() if shared & set(of_class))
    if order:
        return Split(parent, _totals(parts, order), tuple(sorted(shared)))
    order = _test_last(parts)
    if order and any("" in parts[name] for name in order) and (only_splits or seen):
        return Split(parent, _totals(parts, order), ())
    # A test set next to the class folders.
    for name in parts:
        shared = beside & set(parts[name])
        if split_word(name) in _TESTS and shared:
            return Split(parent, _totals(parts, [name]), tuple(sorted(shared)))
    return None


def _test_last(names: Iterable[str]) -> list[str]:
    """Parts of a split, the most likely test set last; empty if none is a test set."""
    words = {name: split_word(name) or "" for name in names}
    order = sorted(words, key=lambda name: ((*_TRAINS, *_TESTS).index(words[name]), name))
    return order if len(set(words.values())) > 1 and words[order[-1]] in _TESTS else []


def part_named(word: str, words: Collection[str]) -> GivenPart:
    """Which part of a split a word names, from `split_word`; `words` are those of all its parts.

    An evaluation set is the test set unless there is another: Food-11 has training, validation and
    evaluation.

    >>> part_named("evaluation", {"training", "validation", "evaluation"})
    'test'
    """
    if word in _TRAINS:
        return TRAIN
    if word in _VALIDATIONS or (word in _EVALUATIONS and {"test", "testing"} & set(words)):
        return VALIDATION
    return TEST


def _totals(parts: Mapping[str, Counter[str]], names: Iterable[str]) -> dict[str, int]:
    return {name: parts[name].total() for name in names}


def labelled_splits(places: Sequence[Place]) -> list[Split]:
    """The splits whose parts have the same classes."""
    return [split for split in find_splits(places) if split.classes]


def parts_of(places: Sequence[Place]) -> dict[str, GivenPart]:
    """The part that each folder with images belongs to, by path; empty if there is no split.

    What lies in no part of a split, such as class folders next to test/, is training images.
    """
    splits = labelled_splits(places)
    kinds = {split.folder(name): split.part_of(name) for split in splits for name in split.parts}
    if not kinds:
        return {}

    def part_of(place: Place) -> GivenPart:
        above = ("/".join(place.names[: i + 1]) for i in range(len(place.names)))
        return next((kinds[folder] for folder in above if folder in kinds), TRAIN)

    return {place.path: part_of(place) for place in places}


def with_parts(
    files: Sequence[ImageFile], tree: Mapping[str, Mapping[str, int]], settings: DataSettings
) -> list[ImageFile]:
    """The files, each with the part of the split that its folder gives it (`--folders given`).

    Raises:
        InputError: No folders look like a split, or a part lacks a class.
    """
    parts = parts_of(places_under(tree, settings))
    if not parts:
        raise InputError(
            "{} {} must find folders such as train/ and test/ that hold the same classes, but "
            "there are none",
            Option("folders"),
            settings.folders,
        )
    _check_classes(tree, parts, settings)
    if TEST in parts.values() and "test_fraction" in settings.model_fields_set:
        raise InputError(
            "{} cannot be combined with {} {} where a test set is given",
            Option("test_fraction"),
            Option("folders"),
            settings.folders,
        )
    return [file._replace(part=parts[file.path.rpartition("/")[0]]) for file in files]


def _check_classes(
    tree: Mapping[str, Mapping[str, int]], parts: Mapping[str, GivenPart], settings: DataSettings
) -> None:
    classes: dict[GivenPart, set[str]] = defaultdict(set)
    for folder, part in parts.items():
        classes[part] |= tree[folder].keys()
    everything = sorted(set[str]().union(*classes.values()))
    for part in (TRAIN, TEST):
        missing = [name for name in everything if part in classes and name not in classes[part]]
        if missing:
            raise InputError(
                "{} {} must find images of every class in the {} images, but {!r} has none "
                "there; use only some classes with {}, or leave folders out with {}",
                Option("folders"),
                settings.folders,
                part,
                missing[0],
                Option("classes"),
                Option("exclude"),
            )
