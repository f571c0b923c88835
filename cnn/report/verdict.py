"""How good a run's winner is and how far to trust the result, in words and in tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn.report.classes import MOST_CLASSES, by_class
from cnn.report.formats import area, count, percent, points, readable, words
from cnn.rundir.extension import opened_again
from cnn.rundir.finished import FinishedRun, searched
from cnn.rundir.metrics import ConfidenceInterval
from cnn.rundir.result import PhaseResult, RunResult
from cnn.rundir.trials import TrialResult
from cnn.settings.objective import is_share, metric_words

# Half-widths of the interval: from the first on the test says little, below the second it is exact.
_WIDE, _NARROW = 0.05, 0.02


@dataclass(frozen=True)
class Check:
    """One reason for or against trusting the result; `good` is None if it is neither."""

    good: bool | None
    text: str


def checks(run: FinishedRun) -> list[Check]:
    """Checks the width of the interval, the agreement with validation, and the selection bias."""
    found = [_interval_check(run.result), _validation_check(run.result), _selection_check(run)]
    return [check for check in found if check is not None]


def _interval_check(result: RunResult) -> Check:
    interval = result.test.interval
    half = (interval.high - interval.low) / 2
    text = f"± about {points(half)}: {count(result.test.count)} test images "
    if half >= _WIDE:
        return Check(False, text + "are few.")
    if half >= _NARROW:
        return Check(None, text + "cannot distinguish networks that are closer than that.")
    return Check(True, text + "are enough for this precision.")


def _validation_check(result: RunResult) -> Check:
    """Whether the test agrees with validation."""
    interval, expected = result.test.interval, result.validation.accuracy
    said = f"The validation accuracy was {percent(expected)}"
    if expected > interval.high:
        return Check(False, f"{said}, above the confidence interval of the test.")
    if expected < interval.low:
        return Check(None, f"{said}, below the confidence interval of the test.")
    return Check(True, f"{said}, within the confidence interval of the test.")


def _selection_check(run: FinishedRun) -> Check | None:
    """Whether the score by which the winner was chosen is biased by the selection."""
    phase = next((p for p in run.phases() if p.name == run.result.winner.phase), None)
    if phase is None:
        return None
    candidates = phase.confirmation.candidates if phase.confirmation else []
    # If any candidate was not trained again, the scores of the search decided.
    if candidates and all(candidate.mean is not None for candidate in candidates):
        text = "The winner was chosen by its mean over other seeds."
        return Check(True, f"{_selection_bias(phase) or ''} {text}".strip())
    tried = len([t for t in searched(run.trials) if t.phase == phase.name and _has_score(t)])
    if tried < 2:
        return None
    what = (
        "is the best" if run.result.winner.number == phase.best else "is about as good as the best"
    )
    text = f"The validation score of the winner {what} of {count(tried)}"
    unbiased = "" if opened_again(run.result) else "; the test accuracy is not"
    return Check(None, f"{text} and so biased upwards by the selection{unbiased}.")


def _has_score(trial: TrialResult) -> bool:
    return trial.accuracy is not None


def interval_of(share: float | None, images: int | None) -> ConfidenceInterval | None:
    """The interval of an accuracy on some images; None if either is unknown or impossible."""
    if share is None or not images or not 0 <= share <= 1:
        return None
    return ConfidenceInterval.of(share, images)


def trial_interval(trial: TrialResult) -> ConfidenceInterval | None:
    """The interval of a trial's validation accuracy."""
    return interval_of(trial.accuracy, trial.validation_images)


def versus_baseline(result: RunResult) -> list[tuple[str, str, str]]:
    """Rows of (score, of the network, of always predicting the larger class)."""
    test, classes, baseline = result.test, result.data.classes, result.baseline
    interval = f"{percent(test.interval.low)} to {percent(test.interval.high)}"
    rows = [
        ("accuracy", percent(test.accuracy), percent(baseline.accuracy)),
        ("95 % interval", interval, "–"),
        ("balanced accuracy", percent(test.balanced_accuracy), percent(1 / len(classes))),
        ("ROC AUC", area(test.roc_auc), "0.5"),
    ]
    if len(classes) <= MOST_CLASSES:
        for row in by_class(result):
            always = row["name"] == baseline.class_name
            precision = baseline.accuracy if always else None
            rows.append((f"recall, {row['name']}", percent(row["recall"]), percent(float(always))))
            rows.append(
                (f"precision, {row['name']}", percent(row["precision"]), percent(precision))
            )
    return rows


def selection(run: FinishedRun) -> list[dict[str, Any]]:
    """For each phase with a best trial: its selection bias and a simpler choice."""
    views = []
    for phase in run.phases():
        own = [trial for trial in run.trials if trial.phase == phase.name]
        if phase.best is None:
            continue
        best = next((trial for trial in own if trial.number == phase.best), None)
        folds = max((trial.folds for trial in own), default=1)
        views.append(
            {
                "phase": phase,
                "tried": len([t for t in searched(own) if _has_score(t)]),
                "folds": folds if folds > 1 else None,
                "best": best,
                "interval": trial_interval(best) if best is not None else None,
                "selection_bias": _selection_bias(phase),
                # Numbers that are no shares.
                "plain": not is_share(_objective(phase)),
                "score": f"validation {metric_words(_objective(phase))}",
            }
        )
    return views


def _objective(phase: PhaseResult) -> str:
    return phase.confirmation.objective if phase.confirmation else phase.objective


def _selection_bias(phase: PhaseResult) -> str | None:
    """How much better the best score of the search was than its mean over other seeds."""
    found = phase.confirmation
    if found is None or found.selection_bias is None:
        return None
    first = found.candidates[0]
    if is_share(found.objective):
        amount = points(found.selection_bias)
    else:
        amount = readable(abs(found.selection_bias))
    who = f"The best trial of the search, {readable(first.number)},"
    if amount in {"0", points(0.0)}:
        return f"{who} scored the same on average with other seeds: no sign of selection bias."
    if found.selection_bias < 0:
        return (
            f"{who} scored {amount} better on average with other seeds: no sign of selection bias."
        )
    return f"{who} scored {amount} worse on average with other seeds: the estimated selection bias."


def shape(dimensions: Sequence[int | None]) -> str:
    """The output shape of a layer, such as 64 × 64 × 1."""
    return " × ".join("?" if size is None else str(size) for size in dimensions) or "–"


def tower(result: RunResult) -> list[dict[str, Any]]:
    """The layers from input to output; the width of a box is the log of its number of values."""
    sizes = [math.prod(size for size in layer.shape if size) for layer in result.layers]
    widest = max((math.log2(size + 1) for size in sizes), default=1.0)
    return [
        {
            "name": words(layer.name),
            "kind": layer.kind,
            "group": _group(layer.kind),
            "shape": shape(layer.shape),
            "parameters": layer.parameters,
            "width": math.log2(size + 1) / widest,
        }
        for layer, size in zip(result.layers, sizes, strict=True)
    ]


def _group(kind: str) -> str:
    groups = {"Conv": "conv", "Dense": "dense", "Pool": "pool"}
    return next((group for part, group in groups.items() if part in kind), "plain")
