"""Which classes the winner takes for which, and how good it is on each; few classes or many."""

from dataclasses import dataclass
from typing import Any

from cnn.rundir.record import Interval, Run, RunRecord, share_interval
from cnn.rundir.test_predictions import MANY_CLASSES, count_top5

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


def by_class(record: RunRecord) -> list[dict[str, Any]]:
    """A row for each true class: its counts with their shares, its recall and its precision.

    Few classes stand in their own order. Of many the counts are left out, and the class that is
    recognised worst comes first.
    """
    matrix, classes = record.test.confusion, record.data.classes
    named = [sum(column) for column in zip(*matrix, strict=False)]
    few = len(classes) <= MOST_CLASSES
    rows = []
    for label, (name, counts) in enumerate(zip(classes, matrix, strict=False)):
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


def pairs(record: RunRecord) -> tuple[list[Pair], int]:
    """The classes that are confused most often, worst first, and how many pairs are at all."""
    classes = record.data.classes
    found = [
        Pair(classes[true], classes[named], count, count / sum(counts))
        for true, counts in enumerate(record.test.confusion[: len(classes)])
        for named, count in enumerate(counts)
        if count and named != true
    ]
    found.sort(key=lambda pair: (-pair.count, -pair.share))
    return found[:_MOST_PAIRS], len(found)


def top5(run: Run) -> tuple[float, Interval] | None:
    """How often the true class is among the five most likely, with its interval; of many classes.

    Of a run whose result.json says nothing of it, it is counted in test.parquet.
    """
    record, classes = run.record, len(run.record.data.classes)
    images = record.test.images()
    if classes < MANY_CLASSES or not images:
        return None
    share = record.test.top5_accuracy
    if share is None:
        count = count_top5(run.directory, classes)
        share = None if count is None else count / images
    interval = share_interval(share, images)
    return None if share is None or interval is None else (share, interval)
