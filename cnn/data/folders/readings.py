"""What folders may mean, each with the settings that choose it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn.data.data_settings import DataSettings
from cnn.data.folders.encoded_names import Encoded
from cnn.data.folders.folder_splits import Place, Split, labelled_splits, parts_of
from cnn.data.folders.layout import (
    Understood,
    class_counts,
    globs,
    has_digits,
    levels,
    relabelled,
)
from cnn.data.sources.listing import Gathered
from cnn.data.splits import TEST, TRAIN, VALIDATION, GivenPart

_MOST_CLASSES = 6
_EVERYTHING: dict[str, Any] = {"folders": "ignore"}


class Reading(NamedTuple):
    """One thing that folders may mean, and the settings that choose it; empty for none."""

    meaning: str
    changes: dict[str, Any]


def readings(
    found: Gathered, what: Understood, place: str, settings: DataSettings, *, own: bool
) -> list[Reading]:
    """All readings that give at least two classes, the most likely first.

    Args:
        found: The listing.
        what: What its folders look like.
        place: The images' folder as the user named it.
        settings: The settings of the data set.
        own: Whether the user's command can name another folder.
    """
    excluded = globs(what.leave, what.places)
    likely: list[Reading] = []
    if what.doubt is None:
        likely += _with_split(what.rest, _leaving(excluded, settings), settings)
        if own and not excluded and len(what.splits) == 1 and settings.folders == "ask":
            likely[1:1] = _as_test_images(what.splits[0], place)
    else:
        likely += _by_level(what, excluded, settings)
        if not likely and what.encoded is not None:
            likely += _by_name(found, what, excluded, settings)
        if what.splits:
            # Named classes are not in doubt, and the split can be kept.
            named = {"classes": ",".join(class_counts(what.rest))}
            likely += _with_split(what.rest, _leaving(excluded, settings) | named, settings)
    everything = class_counts(what.places)
    if len(everything) > 1 and all(reading.changes != _EVERYTHING for reading in likely):
        counts = _counted(everything)
        likely.append(Reading(f"to take all folders as they stand: {counts}", _EVERYTHING))
    if what.doubt is not None and len(likely) < 2:
        likely.append(Reading("a table can name the class of each image instead (--labels)", {}))
    return likely


def _by_level(what: Understood, excluded: Sequence[str], settings: DataSettings) -> list[Reading]:
    """Readings with folders further above as classes; numbered folders are the least likely."""
    found: list[Reading] = []
    above = [level for level in levels(what.rest) if level > 1]
    for level in sorted(
        above, key=lambda level: has_digits({place.names[-level] for place in what.rest})
    ):
        changes = {**_leaving(excluded, settings), "class_level": level}
        changes |= _groups_below(what.rest, level, settings)
        found += _with_split(relabelled(what.rest, level), changes, settings)
    variants = what.doubt.variants if what.doubt is not None else {}
    if variants:
        largest = max(sorted(variants), key=lambda name: sum(p.total for p in variants[name]))
        others = [place for name, some in variants.items() if name != largest for place in some]
        left_out = [*excluded, *globs(_roots(others, variants[largest]), what.places)]
        found += _with_split(variants[largest], _leaving(left_out, settings), settings)
    return found


def _roots(places: Sequence[Place], kept: Sequence[Place]) -> list[str]:
    """The uppermost folders of places that hold nothing of what is kept."""
    needed = {"/".join(place.names[:i]) for place in kept for i in range(len(place.names) + 1)}
    roots = set()
    for place in places:
        above = ("/".join(place.names[: i + 1]) for i in range(len(place.names)))
        roots.add(next((folder for folder in above if folder not in needed), place.path))
    return sorted(roots)


def _leaving(excluded: Sequence[str], settings: DataSettings) -> dict[str, Any]:
    return {"exclude": [*settings.exclude, *excluded]} if excluded else {}


def _with_split(
    places: Sequence[Place], changes: dict[str, Any], settings: DataSettings
) -> list[Reading]:
    """Readings with these classes: with a split that is kept, or drawn anew, if there is one."""
    counts = class_counts(places)
    if len(counts) < 2:
        return []
    left = f", without {' and '.join(changes['exclude'])}" if "exclude" in changes else ""
    kept = "" if "group_regex" not in changes else ", the images of a numbered folder kept together"
    text = f"{_counted(counts)}{left}{kept}"
    splits = [] if settings.test_images is not None else labelled_splits(places)
    if not splits:
        return [Reading(f"for the classes {text}", changes)]
    parts = parts_of(places)
    given: dict[str, Any] = {"folders": settings.folders if settings.keeps_folders else "given"}
    if TEST in parts.values():
        # These settings draw a test split.
        given |= dict.fromkeys(("test_fraction", "split"))
    common = _common(places, parts)
    if common != set(counts):
        given["classes"] = ",".join(sorted(common))
    found = [Reading(f"to keep the split: {_roles(parts, places)}; {text}", {**changes, **given})]
    if not settings.keeps_folders:
        ignored = {**changes, "folders": "ignore"}
        found.append(Reading(f"to merge its parts and draw a new split: {text}", ignored))
    return found


def _common(places: Sequence[Place], parts: Mapping[str, GivenPart]) -> set[str]:
    """The classes that the training images and the test images, if there are any, share."""
    classes: dict[GivenPart, set[str]] = defaultdict(set)
    for place in places:
        classes[parts[place.path]] |= place.images.keys()
    return set.intersection(*(classes[part] for part in (TRAIN, TEST) if part in classes))


def _roles(parts: Mapping[str, GivenPart], places: Sequence[Place]) -> str:
    """What becomes of the images of each part."""
    counts: dict[GivenPart, int] = defaultdict(int)
    for place in places:
        counts[parts[place.path]] += place.total
    roles = [f"{counts[TRAIN]:,} images to train on"]
    if VALIDATION in counts:
        roles.append(f"{counts[VALIDATION]:,} to validate on (fold 0)")
    tested = f"{counts[TEST]:,} to test on" if TEST in counts else "a test set drawn from the first"
    return ", ".join([*roles, tested])


def _as_test_images(split: Split, place: str) -> Iterator[Reading]:
    """The last part of a split without a test set as the test set."""
    *others, last = split.parts
    if split.part_of(last) != VALIDATION or len(others) != 1:
        return
    root = f"{place.rstrip('/')}/" if place.strip("/") else "/"
    yield Reading(
        f"to train on {others[0]} and take {last} as the test set",
        {
            "images": root + split.folder(others[0]),
            "test_images": root + split.folder(last),
            **dict.fromkeys(("test_fraction", "split")),
        },
    )


def _groups_below(places: Sequence[Place], level: int, settings: DataSettings) -> dict[str, Any]:
    """Keeps the images of a numbered folder below the class together, such as a patient's."""
    if settings.group_regex is not None:
        return {}
    for below in range(level - 1, 0, -1):
        classes: dict[str, set[str]] = defaultdict(set)
        for place in places:
            classes[place.names[-below]].add(place.names[-level])
        if has_digits(classes.keys()) and all(len(found) == 1 for found in classes.values()):
            above = "/[^/]+" if below == 1 else f"(?:/[^/]+){{{below}}}"
            return {"group_regex": f"([^/]+){above}$"}
    return {}


def _by_name(
    found: Gathered, what: Understood, excluded: Sequence[str], settings: DataSettings
) -> list[Reading]:
    """Readings with the classes that file names begin with."""
    encoded: Encoded | None = what.encoded
    assert encoded is not None
    rule = encoded.pattern
    tree: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    named = {place.path for place in what.rest} - set(encoded.others)
    for file in found.files:
        folder = file.path.rpartition("/")[0]
        if folder in named and (match := rule.search(file.path)):
            tree[folder][match[1]] += 1
    places = [
        Place(place.names, tree[place.path], None) for place in what.rest if place.path in named
    ]
    others = globs([place for place in what.rest if place.path in encoded.others], what.places)
    changes = {**_leaving([*excluded, *others], settings), "class_regex": encoded.regex}
    return _with_split(places, changes, settings)


def _counted(counts: Mapping[str, int]) -> str:
    """Classes with their numbers of images."""
    shown = [f"{name} ({count:,})" for name, count in list(counts.items())[:_MOST_CLASSES]]
    more = f" and {len(counts) - _MOST_CLASSES} more" if len(counts) > _MOST_CLASSES else ""
    return ", ".join(shown) + more
