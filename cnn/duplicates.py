"""Which files have identical bytes: they must not be torn apart, nor stand under two labels."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from cnn.splits import ImageFile

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


def drop_contradictions(
    files: Sequence[ImageFile], digests: Sequence[str | None]
) -> tuple[list[ImageFile], Digests, list[tuple[str, str]]]:
    """Takes out identical bytes that stand under two labels: their label is unknown."""
    labels: dict[str, set[str]] = defaultdict(set)
    for file, digest in zip(files, digests, strict=True):
        # Empty files are alike and are rejected for being empty.
        if digest is not None and file.size:
            labels[digest].add(file.class_name)
    kept: list[ImageFile] = []
    kept_digests: Digests = []
    rejects = []
    for file, digest in zip(files, digests, strict=True):
        if digest is not None and len(labels[digest]) > 1:
            names = " and ".join(sorted(labels[digest]))
            rejects.append((file.path, f"identical bytes in {names}"))
        else:
            kept.append(file)
            kept_digests.append(digest if file.size else None)
    return kept, kept_digests, rejects


def count_duplicates(digests: Iterable[str | None]) -> int:
    """How many files repeat another's bytes."""
    seen = Counter(digest for digest in digests if digest is not None)
    return sum(count - 1 for count in seen.values())
