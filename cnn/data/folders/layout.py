"""What folders of images may mean: which parts have no class, and which folder names the class.

Plain Python on the tree of a listing (`Gathered.tree`): folders, not files, so that it costs
nothing with a million images.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cnn.data.folders.class_rule import glob_of
from cnn.data.folders.encoded_names import Encoded
from cnn.data.folders.folder_splits import Place, Split, is_bare, split_word, wrappers

# Folders of images whose class is unknown: seg_pred, unlabeled.
_UNLABELLED = re.compile(
    r"(?:.*[^a-z])?(?:pred(?:ict(?:ions?)?)?|unlabell?ed|unlabell?)(?:[^a-z].*)?", re.DOTALL
)
# Folders of images: images, imgs_2, lung_images. With another word they may well be a class.
_IMAGES = re.compile(
    r"(.*[^a-z])?(?:images?|imgs?|pics?|pictures?|photos?|jpe?gs?|pngs?|frames?)([^a-z].*)?",
    re.DOTALL,
)
_MOST_VARIANTS = 4
# Folders of drawings on images: masks, lung_masks, ground_truth.
_MASKS = re.compile(
    r"(?:.*[^a-z])?(?:masks?|ground.?truths?|gts?|segmentations?|annotations?|labels?|contours?)"
    r"(?:[^a-z].*)?",
    re.DOTALL,
)


class Understood(NamedTuple):
    """What folders look like.

    `places` are those that hold images, `leave` those of them that seem to hold no classes, by the
    folder to leave out; `splits` are the splits of the others. `reasons` say what is in doubt;
    `doubt` is why folders may not be classes, and then `encoded` are those that file names begin
    with.
    """

    places: list[Place]
    leave: Mapping[str, Sequence[Place]]
    splits: list[Split]
    reasons: list[str]
    doubt: "Doubt | None" = None
    encoded: Encoded | None = None

    @property
    def rest(self) -> list[Place]:
        """The places that seem to hold images of classes."""
        out = {place.path for some in self.leave.values() for place in some}
        return [place for place in self.places if place.path not in out]


def masks(places: Sequence[Place]) -> list[Place]:
    """Folders of masks: COVID/masks beside COVID/images."""
    beside: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for place in places:
        if place.names:
            beside[place.names[:-1]].append(place.names[-1].lower())
    return [
        place
        for place in places
        if place.names
        and _MASKS.fullmatch(place.names[-1].lower())
        and any(
            _IMAGES.fullmatch(name) and not _MASKS.fullmatch(name)
            for name in beside[place.names[:-1]]
        )
    ]


def unlabelled(places: Sequence[Place], splits: Sequence[Split]) -> dict[str, list[Place]]:
    """Folders of images without a class, beside others with one, each with its places.

    They are named for it (seg_pred), or are a part of a split whose other parts have class folders
    (asl_alphabet_test), or the only part with some class (test/unknown).
    """
    found: dict[str, list[Place]] = defaultdict(list)
    wraps = wrappers(places)
    parts = {split.folder(name): split for split in splits for name in split.parts}
    parents = {split.parent for split in splits}
    classes: dict[str, set[str]] = defaultdict(set)
    for place in places:
        for i in range(len(place.names)):
            classes["/".join(place.names[: i + 1])] |= place.images.keys()
    for place in places:
        for i, name in enumerate(place.names):
            folder, parent = "/".join(place.names[: i + 1]), "/".join(place.names[:i])
            bare = is_bare(place, i, wraps)
            if bare and _UNLABELLED.fullmatch(name.lower()):
                found[folder].append(place)
                break
            split = parts.get(folder)
            others = parent in parents and split_word(name) is not None and split is None
            if split is not None and not split.classes and bare:
                # The other part must have classes: two parts without any are another question.
                if any(
                    not is_bare(other, i, wraps)
                    for other in places
                    if other.names[:i] == place.names[:i]
                    and len(other.names) > i
                    and other.names[i] in split.parts
                ):
                    found[folder].append(place)
                    break
            elif others and not any(
                classes[folder] & set(one.classes) for one in splits if one.parent == parent
            ):
                found[folder].append(place)
                break
    return dict(found)


def globs(left_out: Iterable[Place | str], places: Sequence[Place]) -> list[str]:
    """Globs that leave out these folders and nothing else of what holds images."""
    paths = [item if isinstance(item, str) else item.path for item in left_out]
    names = {path.rpartition("/")[2] for path in paths}
    every = [place.path for place in places]
    if len(paths) > 1 and all(
        any(path == one or path.startswith(f"{one}/") for one in paths)
        for path in every
        if names & set(path.split("/"))
    ):
        return [glob_of(name) for name in sorted(names)]
    return [glob_of(path, every) for path in sorted(paths)]


def stripped(place: Place, splits: Sequence[Split]) -> tuple[str, ...]:
    """The folders of a place without those that are parts of a split with classes."""
    parts = {split.folder(name) for split in splits if split.classes for name in split.parts}
    kept: list[str] = []
    dropped = None
    for i, name in enumerate(place.names):
        # Some archives repeat a part's name: seg_train/seg_train.
        if "/".join(place.names[: i + 1]) in parts or name == dropped:
            dropped = name
        else:
            kept.append(name)
            dropped = None
    return tuple(kept)


def repeated(places: Sequence[Place], splits: Sequence[Split]) -> dict[str, set[str]]:
    """Class folders that lie in several folders, by name, with the paths of these folders."""
    above: dict[str, set[str]] = defaultdict(set)
    for place in places:
        names = stripped(place, splits)
        if names:
            above[names[-1]].add("/".join(names[:-1]))
    return {name: found for name, found in above.items() if len(found) > 1}


def has_digits(names: Collection[str]) -> bool:
    """Whether all names look like numbers of something: site1, patient-07, SOB_B_A_14-22549AB."""
    return bool(names) and all(re.search(r"\d", name) for name in names)


def name_nothing(names: Collection[str]) -> bool:
    """Whether names of folders say no more than that they hold images.

    They are words for images alone (images, imgs_2), or differ in numbers alone (HAM_images_part_1
    and HAM_images_part_2).
    """
    found = [_IMAGES.fullmatch(name.lower()) for name in names]
    if not names or None in found:
        return False
    alone = all(
        match and not re.search("[a-z]", f"{match[1] or ''}{match[2] or ''}") for match in found
    )
    shapes = {re.sub(r"\d+", "", name) for name in names}
    return alone or (len(names) > 1 and len(shapes) == 1)


class Doubt(NamedTuple):
    """Why the folder that directly holds an image may not be its class.

    `by_name` is whether file names may tell it, and `variants` are folders that hold the same
    classes, such as color and grayscale, each with its places.
    """

    reason: str
    by_name: bool = False
    variants: Mapping[str, Sequence[Place]] = {}


def doubt(places: Sequence[Place], splits: Sequence[Split]) -> Doubt | None:
    """Why folders may not be classes; None if they clearly are."""
    bare = sorted({name for one in splits if not one.classes for name in one.parts})
    if bare:
        reason = f"{listed(bare)} are named like the parts of a split, and hold images directly"
        return Doubt(reason, by_name=True)
    names = [stripped(place, splits) for place in places]
    last = {found[-1] for found in names if found}
    second = {found[-2] for found in names if len(found) > 1}
    if name_nothing(last):
        reason = f"the folders that hold images are called {listed(last)}, which names no class"
        return Doubt(reason, by_name=True)
    twice = repeated(places, splits)
    if len(last) > 1 and last <= twice.keys():
        parents = {path.rpartition("/")[2] for found in twice.values() for path in found}
        if not has_digits(parents) or has_digits(last):
            reason = f"{listed(last)} lie in each of several folders, such as {listed(parents, 2)}"
            return Doubt(reason, variants=_variants(places, splits))
    elif has_digits(last) and len(last) > 2 and len(second) > 1 and not has_digits(second):
        return Doubt(f"the folders that hold images are numbered ({listed(last, 3)})")
    return None


def _variants(places: Sequence[Place], splits: Sequence[Split]) -> dict[str, list[Place]]:
    """Places by the folder above their class, if there are few and each has all classes."""
    found: dict[str, list[Place]] = defaultdict(list)
    for place in places:
        found["/".join(stripped(place, splits)[:-1])].append(place)
    every = class_counts(places).keys()
    same = all(class_counts(some).keys() == every for some in found.values())
    return dict(found) if same and len(found) <= _MOST_VARIANTS else {}


def levels(places: Sequence[Place]) -> list[int]:
    """The folders above an image that may name its class, counted from the one that holds it."""
    found, before = [], None
    for level in range(1, min((len(place.names) for place in places), default=0) + 1):
        names = [place.names[-level] for place in places]
        kinds = set(names)
        parts = sum(split_word(name) is not None for name in kinds)
        # A folder in a folder of its own name divides the images as that one does.
        if (
            len(kinds) > 1
            and 2 * parts < len(kinds)
            and not name_nothing(kinds)
            and names != before
        ):
            found.append(level)
        before = names
    return found


def class_counts(places: Iterable[Place]) -> dict[str, int]:
    """The number of images of each class."""
    counts: Counter[str] = Counter()
    for place in places:
        counts.update(place.images)
    return dict(sorted(counts.items()))


def relabelled(places: Sequence[Place], level: int) -> list[Place]:
    """The same folders, with another folder above the images as their class."""
    return [
        Place(place.names, {place.names[-level]: place.total}, len(place.names) - level)
        for place in places
    ]


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first names in order, and an ellipsis if there are more."""
    found = sorted(names)
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "")
