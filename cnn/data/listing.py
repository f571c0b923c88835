"""What lies under a folder of images: the files, their classes, and names that Parquet can hold."""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from cnn.core.errors import InputError
from cnn.data.decode import SUFFIXES
from cnn.data.manifest import DataSettings
from cnn.data.splits import ImageFile

_NO_UTF8 = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile(rb"%(25|[89A-F][0-9A-F])")
_RUBBISH = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_KNOWN_ORDER = ("faces", "comics")


class Side(NamedTuple):
    """Which images a folder holds: those of `--images`, or an official test set.

    `prefix` is put before each of its paths; `without` is a folder below it that is not part of it.
    """

    tested: bool = False
    prefix: str = ""
    without: str | None = None

    @property
    def flag(self) -> str:
        return "--test-images" if self.tested else "--images"

    def has(self, path: str) -> bool:
        """Whether a path below the folder is part of it."""
        return self.without is None or not f"{path}/".startswith(f"{self.without}/")


ALL = Side()


class Listing(NamedTuple):
    """What lies under the images' root: files, classes in label order, and what was passed over.

    `rejects` are paths and reasons of what cannot even be opened. `inputs` is a hash of all names,
    sizes and times, and of the settings.
    """

    files: list[ImageFile]
    classes: tuple[str, ...]
    rejects: list[tuple[str, str]]
    ignored: int
    inputs: str


class Found(NamedTuple):
    """One name in a folder; `same` is equal for names of one file, `reason` why it is no file."""

    path: str
    size: int
    modified: int
    same: int
    reason: str | None = None


class Folder(NamedTuple):
    """A folder's own files, by what their names say; `has_folders` where it holds others."""

    name: str
    found: list[Found]
    ignored: int
    has_folders: bool


class Gathered(NamedTuple):
    """The files of some folders; `leaves` are names of folders that may be classes.

    `stats` is a hash of all names, sizes and times.
    """

    files: list[ImageFile]
    rejects: list[tuple[str, str]]
    ignored: int
    leaves: set[str]
    stats: str


def gather(
    folders: Iterator[Folder], classes: Collection[str] | None = None, side: Side = ALL
) -> Gathered:
    """The files of folders: where one file has an image's name, all are to be images.

    What else lies in such a folder is not passed over: it becomes a reject with its reason. Other
    folders, hidden names and what archives and desktops leave behind are ignored and counted. Of
    a folder that is none of `classes` there is one file without a path, for its name.
    """
    files: list[ImageFile] = []
    rejects: list[tuple[str, str]] = []
    ignored = 0
    leaves: set[str] = set()
    stats = hashlib.sha256()
    for folder in folders:
        ignored += folder.ignored
        holds_images = any(_suffix(found.path) in SUFFIXES for found in folder.found)
        if holds_images or not folder.has_folders:
            leaves.add(folder.name)
        if not holds_images:
            ignored += len(folder.found)
            continue
        if classes is not None and folder.name not in classes:
            # So that its name can be said where one that was asked for is missing.
            files.append(ImageFile("", folder.name, 0, 0))
            continue
        for path, size, modified, same, reason in folder.found:
            stats.update(f"{path}\0{size}\0{modified}\n".encode("utf-8", "surrogateescape"))
            if reason is None:
                listed = side.prefix + escape(path)
                files.append(ImageFile(listed, folder.name, size, same, side.tested))
            else:
                rejects.append((side.prefix + escape(path), reason))
    return Gathered(files, rejects, ignored, leaves, stats.hexdigest())


def one_file(name: str) -> Gathered:
    """A single file, which was named itself: it is an image of no class."""
    return Gathered([ImageFile(escape(name), "", 0)], [], 0, set(), "")


def listing_of(found: Gathered, place: str, settings: DataSettings) -> Listing:
    """Puts the classes that the settings name, or else all, in the order of their labels.

    Args:
        found: What lies at `place`, as `gather` has it for the classes of the settings.
        place: How messages name it.
        settings: Of the data set.

    Raises:
        InputError: There are no two classes, or not those that were asked for.
    """
    classes = _class_order(place, {file.class_name for file in found.files}, found.leaves, settings)
    files = [file for file in found.files if file.class_name in classes]
    # Where test images lie does not matter, as it does not for the others.
    inputs = found.stats + settings.model_dump_json(exclude={"test_images"})
    return Listing(
        files, classes, found.rejects, found.ignored, hashlib.sha256(inputs.encode()).hexdigest()
    )


def is_rubbish(name: str) -> bool:
    """Whether a name is hidden, or one that an archive or a desktop leaves behind."""
    return name.startswith(".") or name in _RUBBISH


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def escape(path: str) -> str:
    """Bytes of a file name that are no UTF-8 are percent-escaped: Parquet strings are UTF-8."""
    if path.isascii() or path.isprintable() or not _NO_UTF8.search(path):
        return path
    # A percent sign too, where there is one that stands for a byte.
    path = path.replace("%", "%25")
    return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", path)


def real_path(root: Path, path: str) -> Path:
    """The file behind a listed path, whose bytes that are no UTF-8 were escaped."""
    direct = root / path
    if "%" not in path or direct.exists():
        return direct
    raw = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), path.encode())
    return root / os.fsdecode(raw)


def _class_order(
    place: str, found: set[str], leaves: set[str], settings: DataSettings
) -> tuple[str, ...]:
    if not found:
        raise InputError(f"--images must hold images, but {place} has none")
    if settings.classes is not None:
        if len(set(settings.classes)) != len(settings.classes) or len(settings.classes) < 2:
            raise InputError(
                "--classes must name two or more different folders, "
                f"but got {','.join(settings.classes)}"
            )
        for name in settings.classes:
            if name not in found:
                raise InputError(
                    f"--classes must name folders that hold images, but {name!r} has none; "
                    f"found: {', '.join(sorted(found))}"
                )
        return settings.classes
    empty = sorted(leaves - found)
    if empty:
        raise InputError(
            f"every class folder must hold images, but {empty[0]!r} has none; "
            "name the classes to use with --classes"
        )
    if len(found) < 2:
        raise InputError(
            f"--images must hold two classes or more, but {place} has one: {next(iter(found))!r}"
        )
    if found == set(_KNOWN_ORDER):
        return _KNOWN_ORDER
    return tuple(sorted(found))
