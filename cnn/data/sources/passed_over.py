"""Files in folders without images, which are not looked at: counted and named by extension."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from cnn.core.console import plain

# The key for the files of all rarer extensions; an extension begins with a dot or is empty.
OTHER = "other"
_MOST = 10
_LONGEST = 12
_COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst"})


def extension_of(path: str) -> str:
    """The extension in lower case, such as ".dcm" or ".nii.gz"; "" if there is none."""
    name = PurePosixPath(path.lower())
    extension = name.suffix
    if extension in _COMPRESSED:
        extension = PurePosixPath(name.stem).suffix + extension
    # What follows a dot in a sentence or a date is not an extension.
    is_one = len(extension) <= _LONGEST and extension[1:].replace(".", "").isalnum()
    return extension if is_one else ""


def most_common(counts: Mapping[str, int]) -> dict[str, int]:
    """The ten most common extensions with their numbers of files, and all others as OTHER."""
    named = [item for item in counts.items() if item[0] != OTHER]
    ranked = sorted(named, key=lambda item: (-item[1], item[0]))
    rest = counts.get(OTHER, 0) + sum(count for _, count in ranked[_MOST:])
    return dict(ranked[:_MOST]) | ({OTHER: rest} if rest else {})


def describe_files(counts: Mapping[str, int]) -> str:
    """Says how many files of which extensions, such as "1,200 .dcm files and 1 .txt file"."""
    return _and(_files(extension, count) for extension, count in most_common(counts).items())


def describe_passed_over(counts: Mapping[str, int]) -> list[str]:
    """One line that says what was not looked at; none if all was."""
    if not counts:
        return []
    verb = "was" if sum(counts.values()) == 1 else "were"
    return [f"{describe_files(counts)} {verb} passed over, in folders without images"]


def count_extensions(paths: Iterable[str]) -> Counter[str]:
    return Counter(map(extension_of, paths))


def _files(extension: str, count: int) -> str:
    files = "file" if count == 1 else "files"
    if extension == OTHER:
        return f"{count:,} other {files}"
    if not extension:
        return f"{count:,} {files} without an extension"
    return f"{count:,} {plain(extension)} {files}"


def _and(parts: Iterable[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
