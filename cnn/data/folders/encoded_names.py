"""Finds classes that file names begin with: cat.0.jpg, Abyssinian_12.jpg, benign (3).png."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnn.data.folders.folder_splits import split_word

_STEM = re.compile(r"(.*[^\W\d_])([\W_]*)\d+(\)?)", re.DOTALL)
# What a class consists of, the narrowest first.
_LETTERS = ("[a-z]+", "[A-Za-z]+", "[A-Za-z_]+", "[A-Za-z_ -]+", "[^/]*[^/\\d]")


class Encoded(NamedTuple):
    """A regular expression for `--class-regex`, which finds the classes in names of files."""

    regex: str
    # The folders whose files do not have such names.
    others: Sequence[str]

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled expression."""
        return re.compile(self.regex)


def find_encoded(paths: Iterable[str]) -> Encoded | None:
    """Finds a regular expression that gives every image of some folders its class.

    Args:
        paths: Paths of images, '/'-separated.

    Returns:
        The expression, or None if names do not begin with one of a few classes and end with a
        number.
    """
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        by_folder.setdefault(folder, []).append(name)
    named = [folder for folder, names in by_folder.items() if _classes(names)]
    names = [name for folder in named for name in by_folder[folder]]
    found = _classes(names)
    if found is None or not 1 < len(found) <= len(names) / 2:
        return None
    if all(split_word(name.strip("_- ")) for name in found):
        return None
    regex = _regex_for(names)
    if regex is None:
        return None
    pattern = re.compile(regex)
    counts = Counter(match[1] for name in names if (match := pattern.search(name)))
    if counts != found:
        return None
    return Encoded(regex, sorted(by_folder.keys() - set(named)))


def _classes(names: Sequence[str]) -> Counter[str] | None:
    """The images of each class that names begin with; None if a name does not fit."""
    counts: Counter[str] = Counter()
    for name in names:
        match = _STEM.fullmatch(name.rpartition(".")[0])
        if match is None:
            return None
        counts[match[1]] += 1
    return counts


def _regex_for(names: Sequence[str]) -> str | None:
    """The simplest regular expression for the class in such names."""
    matches = [match for name in names if (match := _STEM.fullmatch(name.rpartition(".")[0]))]
    classes = {match[1] for match in matches}
    letters = next((some for some in _LETTERS if _all_match(some, classes)), None)
    if letters is None:
        return None
    between = {match[2] for match in matches}
    gap = re.escape(between.pop()).replace("\\ ", " ") if len(between) == 1 else r"[\W_]*"
    after = r"\)?" if any(match[3] for match in matches) else ""
    return rf"({letters}){gap}\d+{after}\.\w+$"


def _all_match(pattern: str, names: Iterable[str]) -> bool:
    compiled = re.compile(pattern)
    return all(compiled.fullmatch(name) for name in names)
