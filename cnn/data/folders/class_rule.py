"""Which class a file belongs to, by its path, and which files are left out."""

import glob
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.folders.class_names import merger

LEVEL, REGEX, EXCLUDE = Option("class_level"), Option("class_regex"), Option("exclude")


@dataclass(frozen=True)
class ClassRule:
    """How a path becomes a class.

    All paths are relative to the root of the images and '/'-separated. `merge` gives a class that
    was found its name in the data set.
    """

    # Which folder above a file is its class: 1 is the one that directly holds it.
    level: int = 1
    # Finds the class in the path instead: its first group, or the whole match.
    pattern: re.Pattern[str] | None = None
    # Matches the paths to leave out.
    left_out: re.Pattern[str] | None = None
    # The only classes to keep; None: all.
    classes: Collection[str] | None = None
    merge: Callable[[str], str] = str

    def excludes(self, path: str) -> bool:
        """Whether a file or a folder is left out, by itself or with a folder above it."""
        return self.left_out is not None and self.left_out.fullmatch(path) is not None

    def of_folder(self, names: Sequence[str]) -> str | None:
        """The class of the files directly in a folder; None if there is no folder so high above.

        Args:
            names: The name of the root, and those of the folders from there down to this one.
        """
        return names[-self.level] if len(names) >= self.level else None

    def of_path(self, path: str) -> str | None:
        """The class that the pattern finds in a path; None if it finds none."""
        assert self.pattern is not None
        match = self.pattern.search(path)
        if match is None:
            return None
        return (match.group(1) if self.pattern.groups else match.group(0)) or None


BY_FOLDER = ClassRule()


def class_rule(settings: DataSettings) -> ClassRule:
    """The rule that the settings describe. Raises InputError if a table cannot be read."""
    return ClassRule(
        level=settings.class_level,
        pattern=None if settings.class_regex is None else re.compile(settings.class_regex),
        left_out=exclusion(settings.exclude),
        classes=settings.classes,
        merge=merger(settings),
    )


def exclusion(globs: Sequence[str]) -> re.Pattern[str] | None:
    """A pattern that fully matches the paths that globs leave out, and all that is below them.

    As in a .gitignore file: `*` and `?` stand for characters other than '/', `**` for any, and
    a glob without a '/' matches a name at any depth, one with a '/' a path from the root.

    Raises:
        InputError: A glob is empty or malformed.

    >>> left_out = exclusion(["*/masks", "*_mask.png"])
    >>> [bool(left_out.fullmatch(path)) for path in ("a/masks/1.png", "a/b/1_mask.png", "a/1.png")]
    [True, True, False]
    """
    if not globs:
        return None
    for text in globs:
        if not text.strip("/"):
            raise InputError("{} must name files or folders, but got {!r}", EXCLUDE, text)
    try:
        return re.compile(f"(?:{'|'.join(map(_translated, globs))})(?:/.*)?", re.DOTALL)
    except re.error as error:
        raise InputError(
            "{} must be globs, but got {}: {}", EXCLUDE, ", ".join(map(repr, globs)), error
        ) from None


def _translated(text: str) -> str:
    anchored = "/" in text.rstrip("/")
    # What is below a folder is left out with it.
    path = text.removesuffix("/**").strip("/")
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[!^]?(?:\][^]]*|[^]]+)\])", path)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pattern = "".join(
        known.get(part) or (_set_of(part) if i % 2 else re.escape(part))
        for i, part in enumerate(parts)
    )
    return pattern if anchored else f"(?:.*/)?{pattern}"


def _set_of(part: str) -> str:
    """A set of characters, such as [!a-c], as a regular expression; it never matches '/'."""
    inside = part[1:-1]
    negated = inside[0] in "!^"
    escaped = re.sub(r"([\\\[\]&~|^])", r"\\\1", inside[negated:])
    return f"(?!/)[{'^' if negated else ''}{escaped}]"


def glob_of(path: str, others: Collection[str] = ()) -> str:
    """A glob that leaves out the folder `path` and, of `others`, only what is below it."""
    text = glob.escape(path)
    if "/" not in path and any(
        path in other.split("/")[1:] for other in others if other.split("/")[0] != path
    ):
        # Without a slash it would match at any depth.
        return f"{text}/**"
    return text
