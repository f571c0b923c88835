"""RUN/pictures.parquet: test and training images for the report, as PNG files."""

import pyarrow as pa

from cnn.core.directory import Directory
from cnn.core.documents import read_table

PICTURES = "pictures.parquet"


# `prediction` and `probability` are null for a sample of the training images.
PICTURE_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("probability", pa.float64()),
        ("png", pa.binary()),
    ]
)


MISTAKE, UNCERTAIN, SAMPLE = "mistake", "uncertain", "sample"
# An image whose label is probably wrong; its prediction is the suggested class.
SUSPECT = "suspect"


_MOST_ROWS = 1000


_MOST_BYTES = 100_000_000


def read_pngs(run: Directory, most: int) -> list[bytes]:
    """At most `most` pictures of a run as PNG files; none if the table is missing or damaged."""
    try:
        rows = read_rows(run)
    except (OSError, ValueError, pa.ArrowException):
        return []
    return [png for row in rows[:most] if isinstance(png := row["png"], bytes)]


def read_rows(run: Directory) -> list[dict[str, object]]:
    """The rows of PICTURE_SCHEMA. Raises as `cnn.core.documents.read_table`."""
    table = read_table(run, PICTURES, PICTURE_SCHEMA, most_rows=_MOST_ROWS, most_bytes=_MOST_BYTES)
    rows: list[dict[str, object]] = table.to_pylist()
    return rows
