"""Decides what happens to near-duplicates, and lists them in `near-duplicates.csv`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cnn.core.console import plain
from cnn.core.directory import Directory
from cnn.core.documents import read_csv, write_csv
from cnn.data.data_settings import DataSettings
from cnn.data.duplicates import HELD_OUT, withheld
from cnn.data.near.method import NearPair
from cnn.data.rejects import Reject
from cnn.data.screening import Screened
from cnn.data.splits import ImageFile, connected_groups

NEAR_DUPLICATES = "near-duplicates.csv"


class NearDuplicate(NamedTuple):
    """Two near-duplicates, their classes, and what happened.

    `same_as` is the earlier path, or the one in a given test or validation set. `resolved` is
    "grouped", "dropped" or "withheld", of which the last two tell of `path`, or "kept".
    """

    path: str
    same_as: str
    similarity: str
    label: str
    same_as_label: str
    resolved: str


class Resolved(NamedTuple):
    """The files that remain rows, with their groups; what became of the others and of the pairs.

    `duplicates` are those of Screened that remain.
    """

    files: list[ImageFile]
    groups: list[str]
    duplicates: list[tuple[str, str]]
    dropped: list[Reject]
    # Images near a given test or validation set.
    withheld: list[Reject]
    near: list[NearDuplicate]


def resolve(screened: Screened, found: Iterable[NearPair], settings: DataSettings) -> Resolved:
    """Groups, drops or keeps near-duplicates, as the settings say.

    A given test set is not changed, and a validation set only by the test set: other images of
    their groups are withheld. Images of different classes are never dropped, because which label is
    right is unknown.
    """
    files = {file.path: file for file in screened.files}
    pairs = [_in_order(files[one], files[other], value) for one, other, value in found]
    pairs.sort()
    if settings.near_duplicates == "keep":
        near = [pair._replace(resolved="kept") for pair in pairs]
        return Resolved(screened.files, screened.groups, screened.duplicates, [], [], near)
    dropped = _dropped(pairs, files) if settings.near_duplicates == "drop" else {}
    groups = _tied(screened, [p for p in pairs if not {p.path, p.same_as} & dropped.keys()])
    gone = dict(dropped)
    for path, same_as in screened.duplicates:
        if same_as in dropped:
            gone[path] = dropped[same_as]
    apart = _withheld(screened.files, groups, pairs, gone)
    away = gone.keys() | apart.keys()
    kept = [i for i, file in enumerate(screened.files) if file.path not in away]
    return Resolved(
        [screened.files[i] for i in kept],
        [groups[i] for i in kept],
        [pair for pair in screened.duplicates if pair[0] not in away],
        [(path, f"near-duplicate of ({same_as})") for path, same_as in gone.items()],
        list(apart.items()),
        [_with_outcome(pair, dropped, apart) for pair in pairs],
    )


def _in_order(one: ImageFile, other: ImageFile, value: float) -> NearDuplicate:
    same_as, file = sorted((one, other), key=lambda file: (_rank(file), file.path))
    return NearDuplicate(
        file.path, same_as.path, f"{value:.3f}", file.class_name, same_as.class_name, ""
    )


def _rank(file: ImageFile) -> int:
    """The place of an image's part among those that must stay as they are given."""
    return HELD_OUT.index(file.part) if file.part in HELD_OUT else len(HELD_OUT)


def _dropped(pairs: Sequence[NearDuplicate], files: Mapping[str, ImageFile]) -> dict[str, str]:
    """Images that are near an earlier one that stays, each with that one."""
    dropped: dict[str, str] = {}
    # Sorted by path: whether an earlier image stays is known.
    for pair in pairs:
        stays = pair.same_as not in dropped and pair.path not in dropped
        given = {files[pair.path].part, files[pair.same_as].part} & set(HELD_OUT)
        if stays and not given and pair.label == pair.same_as_label:
            dropped[pair.path] = pair.same_as
    return dropped


def _tied(screened: Screened, pairs: Sequence[NearDuplicate]) -> list[str]:
    """The groups of all files when those of each pair are one."""
    group_of = dict(zip((f.path for f in screened.files), screened.groups, strict=True))
    ends = [group_of[path] for pair in pairs for path in (pair.path, pair.same_as)]
    ties = [str(number) for number in range(len(pairs)) for _ in range(2)]
    none = [None] * len(screened.groups)
    return connected_groups([*screened.groups, *ends], [*none, *ties])[: len(screened.groups)]


def _withheld(
    files: Sequence[ImageFile],
    groups: Sequence[str],
    pairs: Iterable[NearDuplicate],
    gone: Collection[str],
) -> dict[str, str]:
    """By path, why images are left out: a given test or validation set has the same picture."""
    part_of = {file.path: file.part for file in files}
    near: dict[str, str] = {}
    for pair in pairs:
        if part_of[pair.same_as] in HELD_OUT and part_of[pair.path] != part_of[pair.same_as]:
            near.setdefault(pair.path, pair.same_as)
    reasons: dict[str, str] = {}
    for path, reason in withheld(files, [None] * len(files), groups).values():
        if path in gone:
            continue
        reasons[path] = reason
        if path in near:
            part = part_of[near[path]]
            reasons[path] = f"near-duplicate in the {part} images ({near[path]})"
    return reasons


def _with_outcome(
    pair: NearDuplicate, dropped: Collection[str], apart: Collection[str]
) -> NearDuplicate:
    outcome = "grouped"
    if pair.path in dropped:
        outcome = "dropped"
    elif pair.path in apart:
        outcome = "withheld"
    return pair._replace(resolved=outcome)


def contradictory(near: Iterable[NearDuplicate]) -> list[NearDuplicate]:
    """The near-duplicates with different labels."""
    return [pair for pair in near if pair.label != pair.same_as_label]


def write_near_duplicates(staging: Directory, near: Iterable[NearDuplicate]) -> None:
    """Writes `near-duplicates.csv`, with only a header if there are none."""
    write_csv(staging, NEAR_DUPLICATES, NearDuplicate._fields, near)


def read_near_duplicates(data: Directory) -> list[NearDuplicate]:
    """Reads the near-duplicates of a data set, sorted by path.

    The list is empty if there is no such file, because earlier versions did not write one.
    """
    return [NearDuplicate(*row) for row in read_csv(data, NEAR_DUPLICATES)]


def describe_near(path: str, near: Sequence[NearDuplicate]) -> list[str]:
    """Says how many near-duplicates there are, and warns of those with different labels.

    `path` is the data directory, or "" if there is none.
    """
    if not near:
        return []
    counts: dict[str, int] = defaultdict(int)
    for pair in near:
        counts[pair.resolved] += 1
    what = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())
    pairs = "pair" if len(near) == 1 else "pairs"
    see = f"; see {plain(path)}/{NEAR_DUPLICATES}" if path else ""
    lines = [f"{len(near):,} {pairs} of near-duplicates ({what}){see}"]
    wrong = contradictory(near)
    if wrong:
        have = "pair has" if len(wrong) == 1 else "pairs have"
        one, other = (plain(repr(name)) for name in (wrong[0].path, wrong[0].same_as))
        lines.append(
            f"warning: {len(wrong):,} {have} different labels (such as {one} and {other}); which "
            "is right is not known"
        )
    return lines
