"""What lies under a folder of images: the files, their classes, and names that Parquet can hold."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from cnn.images import SUFFIXES
from cnn.manifest import DataSettings
from cnn.settings import InputError
from cnn.splits import ImageFile

# Folders that archives and desktops leave behind; hidden ones (`.DS_Store`) go without saying.
_RUBBISH = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_KNOWN_ORDER = ("faces", "comics")


class Listing(NamedTuple):
    """What lies under the images' root: files, classes in label order, and what was passed over."""

    files: list[ImageFile]
    classes: tuple[str, ...]
    ignored: int
    inputs: str


def list_images(root: Path, settings: DataSettings) -> Listing:
    """Finds the images under `root`; a class is the name of the folder that directly holds them.

    Raises InputError where there are no two classes, or not those that were asked for.
    """
    if not root.is_dir():
        raise InputError(f"--images must be a folder, but got {root}")
    files: list[ImageFile] = []
    ignored = 0
    leaves: set[str] = set()
    stats = hashlib.sha256()
    for folder, subfolders, names in os.walk(root, onerror=_raise_unlisted):
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name not in _RUBBISH
        )
        here = Path(folder)
        found = 0
        for name in sorted(names):
            if (
                name.startswith(".")
                or name in _RUBBISH
                or Path(name).suffix.lower() not in SUFFIXES
            ):
                ignored += 1
                continue
            path = here / name
            status = path.stat()
            relative = path.relative_to(root).as_posix()
            files.append(ImageFile(_escape(relative), here.name, status.st_size))
            stats.update(
                f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(
                    "utf-8", "surrogateescape"
                )
            )
            found += 1
        if found or not subfolders:
            leaves.add(here.name)
    classes = _class_order(root, {file.class_name for file in files}, leaves, settings)
    files = [file for file in files if file.class_name in classes]
    stats.update(settings.model_dump_json().encode())
    return Listing(files, classes, ignored, stats.hexdigest())


def _raise_unlisted(error: OSError) -> None:
    raise InputError(f"--images must be readable throughout, but got {error}")


def _escape(path: str) -> str:
    """Bytes of a file name that are no UTF-8 are percent-escaped: Parquet strings are UTF-8."""
    if path.isascii() or path.isprintable():
        return path
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in path)


def _class_order(
    root: Path, found: set[str], leaves: set[str], settings: DataSettings
) -> tuple[str, ...]:
    if not found:
        raise InputError(f"--images must hold images, but {root} has none")
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
            f"--images must hold two classes or more, but {root} has one: {next(iter(found))!r}"
        )
    if found == set(_KNOWN_ORDER):
        return _KNOWN_ORDER
    return tuple(sorted(found))


def real_path(root: Path, path: str) -> Path:
    """The file behind a listed path, whose bytes that are no UTF-8 were escaped."""
    direct = root / path
    if "%" not in path or direct.exists():
        return direct
    raw = bytearray()
    encoded = path.encode()
    i = 0
    while i < len(encoded):
        if encoded[i : i + 1] == b"%" and encoded[i + 1 : i + 2] in b"89ABCDEF":
            raw.append(int(encoded[i + 1 : i + 3], 16))
            i += 3
        else:
            raw.append(encoded[i])
            i += 1
    return root / os.fsdecode(bytes(raw))
