"""Blank images: they stay in the data set and are listed in `blank.csv`."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnn.core.console import plain
from cnn.core.directory import Directory
from cnn.core.documents import read_csv, write_csv
from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN

BLANK = "blank.csv"
_COLUMNS = ("path", "split", "class")


class BlankImage(NamedTuple):
    path: str
    split: str
    class_name: str


def write_blank(staging: Directory, images: Iterable[BlankImage]) -> None:
    """Writes `blank.csv`, with only a header if there are no blank images."""
    write_csv(staging, BLANK, _COLUMNS, sorted(images))


def read_blank(data: Directory) -> list[BlankImage]:
    """Reads the list of blank or nearly blank images of a data set, sorted by path.

    The list is empty if there is no such file, because earlier versions did not write one.
    """
    return [BlankImage(*row) for row in read_csv(data, BLANK)]


def describe_blank(path: str, manifest: Manifest, images: Sequence[BlankImage]) -> list[str]:
    """Says how many images are blank and where they are listed; warns of mostly blank classes.

    `path` is the data directory, or "" if there is none.
    """
    if not images:
        return []
    are = "image is" if len(images) == 1 else "images are"
    example = plain(repr(images[0].path))
    see = f"; see {path}/{BLANK}" if path else ""
    lines = [f"{len(images):,} {are} blank or nearly blank (such as {example}){see}"]
    blanks = Counter(image.class_name for image in images)
    for name in manifest.classes:
        of_class = sum(manifest.counts[split][name] for split in (TRAIN, TEST))
        if 2 * blanks[name] > of_class:
            lines.append(
                f"warning: class {plain(repr(name))} is mostly blank: {blanks[name]:,} of its "
                f"{of_class:,} images"
            )
    return lines
