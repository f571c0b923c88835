"""RUN/test.parquet, what a run's network said of every test image; it may hold anything."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_table

TESTED = "test.parquet"

TEST_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.int32()),
        ("prediction", pa.int32()),
        ("probabilities", pa.list_(pa.float64())),
    ]
)

_MOST_ROWS = 5_000_000
_MOST_BYTES = 500_000_000


@dataclass(frozen=True)
class TestPredictions:
    """The test images in their order, with what each is and what it was named."""

    paths: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.labels == self.predictions


class Unreadable(Exception):
    """Why there are no answers, in a few words that can follow "it has"."""


def read_test_predictions(run: Directory) -> TestPredictions:
    """Raises Unreadable."""
    table = _read(run, ["path", "label", "prediction"])
    paths = tuple(table["path"].to_pylist())
    return TestPredictions(paths, table["label"].to_numpy(), table["prediction"].to_numpy())


def _read(run: Directory, columns: list[str]) -> pa.Table:
    """Columns without a null, of a file of some size at least and at most."""
    schema = pa.schema([TEST_SCHEMA.field(name) for name in columns])
    try:
        table = read_table(run, TESTED, schema, most_rows=_MOST_ROWS, most_bytes=_MOST_BYTES)
    except FileNotFoundError:
        raise Unreadable(f"no {TESTED}") from None
    except Malformed:
        raise Unreadable(f"a {TESTED} of another kind") from None
    except (OSError, ValueError, pa.ArrowException):
        raise Unreadable(f"a {TESTED} that cannot be read") from None
    if not len(table) or any(table[name].null_count for name in columns):
        raise Unreadable(f"a {TESTED} of another kind")
    return table


# From so many classes on the true one among the first five says something.
TOP, MANY_CLASSES = 5, 20


def count_in_top(probabilities: np.ndarray, labels: np.ndarray) -> int | None:
    """Images whose true class is among the five that were found most likely.

    Of equal ones the first count as more likely, as they do for what an image is named. None with
    fewer than 20 classes, or where a probability is not finite.
    """
    if probabilities.shape[1] < MANY_CLASSES or not np.isfinite(probabilities).all():
        return None
    first = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    return int((first == labels[:, None]).any(axis=1).sum())
