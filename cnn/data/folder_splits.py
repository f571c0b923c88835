"""Detects folders that look like an existing split, such as train/ and test/.

Merging them and drawing a new split would put most of an official test set into the training
images, so the user must choose.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from cnn.core.errors import InputError, Option
from cnn.data.splits import ImageFile

IMAGES = Option("images")
# In increasing order of how likely a folder with the word is the test set.
_TRAINS = ("training", "train")
_TESTS = ("dev", "validation", "valid", "val", "evaluation", "eval", "testing", "test")
# Matches a separate word, also with a suffix: test, test_set, TestSet, seg_test, test2017.
_SPLIT_NAME = re.compile(
    rf"(?:.*[^a-z])?({'|'.join(_TRAINS + _TESTS)})(?:sets?|data|images?)?(?:[^a-z].*)?", re.DOTALL
)
# Writes the user's command or call with some settings changed; settings that are None are omitted.
Suggest = Callable[[Mapping[str, str | None]], str]


class Split(NamedTuple):
    """Folders in one parent folder that are named like the parts of a split.

    `parent` is relative to the images' root. `parts` has the number of images of each part, the
    test set last. `classes` are the classes that the parts share, empty if a part holds images
    directly. If there is only one part, the class folders next to it are the training images.
    """

    parent: str
    parts: dict[str, int]
    classes: tuple[str, ...]
    # The number of other folders that hold such a split.
    more: int = 0


def find_split(files: Iterable[ImageFile]) -> Split | None:
    """Finds the split that the folders of listed images look like, nearest to the root."""
    counts = Counter(file.path.rpartition("/")[0] for file in files)
    # By parent and part: the images of each class, "" for images directly in the part.
    parts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    classes: dict[str, set[str]] = defaultdict(set)
    for folder, count in counts.items():
        names = folder.split("/")
        classes["/".join(names[:-1])].add(names[-1])
        for i, name in enumerate(names):
            if split_word(name) is not None:
                of_class = "" if i == len(names) - 1 else names[-1]
                parts["/".join(names[:i])][name][of_class] += count
    named = sorted({folder.rpartition("/")[2] for folder in counts})
    only_splits = all(split_word(name) for name in named)
    found = []
    for parent in sorted(parts, key=lambda folder: (folder.count("/"), folder != "", folder)):
        split = _split_of(parent, parts[parent], classes[parent], only_splits)
        if split is not None:
            found.append(split)
    return found[0]._replace(more=len(found) - 1) if found else None


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


def _totals(parts: Mapping[str, Counter[str]], names: Iterable[str]) -> dict[str, int]:
    return {name: parts[name].total() for name in names}


def refuse_split(
    files: Sequence[ImageFile],
    classes: Sequence[str],
    place: str,
    suggest: Suggest,
    *,
    own: bool = True,
    chosen: bool = False,
) -> None:
    """Raises InputError, with a command for each choice, if the folders look like a split.

    `place` is the images' folder as the user named it, `own` is whether `suggest` can change it,
    and `chosen` is whether the user named the classes.
    """
    split = find_split(files)
    if split is None or (chosen and not split.classes):
        return
    parent = f"{place.rstrip('/')}/{split.parent}".rstrip("/") or "/"
    *others, test = split.parts
    listed = " and ".join(f"{name} ({count:,} images)" for name, count in split.parts.items())
    if split.more:
        listed += f" (and {split.more} more folders like it)"
    if not split.classes:
        _refuse_bare(parent, listed, classes, suggest)
    train = f"{parent.rstrip('/')}/{others[0]}" if len(others) == 1 and own else None
    rest = f"train on {' and '.join(others)}" if others else "train on the rest"
    kept: dict[str, str | None] = {"test_images": f"{parent.rstrip('/')}/{test}"}
    if train is not None or (own and split.parent):
        kept = {"images": train or parent, **kept}
    # These settings draw a test split and cannot be combined with an official one.
    kept |= dict.fromkeys(("test_fraction", "split"))
    raise InputError(
        "{} holds folders that look like a split: {} in {} {} ({}); to {} and keep {} as the test "
        "set: {}; to merge them and draw a new split: {}",
        IMAGES,
        listed,
        parent,
        "have the same classes" if others else "has the same classes as the folders next to it",
        _some(split.classes),
        rest,
        test,
        suggest(kept),
        suggest({"folders": "ignore"}),
    )


def _refuse_bare(parent: str, listed: str, classes: Sequence[str], suggest: Suggest) -> NoReturn:
    """Refuses parts of a split that hold images directly and so would become classes."""
    known = [name for name in classes if split_word(name) is None]
    use = ""
    if len(known) > 1:
        use = f"to use only the images of {_some(known)}: {suggest({'classes': ','.join(known)})}; "
    raise InputError(
        "{} must hold one folder of images for each class, but these are named like the parts of "
        "a split: {} in {}; {}to use them as classes: {}",
        IMAGES,
        listed,
        parent,
        use,
        suggest({"classes": ",".join(classes)}),
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
