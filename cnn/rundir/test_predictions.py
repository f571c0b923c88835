"""Reads RUN/test.parquet, the predictions for every test image; its contents are not trusted."""

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

_MAX_ROWS = 5_000_000
_MAX_BYTES = 500_000_000


@dataclass(frozen=True)
class TestPredictions:
    """The test images in order, with true and predicted labels."""

    paths: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray

    @property
    def correct(self) -> np.ndarray:
        return self.labels == self.predictions


class UnreadablePredictions(Exception):
    """Why there are no predictions, in a few words that can follow "it has"."""


def read_test_predictions(run: Directory) -> TestPredictions:
    """Reads the predictions of a run. Raises UnreadablePredictions."""
    table = _read(run, ["path", "label", "prediction"])
    paths = tuple(table["path"].to_pylist())
    return TestPredictions(paths, table["label"].to_numpy(), table["prediction"].to_numpy())


def read_test_probabilities(run: Directory, classes: int) -> np.ndarray:
    """The probabilities of all test images in order, (n, classes). Raises UnreadablePredictions."""
    lists = _read(run, ["probabilities"])["probabilities"].combine_chunks()
    if (lists.value_lengths().to_numpy() != classes).any() or lists.flatten().null_count:
        raise UnreadablePredictions(f"a {TESTED} of another kind")
    found: np.ndarray = lists.flatten().to_numpy().reshape(-1, classes)
    return found


def _read(run: Directory, columns: list[str]) -> pa.Table:
    """Reads columns; the file must have rows and a limited size, and no nulls."""
    schema = pa.schema([TEST_SCHEMA.field(name) for name in columns])
    try:
        table = read_table(run, TESTED, schema, most_rows=_MAX_ROWS, most_bytes=_MAX_BYTES)
    except FileNotFoundError:
        raise UnreadablePredictions(f"no {TESTED}") from None
    except Malformed:
        raise UnreadablePredictions(f"a {TESTED} of another kind") from None
    except (OSError, ValueError, pa.ArrowException):
        raise UnreadablePredictions(f"a {TESTED} that cannot be read") from None
    if not len(table) or any(table[name].null_count for name in columns):
        raise UnreadablePredictions(f"a {TESTED} of another kind")
    return table


# Top-5 accuracy is informative only with at least this many classes.
TOP, MANY_CLASSES = 5, 20


def count_in_top(probabilities: np.ndarray, labels: np.ndarray) -> int | None:
    """Counts the images whose true class is among the five most likely ones.

    Ties are broken in favour of the first class, as they are for the predicted class. Returns None
    with fewer than 20 classes or if a probability is not finite.
    """
    if probabilities.shape[1] < MANY_CLASSES or not np.isfinite(probabilities).all():
        return None
    first = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    return int((first == labels[:, None]).any(axis=1).sum())
