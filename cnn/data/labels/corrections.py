"""Corrections of labels: a small table of paths and labels that a person has looked through."""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from cnn.core.console import say
from cnn.core.directory import reachable
from cnn.core.errors import InputError, Option
from cnn.data.labels.file import TableFile, batches, content_of, format_of, info_of
from cnn.data.labels.rows import text
from cnn.data.sources.listing import Listing

RELABEL = Option("relabel")
_COLUMNS = ("path", "label")
# Corrections are made by hand: a larger file is something else.
MOST_BYTES = 64 << 20


class Corrections(NamedTuple):
    """The right labels of some images by their paths; "" if an image has none."""

    place: str
    labels: Mapping[str, str]

    def inputs(self, inputs: str) -> str:
        """The hash of a data set's inputs and these corrections; unchanged if there are none."""
        if not self.labels:
            return inputs
        content = json.dumps(sorted(self.labels.items()))
        return hashlib.sha256(f"{inputs} {content}".encode()).hexdigest()

    def apply(self, listing: Listing) -> Listing:
        """The listing with these labels; images without a label become rejects.

        Raises:
            InputError: A label is not one of the classes, or the listing has none of the images.
        """
        if not self.labels:
            return listing
        found = {file.path for file in listing.files} & self.labels.keys()
        if not found:
            raise InputError(
                "{} must name images by the paths of the data set, such as {!r}, but {} has {!r}",
                RELABEL,
                min((file.path for file in listing.files), default=""),
                self.place,
                min(self.labels),
            )
        for path in sorted(found):
            label = self.labels[path]
            if label and label not in listing.classes:
                raise InputError(
                    "{} must give labels that are classes ({}), but {} has {!r} for {}",
                    RELABEL,
                    ", ".join(listing.classes),
                    self.place,
                    label,
                    path,
                )
        files, rejects = [], list(listing.rejects)
        changed = 0
        for file in listing.files:
            label = self.labels.get(file.path, file.class_name)
            changed += label != file.class_name
            if label:
                files.append(file._replace(class_name=label))
            else:
                rejects.append((file.path, f"no label in {RELABEL}"))
        missing = len(self.labels) - len(found)
        others = f"; {missing:,} of its paths are no images of this data set" if missing else ""
        say(f"{self.place}: {changed:,} labels corrected{others}")
        return listing._replace(files=files, rejects=rejects, inputs=self.inputs(listing.inputs))


NO_CORRECTIONS = Corrections("", {})


def read_corrections(place: str | None) -> Corrections:
    """Reads corrections from a table with the columns path and label.

    Args:
        place: A path or URI of a CSV, TSV or Parquet file; None if there are no corrections.

    Raises:
        InputError: It is no such table, or it gives an image two labels.
    """
    if place is None:
        return NO_CORRECTIONS
    file = reachable(place)
    if not file.is_file():
        raise InputError("{} must be a CSV, TSV or Parquet file, but got {}", RELABEL, place)
    if info_of(file).size > MOST_BYTES:
        raise InputError("{} must have at most {} MiB: {}", RELABEL, MOST_BYTES >> 20, place)
    content = TableFile(place, content_of(file))
    labels: dict[str, str] = {}
    try:
        how = format_of(content, place, RELABEL)
        if not set(_COLUMNS) <= set(how.columns):
            raise InputError(
                "{} must have the columns path and label, but {} has {}",
                RELABEL,
                place,
                ", ".join(how.columns),
            )
        for batch in batches(content, how, _COLUMNS):
            for path, label in zip(*(text(c).to_pylist() for c in batch.columns), strict=True):
                if path and labels.setdefault(path, label or "") != (label or ""):
                    raise InputError(
                        "{} must give each image one label, but {} gives two to {}",
                        RELABEL,
                        place,
                        path,
                    )
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise InputError("{} must be a table, but {} is none: {}", RELABEL, place, error) from None
    if not labels:
        raise InputError("{} must have a row, but {} has none", RELABEL, place)
    return Corrections(place, labels)
