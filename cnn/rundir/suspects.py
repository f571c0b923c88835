"""RUN/suspects.csv: the images whose label is probably wrong, the surest first.

A person corrects the column `label`, and the file can then be read as a table of labels. Its
contents are not trusted. RUN/out-of-fold.parquet has what is said of each training image by a
network that was not trained on it.
"""

from collections.abc import Iterable
from typing import NamedTuple

import pyarrow as pa

from cnn.core.directory import Directory
from cnn.core.documents import read_document, write_csv
from cnn.data.manifest import Count
from cnn.settings.validation import Frozen

SUSPECTS = "suspects.csv"
_MOST_BYTES = 500_000_000
OUT_OF_FOLD = "out-of-fold.parquet"
# The most probable classes and their probabilities, at most eight, descending.
OUT_OF_FOLD_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("own_probability", pa.float32()),
        ("classes", pa.list_(pa.int32())),
        ("probabilities", pa.list_(pa.float32())),
    ]
)


class Suspect(NamedTuple):
    """An image whose label is probably wrong."""

    path: str
    # The names of the class that it is labelled with and of the one that it looks like.
    label: str
    suggested: str
    # Of the suggested class and of the label.
    probability: float
    own_probability: float
    split: str


class LabelCheck(Frozen):
    """How many labels could be judged, and how many are suspected (RUN/suspects.csv)."""

    suspects: Count
    # The images of each split that a network has judged that was not trained on them.
    judged: dict[str, Count]
    # Whether the networks agree with so few labels that they cannot tell which are wrong.
    too_poor: bool = False


def write_suspects(run: Directory, suspects: Iterable[Suspect]) -> None:
    """Writes RUN/suspects.csv."""
    rows = (
        [
            *(one.path, one.label, one.suggested),
            *(f"{one.probability:.6f}", f"{one.own_probability:.6f}", one.split),
        ]
        for one in suspects
    )
    write_csv(run, SUSPECTS, Suspect._fields, rows)


def read_suspects(run: Directory) -> pa.Table:
    """Reads RUN/suspects.csv, which a person may have edited: its columns as they are there.

    Raises FileNotFoundError, Malformed, or pa.ArrowException.
    """
    import pyarrow.csv

    kinds = {name: pa.string() for name in ("path", "label", "suggested", "split")}
    kinds |= {name: pa.float64() for name in ("probability", "own_probability")}
    return pyarrow.csv.read_csv(
        pa.BufferReader(read_document(run, SUSPECTS, _MOST_BYTES)),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=kinds),
    )
