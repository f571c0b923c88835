"""The confusion of classes by the winner, and its recall and precision for each class."""

from dataclasses import dataclass
from typing import Any

from cnn.rundir.result import RunResult

# A confusion matrix of more classes would be too large for a page.
MOST_CLASSES = 20
_MOST_PAIRS = 20


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were predicted as another; `share` is of the true class."""

    true: str
    predicted: str
    count: int
    share: float


def by_class(result: RunResult) -> list[dict[str, Any]]:
    """A row for each true class: its counts and their shares, its recall and its precision.

    Few classes are in their own order. Many classes have no counts and are sorted by recall, the
    lowest first.
    """
    matrix, classes = result.test.confusion, result.data.classes
    predicted = [sum(column) for column in zip(*matrix, strict=True)]
    few = len(classes) <= MOST_CLASSES
    rows = []
    for label, (name, counts) in enumerate(zip(classes, matrix, strict=True)):
        total = sum(counts)
        cells = [
            {"count": n, "share": n / total if total else 0.0, "right": i == label}
            for i, n in enumerate(counts)
        ]
        rows.append(
            {
                "name": name,
                "count": total,
                "cells": cells if few else [],
                "recall": counts[label] / total if total else None,
                "precision": counts[label] / predicted[label] if predicted[label] else None,
            }
        )
    if few:
        return rows
    return sorted(rows, key=lambda row: (row["recall"] is None, row["recall"] or 0.0))


def pairs(result: RunResult) -> tuple[list[ConfusedPair], int]:
    """The pairs of classes confused most often, worst first, and the number of all such pairs."""
    classes = result.data.classes
    found = [
        ConfusedPair(classes[true], classes[predicted], count, count / sum(counts))
        for true, counts in enumerate(result.test.confusion)
        for predicted, count in enumerate(counts)
        if count and predicted != true
    ]
    found.sort(key=lambda pair: (-pair.count, -pair.share))
    return found[:_MOST_PAIRS], len(found)
