"""Lists a folder of images: files and classes, with names that Parquet can hold."""

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, NoReturn

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import SUFFIXES
from cnn.data.folders.class_names import check_map, read_map
from cnn.data.folders.class_order import class_order
from cnn.data.folders.class_rule import BY_FOLDER, EXCLUDE, LEVEL, REGEX, ClassRule
from cnn.data.folders.folder_splits import with_parts
from cnn.data.manifest import TableCounts
from cnn.data.rejects import AbsentRows
from cnn.data.sources.passed_over import count_extensions, describe_files
from cnn.data.sources.paths import escape
from cnn.data.splits import TEST, GivenPart, ImageFile

_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
IMAGES = Option("images")


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
    names, sizes and times of all files, and of the settings. `passed_over` has the numbers of
    ignored files by extension, without those that archives and desktops leave behind.
    """

    files: list[ImageFile]
    classes: tuple[str, ...]
    rejects: list[tuple[str, str]]
    ignored: int
    inputs: str
    passed_over: Mapping[str, int] = MappingProxyType({})
    # With a table of labels: its rows that name no file, and what became of the others.
    absent: AbsentRows | None = None
    table: TableCounts | None = None

    @property
    def listed(self) -> int:
        """The number of files, and of rows of a table that name no file."""
        absent = 0 if self.absent is None else self.absent.total
        return len(self.files) + len(self.rejects) + absent


class Found(NamedTuple):
    """One name in a folder; `same` is equal for names of one file, `reason` says why it is none."""

    path: str
    size: int
    modified: int
    same: int
    reason: str | None = None


class Folder(NamedTuple):
    """A folder with the files directly in it; `has_folders` is whether it contains folders.

    `path` is relative to the root, "" for the root itself.
    """

    name: str
    found: list[Found]
    ignored: int
    has_folders: bool
    path: str = ""


class Gathered(NamedTuple):
    """The files of some folders; `leaves` are the names of folders that may be classes.

    `stats` is a hash of the names, sizes and times of all files; `passed_over` is as in Listing.
    `tree` has the images of each class by folder, and `barren` the number of files of each folder
    that holds files but no images; a folder is named by its path, as listed and without the prefix
    of the subset. `root` is the name of the uppermost folder, and `names` are those of classes
    before any were merged.
    """

    files: list[ImageFile]
    rejects: list[tuple[str, str]]
    ignored: int
    leaves: set[str]
    stats: str
    passed_over: Counter[str]
    tree: Mapping[str, Mapping[str, int]] = {}
    barren: Mapping[str, int] = {}
    root: str = ""
    names: Collection[str] = ()


def gather(
    folders: Iterator[Folder], rule: ClassRule = BY_FOLDER, subset: Subset = ALL
) -> Gathered:
    """Gathers the files of image folders: those with at least one file named like an image.

    All files of such a folder are expected to be images; any that is not becomes a reject. Other
    folders, hidden files, what the rule excludes, and files that archives and desktops leave behind
    are ignored and counted. A folder whose class the rule does not keep contributes one file
    without a path, to keep its name.

    Args:
        folders: The uppermost folder and all folders inside it.
        rule: Which class a file belongs to, and which files are left out.
        subset: The part of the data set that the folders hold.

    Raises:
        InputError: The rule gives an image no class.
    """
    files: list[ImageFile] = []
    rejects: list[tuple[str, str]] = []
    ignored = 0
    leaves: set[str] = set()
    passed_over: Counter[str] = Counter()
    stats = hashlib.sha256()
    tree: dict[str, dict[str, int]] = {}
    barren: dict[str, int] = {}
    part: GivenPart = TEST if subset.tested else ""
    root = ""
    found_names: set[str] = set()
    classless: list[str] = []
    for folder in folders:
        root = root if folder.path else folder.name
        place = escape(folder.path)
        kept = _kept(folder, place, rule)
        ignored += folder.ignored + len(folder.found) - len(kept)
        names = [root, *place.split("/")] if place else [root]
        of_folder = None if rule.pattern else rule.of_folder(names)
        holds_images = any(_suffix(found.path) in SUFFIXES for found in kept)
        left_out = rule.excludes(place) or (folder.found and not kept)
        if not left_out and of_folder and (holds_images or not folder.has_folders):
            leaves.add(rule.merge(of_folder))
        if not holds_images:
            ignored += len(kept)
            passed_over += count_extensions(found.path for found in kept)
            if kept:
                barren[place] = len(kept)
            continue
        by_class = _by_class(kept, rule) if rule.pattern else {of_folder or "": kept}
        for raw, some in by_class.items():
            if not raw:
                images = [found.path for found in some if _suffix(found.path) in SUFFIXES]
                classless += map(escape, images)
                ignored += len(some) - len(images)
                continue
            found_names.add(raw)
            name = rule.merge(raw)
            if rule.classes is not None and name not in rule.classes:
                # An error about a missing class can then list those that exist.
                files.append(ImageFile("", name, 0, 0))
                continue
            here = tree.setdefault(place, {})
            here[name] = here.get(name, 0) + len(some)
            # What was found is given up at once: it takes as much memory as what is kept of it.
            some.reverse()
            while some:
                path, size, modified, same, reason = some.pop()
                stats.update(f"{path}\0{size}\0{modified}\n".encode("utf-8", "surrogateescape"))
                if reason is None:
                    listed = subset.prefix + escape(path)
                    files.append(ImageFile(listed, name, size, same, part))
                else:
                    rejects.append((subset.prefix + escape(path), reason))
    if classless:
        _refuse_classless(classless, len(files) + len(classless), rule)
    return Gathered(
        *(files, rejects, ignored, leaves, stats.hexdigest(), passed_over),
        *(tree, barren, root, found_names),
    )


def _kept(folder: Folder, place: str, rule: ClassRule) -> list[Found]:
    """The files of a folder without those that the rule excludes."""
    if rule.left_out is None:
        return folder.found
    if rule.excludes(place):
        return []
    return [found for found in folder.found if not rule.excludes(escape(found.path))]


def _by_class(found: Sequence[Found], rule: ClassRule) -> dict[str, list[Found]]:
    """Files by the class that the rule finds in their paths; "" for those without one."""
    by_class: dict[str, list[Found]] = {}
    for file in found:
        by_class.setdefault(rule.of_path(escape(file.path)) or "", []).append(file)
    return by_class


def _refuse_classless(paths: Sequence[str], count: int, rule: ClassRule) -> NoReturn:
    option, value, must = LEVEL, str(rule.level), "name a folder above every image"
    if rule.pattern is not None:
        option, value = REGEX, repr(rule.pattern.pattern)
        must = "match the path of every image"
    raise InputError(
        "{} must {}, but {} does not do so for {:,} of {:,}, such as {!r}; files are left out with "
        "{}",
        option,
        must,
        value,
        len(paths),
        count,
        paths[0],
        EXCLUDE,
    )


def one_file(name: str) -> Gathered:
    """The listing of a single file that the user named: an image without a class."""
    return Gathered([ImageFile(escape(name), "", 0)], [], 0, set(), "", Counter())


def listing_of(found: Gathered, place: str, settings: DataSettings) -> Listing:
    """Makes the listing of the classes that the settings name, or of all, in label order.

    Args:
        found: The result of `gather` for the classes of the settings.
        place: The name of the images' folder in messages.
        settings: The settings of the data set.

    Raises:
        InputError: There are fewer than two classes, or a requested one is missing.
    """
    if not found.files:
        raise no_images(IMAGES, place, found)
    check_map(settings, found.names)
    names = {file.class_name for file in found.files}
    classes = class_order(place, names, found.leaves, settings, found.passed_over)
    files, wanted = found.files, set(classes)
    if names != wanted:
        files = [file for file in files if file.class_name in wanted]
    if settings.keeps_folders:
        files = with_parts(files, found.tree, settings)
    inputs = inputs_of(found, settings)
    return Listing(files, classes, found.rejects, found.ignored, inputs, found.passed_over)


def inputs_of(found: Gathered, settings: DataSettings) -> str:
    """A hash of the names, sizes and times of all files, and of the settings."""
    # Where the test images and the tables lie does not matter, only what they hold.
    places = frozenset({"test_images", "labels", "map_labels", "relabel"})
    text = found.stats + settings.identity(without=places) + new_names(settings)
    return hashlib.sha256(text.encode()).hexdigest()


def new_names(settings: DataSettings) -> str:
    """What the table of `--map-labels` holds, as text for a hash."""
    if settings.map_labels is None:
        return ""
    return repr(sorted(read_map(settings.map_labels).items()))


def no_images(option: Option, place: str, found: Gathered) -> InputError:
    """The error for a place without images, which names the files that it holds."""
    holds = f"; it holds {describe_files(found.passed_over)}" if found.passed_over else ""
    return InputError("{} must hold images, but {} has none{}", option, place, holds)


def is_junk(name: str) -> bool:
    """Whether a name is hidden, or one that an archive or a desktop leaves behind."""
    return name.startswith(".") or name in _JUNK


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()
