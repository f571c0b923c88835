"""Asks what folders mean where that is not clear, with a command for each possible reading.

A folder may be a class, a part of a split, unlabelled images, masks, or a variant of an experiment.
To guess wrong would give a data set that looks right and is not, so the job stops, shows the tree
as it understood it, and lists the commands; `--folders ignore` takes all folders as they stand.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cnn.core.console import plain
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.folders.encoded_names import Encoded, find_encoded
from cnn.data.folders.folder_splits import Place, Split, find_splits, parts_of, places_under
from cnn.data.folders.folder_tree import tree_lines
from cnn.data.folders.layout import (
    Doubt,
    Understood,
    class_counts,
    doubt,
    listed,
    masks,
    repeated,
    unlabelled,
)
from cnn.data.folders.readings import readings
from cnn.data.sources.listing import Gathered

IMAGES = Option("images")
# Writes the user's command or call with some settings changed; settings that are None are omitted.
Suggest = Callable[[Mapping[str, Any]], str]


def check_layout(
    found: Gathered, place: str, settings: DataSettings, suggest: Suggest, *, own: bool = True
) -> list[str]:
    """Checks that it is clear what the folders of a listing mean.

    Args:
        found: The listing, with the classes that the settings give it.
        place: The images' folder as the user named it.
        settings: The settings of the data set.
        suggest: Writes the user's command with some settings changed.
        own: Whether `suggest` can change the folder.

    Returns:
        What was concluded from the names of folders, in sentences.

    Raises:
        InputError: It is not clear; its notes show the tree and a command for each reading.
    """
    if settings.folders == "ignore":
        return list(_merged(places_under(found.tree, settings), settings))
    what = understand(found, settings)
    if not what.reasons:
        return [*_kept(what.places, settings), *_merged(what.places, settings)]
    error = InputError(
        "{} must be folders with one clear meaning, but in {} {}",
        IMAGES,
        place,
        "; ".join(what.reasons),
    )
    for line in tree_lines(place, what.places, found.barren):
        error.add_note(plain(line))
    for reading in readings(found, what, place, settings, own=own):
        colon = ":" if reading.changes else ""
        error.add_note(f"{plain(reading.meaning)}{colon}")
        if reading.changes:
            error.add_note(f"  {suggest(reading.changes)}")
    raise error


def understand(found: Gathered, settings: DataSettings) -> Understood:
    """What the folders of a listing look like, and what is in doubt."""
    places = places_under(found.tree, settings)
    chosen = settings.classes is not None
    leave: dict[str, Sequence[Place]] = {}
    reasons: list[str] = []
    if not chosen:
        leave, reasons = _without_class(places)
    rest = Understood(places, leave, [], []).rest
    splits = find_splits(rest)
    labelled = [split for split in splits if split.classes]
    if labelled and settings.folders == "ask" and settings.test_images is None:
        reasons.insert(0, _look_of(labelled))
    why: Doubt | None = None
    encoded: Encoded | None = None
    if not chosen and settings.class_regex is None and settings.class_level == 1:
        why, encoded = _doubt(found, rest, splits)
    if why is not None:
        reasons.append(why.reason)
    return Understood(places, leave, labelled, reasons, why, encoded)


def _without_class(places: Sequence[Place]) -> tuple[dict[str, Sequence[Place]], list[str]]:
    """Folders that seem to hold no classes, and sentences that say so."""
    leave: dict[str, Sequence[Place]] = {**unlabelled(places, find_splits(places))}
    reasons = [
        f"{folder} ({sum(place.total for place in some):,} images) seems to hold images without "
        "a class"
        for folder, some in leave.items()
    ]
    drawn = masks(places)
    if drawn:
        reasons.append(f"{listed((place.path for place in drawn), 3)} seem to hold masks")
        leave |= {place.path: [place] for place in drawn}
    return leave, reasons


def _look_of(splits: Sequence[Split]) -> str:
    """A sentence that says why folders look like a split."""
    split = splits[0]
    parts = " and ".join(f"{name} ({count:,} images)" for name, count in split.parts.items())
    where = f" in {split.parent}" if split.parent else ""
    more = f" (and {len(splits) - 1} more folders like it)" if len(splits) > 1 else ""
    classes = listed(split.classes)
    if len(split.parts) > 1:
        return f"{parts}{where}{more} look like a split, because all have the classes {classes}"
    return (
        f"{parts}{where}{more} looks like a test set, because folders beside it are {classes} too"
    )


def _encoded(found: Gathered, rest: Sequence[Place]) -> Encoded | None:
    """The classes that names of files begin with."""
    folders = {place.path for place in rest}
    paths = (file.path for file in found.files)
    return find_encoded(path for path in paths if path.rpartition("/")[0] in folders)


def _doubt(
    found: Gathered, rest: Sequence[Place], splits: Sequence[Split]
) -> tuple[Doubt | None, Encoded | None]:
    """Why folders may not be the classes, and the classes that file names begin with instead."""
    why = doubt(rest, splits)
    if why is not None:
        return why, _encoded(found, rest) if why.by_name else None
    if len(class_counts(rest)) == 1 and (names := _encoded(found, rest)) is not None:
        reason = "one folder holds all images, whose names seem to begin with their classes"
        return Doubt(reason, by_name=True), names
    return None, None


def _kept(places: Sequence[Place], settings: DataSettings) -> Iterator[str]:
    """Says what the parts of a kept split are."""
    if not settings.keeps_folders:
        return
    parts = parts_of(places)
    counts: dict[str, int] = defaultdict(int)
    for place in places:
        counts[parts.get(place.path, "")] += place.total
    kept = ", ".join(f"{count:,} {part}" for part, count in sorted(counts.items()) if part)
    if kept:
        yield f"the split of the folders is kept: {kept} images"


def _merged(places: Sequence[Place], settings: DataSettings) -> Iterator[str]:
    """Says which folders of equal names became one class."""
    if settings.class_regex is not None or settings.class_level != 1:
        return
    splits = find_splits(places) if settings.keeps_folders else []
    twice = repeated(places, splits)
    if twice:
        name = min(twice)
        yield (
            f"folders of the same name are one class: {listed(twice)}; {name} lies in "
            f"{listed((path or 'the root' for path in twice[name]), 3)}"
        )
