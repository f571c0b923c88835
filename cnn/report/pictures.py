"""Reads RUN/pictures.parquet for the report; its contents are not trusted."""

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from cnn.core.directory import Directory
from cnn.model.picture_file import MISTAKE, PICTURES, SAMPLE, SUSPECT, UNCERTAIN, read_rows

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LARGEST = 200_000
# The most bytes of all pictures of a kind, so that the page stays below 2 MB.
_BUDGET = {MISTAKE: 450_000, UNCERTAIN: 200_000, SAMPLE: 350_000, SUSPECT: 600_000}


@dataclass(frozen=True)
class Picture:
    """An image with the names of its true and its predicted class."""

    path: str
    label: str
    prediction: str | None
    probability: float | None
    # A data: URI; None if there is no picture that can be shown.
    source: str | None


@dataclass(frozen=True)
class Pictures:
    """The pictures of each kind, or why there are none."""

    missing: str | None = None
    mistakes: tuple[Picture, ...] = ()
    uncertain: tuple[Picture, ...] = ()
    samples: tuple[Picture, ...] = ()
    suspects: tuple[Picture, ...] = ()

    def samples_of(self, name: str) -> list[Picture]:
        return [picture for picture in self.samples if picture.label == name]


def read_pictures(run: Directory, classes: Sequence[str]) -> Pictures:
    """Reads a run's pictures, each kind in the order of the file: the worst mistakes first."""
    try:
        rows = read_rows(run)
    except FileNotFoundError:
        return Pictures(missing=f"This run has no {PICTURES}.")
    except (OSError, ValueError, pa.ArrowException) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return Pictures(missing=f"{PICTURES} of this run cannot be read: {first[:200]}")
    return Pictures(
        None,
        *(_shown(rows, kind, classes) for kind in (MISTAKE, UNCERTAIN, SAMPLE, SUSPECT)),
    )


def _shown(
    rows: Iterable[dict[str, object]], kind: str, classes: Sequence[str]
) -> tuple[Picture, ...]:
    left = _BUDGET[kind]
    shown = []
    own = [row for row in rows if row["kind"] == kind]
    for row in _in_turn(own) if kind == SAMPLE else own:
        picture = _picture(row, classes)
        size = len(picture.source or "")
        if size <= left:
            left -= size
            shown.append(picture)
    return tuple(shown)


def _in_turn(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Alternates between the classes, so that every class has pictures if space is short."""
    seen: dict[object, int] = {}
    places = []
    for row in rows:
        places.append(seen.get(row["label"], 0))
        seen[row["label"]] = places[-1] + 1
    order = sorted(range(len(rows)), key=lambda place: places[place])
    return [rows[place] for place in order]


def _picture(row: dict[str, object], classes: Sequence[str]) -> Picture:
    probability, path = row["probability"], row["path"]
    known = isinstance(probability, float) and math.isfinite(probability)
    return Picture(
        path=path if isinstance(path, str) else "–",
        label=_name(row["label"], classes) or "–",
        prediction=_name(row["prediction"], classes),
        probability=probability if known and isinstance(probability, float) else None,
        source=_source(row["png"]),
    )


def _name(label: object, classes: Sequence[str]) -> str | None:
    if not isinstance(label, int):
        return None
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def _source(png: object) -> str | None:
    if not isinstance(png, bytes) or not png.startswith(_SIGNATURE) or len(png) > _LARGEST:
        return None
    return "data:image/png;base64," + base64.b64encode(png).decode()
