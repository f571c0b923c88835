"""Which classes the winner takes for which, and how good it is on each; few classes or many."""

from dataclasses import dataclass
from typing import Any

from cnn.rundir.result import RunResult

# More classes than these fill a page with their confusions.
MOST_CLASSES = 20
_MOST_PAIRS = 20


@dataclass(frozen=True)
class Pair:
    """Images of one class that were named another, as a share of the first."""

    true: str
    named: str
    count: int
    share: float


def by_class(result: RunResult) -> list[dict[str, Any]]:
    """A row for each true class: its counts with their shares, its recall and its precision.

    Few classes stand in their own order. Of many the counts are left out, and the class that is
    recognised worst comes first.
    """
    matrix, classes = result.test.confusion, result.data.classes
    named = [sum(column) for column in zip(*matrix, strict=True)]
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
                "precision": counts[label] / named[label] if named[label] else None,
            }
        )
    if few:
        return rows
    return sorted(rows, key=lambda row: (row["recall"] is None, row["recall"] or 0.0))


def pairs(result: RunResult) -> tuple[list[Pair], int]:
    """The classes that are confused most often, worst first, and how many pairs are at all."""
    classes = result.data.classes
    found = [
        Pair(classes[true], classes[named], count, count / sum(counts))
        for true, counts in enumerate(result.test.confusion)
        for named, count in enumerate(counts)
        if count and named != true
    ]
    found.sort(key=lambda pair: (-pair.count, -pair.share))
    return found[:_MOST_PAIRS], len(found)
