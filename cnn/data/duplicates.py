"""Which files have identical bytes: they must not be torn apart, nor stand under two labels.

An official test set stays as it is: only copies among the training images go.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from cnn.core.directory import Directory
from cnn.core.documents import write_csv
from cnn.data.splits import ImageFile

DUPLICATES = "duplicates.csv"

Digests = list[str | None]
# Digests of files' last bytes (False) or of all their bytes (True), None where one is unreadable.
Digester = Callable[[Sequence[ImageFile], bool], Digests]


def digest_lookalikes(files: Sequence[ImageFile], digester: Digester) -> Digests:
    """For each file a digest that is equal where the bytes are; None where they are like no other.

    Only files that share their size with another are opened, and only those that share their last
    bytes too are read whole. Names of one and the same file are known to be equal.
    """

    def of_one_file(i: int) -> tuple[int, int]:
        return files[i].size, files[i].same or -1 - i

    alike = _sharing(range(len(files)), lambda i: files[i].size)
    first = {of_one_file(i): i for i in reversed(alike)}
    opened = sorted(first.values())
    ends = dict(zip(opened, digester([files[i] for i in opened], False), strict=True))
    near = _sharing(opened, lambda i: (files[i].size, ends[i]))
    wholes = dict(zip(near, digester([files[i] for i in near], True), strict=True))
    digests: Digests = [None] * len(files)
    for i in alike:
        one = first[of_one_file(i)]
        # What no other file is like may still have names of its own.
        digests[i] = wholes.get(one, f"file {one}")
    return digests


def _sharing(indices: Iterable[int], key: Callable[[int], object]) -> list[int]:
    """The indices whose key another has as well."""
    every = list(indices)
    counts = Counter(map(key, every))
    return [i for i in every if counts[key(i)] > 1]


def contradictions(
    files: Sequence[ImageFile], digests: Sequence[str | None]
) -> dict[int, tuple[str, str]]:
    """By index, paths and reasons of training images whose bytes stand under two labels.

    Which of them is right is unknown. What an official test set has as well is left to `withheld`.
    """
    labels = _labels(files, digests)
    tested = {digest for file, digest in zip(files, digests, strict=True) if file.tested}
    return {
        i: (file.path, _contradiction(labels[digest]))
        for i, (file, digest) in enumerate(zip(files, digests, strict=True))
        if digest is not None and digest not in tested and len(labels[digest]) > 1
    }


def withheld(
    files: Sequence[ImageFile], digests: Sequence[str | None], groups: Sequence[str]
) -> dict[int, tuple[str, str]]:
    """By index, paths and reasons of training images that an official test set has as well.

    Either the very bytes are there, or others of the same group.
    """
    labels = _labels(files, digests)
    copies: dict[str, str] = {}
    tested_groups: set[str] = set()
    for file, digest, group in zip(files, digests, groups, strict=True):
        if file.tested:
            tested_groups.add(group)
            if digest is not None:
                copies.setdefault(digest, file.path)
    reasons: dict[int, tuple[str, str]] = {}
    for i, (file, digest, group) in enumerate(zip(files, digests, groups, strict=True)):
        if file.tested:
            continue
        if digest is not None and digest in copies:
            reason = f"identical bytes in the test images ({copies[digest]})"
            if len(labels[digest]) > 1:
                reason = _contradiction(labels[digest])
            reasons[i] = (file.path, reason)
        elif group in tested_groups:
            reasons[i] = (file.path, f"its group is in the test images ({group})")
    return reasons


def _labels(files: Sequence[ImageFile], digests: Sequence[str | None]) -> dict[str, set[str]]:
    labels: dict[str, set[str]] = defaultdict(set)
    for file, digest in zip(files, digests, strict=True):
        if digest is not None:
            labels[digest].add(file.class_name)
    return labels


def _contradiction(labels: Iterable[str]) -> str:
    return f"identical bytes in {' and '.join(sorted(labels))}"


def repeats(files: Sequence[ImageFile], digests: Sequence[str | None]) -> list[tuple[str, str]]:
    """The paths of files that repeat another's bytes, each with that one's: the first by path."""
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    paths = [(f.path, d) for f, d in zip(files, digests, strict=True) if d is not None]
    for path, digest in sorted(paths):
        same_as = first.setdefault(digest, path)
        if same_as != path:
            found.append((path, same_as))
    return found


def write_repeats(staging: Directory, repeated: Sequence[tuple[str, str]]) -> None:
    """Writes `duplicates.csv`, a header alone where nothing is repeated."""
    write_csv(staging, DUPLICATES, ("path", "same_as"), repeated)
