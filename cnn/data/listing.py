"""Lists a folder of images: files and classes, with names that Parquet can hold."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from cnn.core.errors import InputError, Option
from cnn.data.decode import SUFFIXES
from cnn.data.manifest import DataSettings
from cnn.data.splits import TEST, GivenPart, ImageFile

_NO_UTF8 = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(rb"%(25|[89A-F][0-9A-F])")
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_KNOWN_ORDER = ("faces", "comics")
IMAGES, CLASSES = Option("images"), Option("classes")


class Subset(NamedTuple):
    """The part of a data set that a folder holds: the images of `--images`, or the test set.

    `prefix` is added to each path; `without` is a folder inside it that does not belong to it.
    """

    tested: bool = False
    prefix: str = ""
    without: str | None = None

    @property
    def option(self) -> Option:
        """The setting that names the folder."""
        return Option("test_images") if self.tested else IMAGES

    def has(self, path: str) -> bool:
        """Whether a path inside the folder belongs to the subset."""
        return self.without is None or not f"{path}/".startswith(f"{self.without}/")


ALL = Subset()


class Listing(NamedTuple):
    """The files under the images' root, the classes in label order, and the number ignored.

    `rejects` are paths and reasons of files that cannot even be opened. `inputs` is a hash of the
    names, sizes and times of all files, and of the settings.
    """

    files: list[ImageFile]
    classes: tuple[str, ...]
    rejects: list[tuple[str, str]]
    ignored: int
    inputs: str


class Found(NamedTuple):
    """One name in a folder; `same` is equal for names of one file, `reason` says why it is none."""

    path: str
    size: int
    modified: int
    same: int
    reason: str | None = None


class Folder(NamedTuple):
    """A folder with the files directly in it; `has_folders` is whether it contains folders."""

    name: str
    found: list[Found]
    ignored: int
    has_folders: bool


class Gathered(NamedTuple):
    """The files of some folders; `leaves` are the names of folders that may be classes.

    `stats` is a hash of the names, sizes and times of all files.
    """

    files: list[ImageFile]
    rejects: list[tuple[str, str]]
    ignored: int
    leaves: set[str]
    stats: str


def gather(
    folders: Iterator[Folder], classes: Collection[str] | None = None, subset: Subset = ALL
) -> Gathered:
    """Gathers the files of image folders: those with at least one file named like an image.

    All files of such a folder are expected to be images; any that is not becomes a reject. Other
    folders, hidden files and files that archives and desktops leave behind are ignored and
    counted. A folder that is not one of `classes` contributes one file without a path, to keep its
    name.
    """
    files: list[ImageFile] = []
    rejects: list[tuple[str, str]] = []
    ignored = 0
    leaves: set[str] = set()
    stats = hashlib.sha256()
    part: GivenPart = TEST if subset.tested else ""
    for folder in folders:
        ignored += folder.ignored
        holds_images = any(_suffix(found.path) in SUFFIXES for found in folder.found)
        if holds_images or not folder.has_folders:
            leaves.add(folder.name)
        if not holds_images:
            ignored += len(folder.found)
            continue
        if classes is not None and folder.name not in classes:
            # An error about a missing class can then list the folders that exist.
            files.append(ImageFile("", folder.name, 0, 0))
            continue
        for path, size, modified, same, reason in folder.found:
            stats.update(f"{path}\0{size}\0{modified}\n".encode("utf-8", "surrogateescape"))
            if reason is None:
                listed = subset.prefix + escape(path)
                files.append(ImageFile(listed, folder.name, size, same, part))
            else:
                rejects.append((subset.prefix + escape(path), reason))
    return Gathered(files, rejects, ignored, leaves, stats.hexdigest())


def one_file(name: str) -> Gathered:
    """The listing of a single file that the user named: an image without a class."""
    return Gathered([ImageFile(escape(name), "", 0)], [], 0, set(), "")


def listing_of(found: Gathered, place: str, settings: DataSettings) -> Listing:
    """Makes the listing of the classes that the settings name, or of all, in label order.

    Args:
        found: The result of `gather` for the classes of the settings.
        place: The name of the images' folder in messages.
        settings: The settings of the data set.

    Raises:
        InputError: There are fewer than two classes, or a requested one is missing.
    """
    classes = _class_order(place, {file.class_name for file in found.files}, found.leaves, settings)
    files = [file for file in found.files if file.class_name in classes]
    # The location of the test images does not matter, like that of the training images.
    inputs = found.stats + settings.model_dump_json(exclude={"test_images"})
    return Listing(
        files, classes, found.rejects, found.ignored, hashlib.sha256(inputs.encode()).hexdigest()
    )


def is_junk(name: str) -> bool:
    """Whether a name is hidden, or one that an archive or a desktop leaves behind."""
    return name.startswith(".") or name in _JUNK


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def escape(path: str) -> str:
    """Percent-escapes bytes of a file name that are not UTF-8, because Parquet strings are."""
    if path.isascii() or path.isprintable() or not _NO_UTF8.search(path):
        return path
    # Percent signs too, so that the escapes can be told apart.
    path = path.replace("%", "%25")
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)


def real_path(root: Path, path: str) -> Path:
    """The file of a listed path, in which bytes that are not UTF-8 were escaped."""
    direct = root / path
    if "%" not in path or direct.exists():
        return direct
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode())
    return root / os.fsdecode(raw)


def _class_order(
    place: str, found: set[str], leaves: set[str], settings: DataSettings
) -> tuple[str, ...]:
    if not found:
        raise InputError("{} must hold images, but {} has none", IMAGES, place)
    if settings.classes is not None:
        if len(set(settings.classes)) != len(settings.classes) or len(settings.classes) < 2:
            raise InputError(
                "{} must name at least two different folders, but got {}",
                CLASSES,
                ",".join(settings.classes),
            )
        for name in settings.classes:
            if name not in found:
                raise InputError(
                    "{} must name folders that hold images, but {!r} has none; found: {}",
                    CLASSES,
                    name,
                    ", ".join(sorted(found)),
                )
        return settings.classes
    empty = sorted(leaves - found)
    if empty:
        raise InputError(
            "every class folder must hold images, but {!r} has none; name the classes to use "
            "with {}",
            empty[0],
            CLASSES,
        )
    if len(found) < 2:
        raise InputError(
            "{} must hold at least two classes, but {} has one: {!r}",
            IMAGES,
            place,
            next(iter(found)),
        )
    if found == set(_KNOWN_ORDER):
        return _KNOWN_ORDER
    return tuple(sorted(found))
