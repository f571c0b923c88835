"""The HTML view of a run in a notebook, in one self-contained piece."""

from collections.abc import Iterable, Sequence
from typing import Any

from cnn.core.html import block, link, table, text
from cnn.rundir.extension import extension_lines
from cnn.rundir.result import RunResult
from cnn.rundir.suspects import LabelCheck
from cnn.rundir.trials import TrialResult, trial_key
from cnn.settings.objective import Objective, has_own_field, metric_words

# The number of trials in the table, so that the view fits on a screen.
_SHOWN = 5


def run_html(path: str, report: str, result: RunResult, trials: Sequence[TrialResult]) -> str:
    """Returns the accuracy, the baseline, the parameters and the best trials of a run."""
    test, baseline, last = result.test, result.baseline, result.phases[-1]
    counts = ", ".join(f"{count} {status}" for status, count in result.trials.items())
    mine = [trial for trial in trials if trial.phase == last.name]
    return block(
        f"<b>Test accuracy {test.accuracy:.4f}</b> on {test.count:,} images "
        f"(95 % confidence interval {test.interval.low:.4f} to {test.interval.high:.4f})",
        *map(text, extension_lines(result)),
        *_labels(result.labels),
        f"Always predicting {text(baseline.class_name)} gives {baseline.accuracy:.4f}",
        f"The winner, trial {result.winner.number}: {_params(result.params)}",
        f"Trials: {text(counts)}",
        _trials_table(mine, last.objective),
        f"Report: {link(report)}",
        f"<code>Run.load({text(repr(path))})</code>",
    )


def _labels(labels: LabelCheck | None) -> list[str]:
    if labels is None or not labels.suspects:
        return []
    judged = sum(labels.judged.values())
    known = f"{labels.suspects:,} of {judged:,}"
    return [f"Labels that may be wrong: {known} (<code>run.suspects()</code>)"]


def _trials_table(trials: Iterable[TrialResult], objective: Objective) -> str:
    scored = [trial for trial in trials if trial.status in {"ok", "pruned"}]
    best = sorted(scored, key=lambda trial: (trial_key(objective, trial), trial.number))[:_SHOWN]
    varying = [
        name
        for name in (best[0].params if best else {})
        if len({str(trial.params.get(name)) for trial in best}) > 1
    ]
    own = [] if has_own_field(objective) else [metric_words(objective)]
    rows = [
        [
            str(trial.number),
            text(trial.status),
            *("–" if trial.objective is None else _value(trial.objective) for _ in own),
            _number(trial.accuracy),
            _number(trial.loss),
            *(text(_value(trial.params.get(name))) for name in varying),
        ]
        for trial in best
    ]
    headings = ["trial", "status", *own, "accuracy", "loss", *varying]
    return table([*map(text, headings)], rows)


def _params(params: dict[str, Any]) -> str:
    return ", ".join(f"{text(name)} <b>{text(_value(v))}</b>" for name, v in params.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
