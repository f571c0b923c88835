"""Images of which nothing is to be seen: they stay in the data set, are counted and named."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cnn.core.console import plain
from cnn.core.directory import Directory
from cnn.core.documents import write_csv
from cnn.data.manifest import Manifest
from cnn.data.splits import TEST, TRAIN

BLANK = "blank.csv"
_COLUMNS = ("path", "split", "class")


class BlankImage(NamedTuple):
    path: str
    split: str
    class_name: str


def write_blank(staging: Directory, images: Iterable[BlankImage]) -> None:
    """Writes `blank.csv`, a header alone where there are no such images."""
    write_csv(staging, BLANK, _COLUMNS, sorted(images))


def read_blank(data: Directory) -> list[BlankImage]:
    """Reads which images of a data set are blank or nearly so, by path.

    None where there is no such file: earlier versions did not look for them.
    """
    try:
        text = data.read(BLANK).decode()
    except FileNotFoundError:
        return []
    return [BlankImage(*row) for row in list(csv.reader(io.StringIO(text, newline="")))[1:]]


def describe_blank(path: str, manifest: Manifest, images: Sequence[BlankImage]) -> list[str]:
    """How many there are, where they are named, and a warning for each class that is mostly such.

    `path` is the data set's.
    """
    if not images:
        return []
    are = "image is" if len(images) == 1 else "images are"
    example = plain(repr(images[0].path))
    lines = [
        f"{len(images):,} {are} blank or nearly so (such as {example}); "
        f"all are named in {path}/{BLANK}"
    ]
    for name in manifest.classes:
        of_class = sum(manifest.counts[split][name] for split in (TRAIN, TEST))
        blank = sum(image.class_name == name for image in images)
        if 2 * blank > of_class:
            lines.append(
                f"warning: class {plain(repr(name))} is mostly blank: {blank:,} of its "
                f"{of_class:,} images"
            )
    return lines
