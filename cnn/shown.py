"""A run, running trials and a data set as a notebook shows them: HTML that needs nothing else.

Everything that comes from outside is escaped: classes, parameters and paths are anybody's text.
Colours are the notebook's own, so that it may be a dark one.
"""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cnn.duplicates import DUPLICATES
from cnn.live import HEADINGS, Row, in_order, short
from cnn.manifest import Manifest
from cnn.results import TrialResult, trial_key
from cnn.settings import Objective
from cnn.splits import TEST, TRAIN

# As many trials as fit on a screen with the rest.
_SHOWN = 5
_MOST_ROWS = 20
_LINE = "1px solid rgba(128, 128, 128, 0.4)"
_BAR = "3px solid rgba(128, 128, 128, 0.6)"
_CELL = f"padding: 2px 12px 2px 0; border-bottom: {_LINE}"


def run_html(path: str, report: str, result: dict[str, Any], trials: Sequence[TrialResult]) -> str:
    """How accurate, with what parameters, against which baseline, and the best trials."""
    test, baseline = result["test"], result["baseline"]
    low, high = test["interval"]["low"], test["interval"]["high"]
    counts = ", ".join(f"{count} {status}" for status, count in result["trials"].items())
    winner, last = result["winner"], result["phases"][-1]
    mine = [trial for trial in trials if trial.phase == last["name"]]
    return block(
        f"<b>Test accuracy {test['accuracy']:.4f}</b> on {test['count']:,} images "
        f"(95 % interval {low:.4f} to {high:.4f})",
        f"Always saying {text(baseline['class'])} gives {baseline['accuracy']:.4f}",
        f"The winner, trial {winner['number']}: {_params(result['params'])}",
        f"Trials: {text(counts)}",
        _trials_table(mine, last["objective"]),
        f"Report: {_link(report)}",
        f"<code>Run.load({text(repr(path))})</code>",
    )


def data_html(path: str, manifest: Manifest) -> str:
    """Images by class and split, and what became of the rest."""
    rows = [
        [text(name), *(f"{manifest.counts[split][name]:,}" for split in (TRAIN, TEST))]
        for name in manifest.classes
    ]
    colour = "grey" if manifest.channels == 1 else "RGB"
    reasons = [f"{count:,} {text(reason)}" for reason, count in manifest.reasons.items()]
    rejected = f"{manifest.rejects:,} of {manifest.listed:,} files rejected"
    return block(
        f"<b>{manifest.total(TRAIN) + manifest.total(TEST):,} images</b> of "
        f"{manifest.size}x{manifest.size}, {colour}, from {text(manifest.source.name)}",
        table(["class", "train", "test"], rows),
        rejected + (f": {'; '.join(reasons)}" if reasons else ""),
        f"{manifest.groups:,} groups, {manifest.duplicates:,} duplicates"
        + (f", listed in <code>{DUPLICATES}</code>" if manifest.duplicates else "")
        + (f", {manifest.blank:,} blank or nearly so" if manifest.blank else ""),
        f"<code>{text(path)}</code>",
    )


def trials_html(
    rows: Sequence[Row], best: Row | None, varying: Sequence[str], lines: Sequence[str]
) -> str:
    """The trials that run, the best so far below them, and lines of text."""
    names = in_order(varying)
    shown = [*rows[:_MOST_ROWS], *([best] if best else [])]
    body = [
        [*map(text, row.cells), *(text(short(row.params.get(name))) for name in names)]
        for row in shown
    ]
    if best:
        body[-1] = [f"<b>{cell}</b>" for cell in body[-1]]
    parts = [table([*HEADINGS, *map(text, names)], body)] if body else []
    more = len(rows) - _MOST_ROWS
    parts += [f"and {more} more running"] if more > 0 else []
    return block(*parts, *map(text, lines))


def _trials_table(trials: Iterable[TrialResult], objective: Objective) -> str:
    scored = [trial for trial in trials if trial.status in {"ok", "pruned"}]
    best = sorted(scored, key=lambda trial: (trial_key(objective, trial), trial.number))[:_SHOWN]
    varying = [
        name
        for name in (best[0].params if best else {})
        if len({str(trial.params.get(name)) for trial in best}) > 1
    ]
    rows = [
        [
            str(trial.number),
            text(trial.status),
            _number(trial.accuracy),
            _number(trial.loss),
            *(text(_value(trial.params.get(name))) for name in varying),
        ]
        for trial in best
    ]
    return table(["trial", "status", "accuracy", "loss", *map(text, varying)], rows)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th style="{_CELL}; text-align: left">{cell}</th>' for cell in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}; text-align: left">{c}</td>' for c in row) + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse: collapse"><tr>{head}</tr>{body}</table>'


def block(*parts: str) -> str:
    """Lines with a bar at their left; they are HTML already."""
    inner = "".join(f'<div style="margin: 4px 0">{part}</div>' for part in parts)
    return f'<div style="border-left: {_BAR}; padding: 0 12px">{inner}</div>'


def _link(path: str) -> str:
    """A link where the notebook's server can follow it, else the place alone."""
    shown = f"<code>{text(path)}</code>"
    if "://" in path or not Path(path).is_relative_to(Path.cwd()):
        return shown
    target = quote(str(Path(path).relative_to(Path.cwd())))
    return f'<a href="{text(target)}" target="_blank" rel="noopener">{shown}</a>'


def _params(params: dict[str, Any]) -> str:
    return ", ".join(f"{text(name)} <b>{text(_value(v))}</b>" for name, v in params.items())


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def text(value: object) -> str:
    """Anything from outside, as HTML shows it."""
    return escape(str(value), quote=True)
