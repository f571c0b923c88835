"""Finds files with identical bytes: they must be in the same split and have the same label.

A given test set is not changed: only copies among the other images are removed.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from cnn.core.directory import Directory
from cnn.core.documents import write_csv
from cnn.data.splits import TEST, VALIDATION, GivenPart, ImageFile

DUPLICATES = "duplicates.csv"
# The given parts that are not trained on; each keeps its images against those behind it.
HELD_OUT: tuple[GivenPart, ...] = (TEST, VALIDATION)

Digests = list[str | None]
# Computes digests of the last bytes (False) or all bytes (True) of files; None if unreadable.
Digester = Callable[[Sequence[ImageFile], bool], Digests]


def digest_candidates(files: Sequence[ImageFile], digester: Digester) -> Digests:
    """Returns a digest for each file, equal for equal bytes; None if the bytes are unique.

    Only files of equal size are opened, and only those that also have equal last bytes are read
    whole. Several names of one file need not be read to be known as equal.
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
        # A file that is unlike all others can still have several names.
        digests[i] = wholes.get(one, f"file {one}")
    return digests


def _sharing(indices: Iterable[int], key: Callable[[int], object]) -> list[int]:
    """The indices that share their key with another index."""
    every = list(indices)
    counts = Counter(map(key, every))
    return [i for i in every if counts[key(i)] > 1]


def contradictions(
    files: Sequence[ImageFile], digests: Sequence[str | None]
) -> dict[int, tuple[str, str]]:
    """By index, paths and reasons of training images whose bytes occur with two labels.

    Which label is correct is unknown. Images that are also in a given test or validation set are
    left to `withheld`.
    """
    labels = _labels(files, digests)
    held_out = {
        digest for file, digest in zip(files, digests, strict=True) if file.part in HELD_OUT
    }
    return {
        i: (file.path, _contradiction(labels[digest]))
        for i, (file, digest) in enumerate(zip(files, digests, strict=True))
        if digest is not None and digest not in held_out and len(labels[digest]) > 1
    }


def withheld(
    files: Sequence[ImageFile], digests: Sequence[str | None], groups: Sequence[str]
) -> dict[int, tuple[str, str]]:
    """By index, paths and reasons of images that are also in a given part that is not trained on.

    The part has either the same bytes or other images of the same group. A test set keeps all its
    images, a validation set those that the test set does not have.
    """
    labels = _labels(files, digests)
    copies: dict[GivenPart, dict[str, str]] = {part: {} for part in HELD_OUT}
    held_groups: dict[GivenPart, set[str]] = {part: set() for part in HELD_OUT}
    for file, digest, group in zip(files, digests, groups, strict=True):
        if file.part in HELD_OUT:
            held_groups[file.part].add(group)
            if digest is not None:
                copies[file.part].setdefault(digest, file.path)

    def reason(part: GivenPart, digest: str | None, group: str) -> str | None:
        if digest is not None and digest in copies[part]:
            if len(labels[digest]) > 1:
                return _contradiction(labels[digest])
            return f"identical bytes in the {part} images ({copies[part][digest]})"
        if group in held_groups[part]:
            return f"its group is in the {part} images ({group})"
        return None

    reasons: dict[int, tuple[str, str]] = {}
    for i, (file, digest, group) in enumerate(zip(files, digests, groups, strict=True)):
        above = HELD_OUT[: HELD_OUT.index(file.part)] if file.part in HELD_OUT else HELD_OUT
        found = (reason(part, digest, group) for part in above)
        why = next((text for text in found if text is not None), None)
        if why is not None:
            reasons[i] = (file.path, why)
    return reasons


def _labels(files: Sequence[ImageFile], digests: Sequence[str | None]) -> dict[str, set[str]]:
    labels: dict[str, set[str]] = defaultdict(set)
    for file, digest in zip(files, digests, strict=True):
        if digest is not None:
            labels[digest].add(file.class_name)
    return labels


def _contradiction(labels: Iterable[str]) -> str:
    return f"identical bytes in {' and '.join(sorted(labels))}"


def find_duplicates(
    files: Sequence[ImageFile], digests: Sequence[str | None]
) -> list[tuple[str, str]]:
    """Paths of files with the same bytes as an earlier path, each with the first such path."""
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    paths = [(f.path, d) for f, d in zip(files, digests, strict=True) if d is not None]
    for path, digest in sorted(paths):
        same_as = first.setdefault(digest, path)
        if same_as != path:
            found.append((path, same_as))
    return found


def write_duplicates(staging: Directory, repeated: Sequence[tuple[str, str]]) -> None:
    """Writes `duplicates.csv`, with only a header if there are no duplicates."""
    write_csv(staging, DUPLICATES, ("path", "same_as"), repeated)
