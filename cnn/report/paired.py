"""Paired tests of which of several runs is better, if they were tested on the same images.

Two accuracies on the same images differ only by the images that exactly one run classifies
correctly. If neither run is better, each such image is equally likely to be either run's: this is
McNemar's test in its exact, binomial form (McNemar, Psychometrika 1947). The best run is chosen on
these same images, so the p-values are corrected for all pairs of runs, not only for those with the
best (Holm, Scandinavian Journal of Statistics 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cnn.rundir.finished import FinishedRun
from cnn.rundir.test_predictions import (
    TestPredictions,
    UnreadablePredictions,
    read_test_predictions,
)

# The significance level.
LEVEL = 0.05


@dataclass(frozen=True)
class RunPair:
    """A run and the best run, with the images that only one of them classifies correctly."""

    best: str
    other: str
    only_best: int
    only_other: int
    p: float
    # By Holm's method; equal to `p` if there are only two runs.
    corrected: float

    @property
    def different(self) -> bool:
        return self.corrected < LEVEL


@dataclass(frozen=True)
class Group:
    """Runs that were tested on the same images, each paired with the best of them."""

    best: str
    images: int
    # The number of pairs of runs that the p-values are corrected for.
    comparisons: int
    pairs: tuple[RunPair, ...]


@dataclass(frozen=True)
class Paired:
    groups: tuple[Group, ...]
    # Runs that cannot be compared with any other, and why.
    alone: tuple[tuple[str, str], ...]


def paired_tests(names: Sequence[str], runs: Sequence[FinishedRun]) -> Paired:
    """Tests all runs that share their test images with another run."""
    alike: dict[Any, list[tuple[str, np.ndarray]]] = {}
    reasons: dict[str, str] = {}
    for name, run in zip(names, runs, strict=True):
        try:
            images, right = _tested(run)
        except UnreadablePredictions as error:
            reasons[name] = f"it has {error}"
            continue
        alike.setdefault(images, []).append((name, right))
    for own in alike.values():
        if len(own) == 1:
            reasons[own[0][0]] = "no other run was tested on the same images"
    groups = tuple(_group(own) for own in alike.values() if len(own) > 1)
    return Paired(groups, tuple((name, reasons[name]) for name in names if name in reasons))


def _tested(run: FinishedRun) -> tuple[Any, np.ndarray]:
    """A key that is equal for equal test images, and whether each image is correct."""
    answers = read_test_predictions(run.directory)
    order = _order(answers)
    images = tuple((answers.paths[place], int(answers.labels[place])) for place in order)
    data = run.result.data
    return (data.fingerprint, data.classes, images), answers.correct[order]


def _order(answers: TestPredictions) -> np.ndarray:
    places = np.array(sorted(range(len(answers.paths)), key=answers.paths.__getitem__))
    if len(set(answers.paths)) < len(answers.paths):
        raise UnreadablePredictions("two test images with the same path")
    return places


def _group(own: Sequence[tuple[str, np.ndarray]]) -> Group:
    found = {
        (one, other): mcnemar(_only(right, wrong), _only(wrong, right))
        for (one, right), (other, wrong) in combinations(own, 2)
    }
    corrected = dict(zip(found, holm(list(found.values())), strict=True))
    best, best_right = max(own, key=lambda run: run[1].sum())
    pairs = []
    for name, right in own:
        if name != best:
            key = (best, name) if (best, name) in found else (name, best)
            only = _only(best_right, right), _only(right, best_right)
            pairs.append(RunPair(best, name, *only, found[key], corrected[key]))
    return Group(best, len(best_right), len(found), tuple(pairs))


def _only(right: np.ndarray, other: np.ndarray) -> int:
    return int((right & ~other).sum())


def mcnemar(only_one: int, only_other: int) -> float:
    """The exact two-sided p-value, from the images that only one of two runs has correct."""
    from scipy.stats import binomtest

    if only_one + only_other == 0:
        return 1.0
    return float(binomtest(only_one, only_one + only_other).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Corrects p-values for multiple comparisons by Holm's method, in the same order."""
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected
