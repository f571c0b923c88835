"""A run directory -> report.html: one file, no network.

python -m cnn.report RUN        makes the report of a run again
"""

import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import jinja2
from pydantic import ValidationError

from cnn import plots
from cnn.outcome import RESULT
from cnn.results import EpochResult, TrialResult, read_trials, trial_key
from cnn.settings import Error, InputError
from cnn.storage import Directory

REPORT = "report.html"


def write_report(run: Directory) -> str:
    """Writes RUN/report.html from what lies in the run directory; returns where it is."""
    run.write(REPORT, render_report(run).encode())
    return f"{run.uri}/{REPORT}"


def render_report(run: Directory) -> str:
    """The report as HTML. Raises InputError where there is no finished run."""
    result = _read_result(run)
    trials = read_trials(run)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "number": _number, "duration": _duration}
    try:
        return environment.get_template("report.html.j2").render(_content(run, result, trials))
    except (ValidationError, TypeError, KeyError) as error:
        raise InputError(
            f"{run.uri}/{RESULT} must be a run's result, but is not: {error}"
        ) from None


def _read_result(run: Directory) -> dict[str, Any]:
    try:
        result = json.loads(run.read(RESULT))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"a run must be finished, but {run.uri} has no {RESULT}") from None
    except ValueError as error:
        raise InputError(f"{run.uri}/{RESULT} must be JSON, but is not: {error}") from None
    if not isinstance(result, dict):
        raise InputError(f"{run.uri}/{RESULT} must be a table, but is none")
    return result


def _content(
    run: Directory, result: dict[str, Any], trials: Sequence[TrialResult]
) -> dict[str, Any]:
    test = result["test"]
    final = result["final"]
    winner = next((t for t in trials if t.number == result["winner"]["number"]), None)
    final_epochs = [EpochResult.model_validate(epoch) for epoch in final["epochs"]]
    has_validation = any(epoch.val_loss is not None for epoch in final_epochs)
    phases = [_phase(phase, trials) for phase in result["phases"]]
    return {
        "result": result,
        "test": test,
        "right": round(test["accuracy"] * test["count"]),
        "beats_baseline": test["interval"]["low"] > result["baseline"]["accuracy"],
        "classes": result["data"]["classes"],
        "confusion": _confusion(test["confusion"], result["data"]["classes"]),
        "final_plots": plots.curves(final_epochs, final["best_epoch"]),
        "winner_plots": (
            plots.curves(winner.epochs, winner.best_epoch)
            if winner is not None and winner.epochs and not has_validation
            else None
        ),
        "phases": phases,
        "settings": run.read("settings.toml").decode() if run.exists("settings.toml") else "",
    }


def _phase(phase: dict[str, Any], trials: Sequence[TrialResult]) -> dict[str, Any]:
    own = [trial for trial in trials if trial.phase == phase["name"]]
    ranked = sorted(own, key=lambda t: (trial_key(phase["objective"], t), t.number))
    names = list(dict.fromkeys(name for trial in own for name in trial.params))
    varied = [n for n in names if len({json.dumps(t.params.get(n)) for t in own}) > 1]
    return {
        **phase,
        "rows": [
            {
                "trial": trial,
                "seconds": (trial.ended - trial.started).total_seconds(),
                "last_line": (trial.error or "").strip().rpartition("\n")[2],
            }
            for trial in ranked
        ],
        "varied": varied,
        "same": {n: own[0].params.get(n) for n in names if n not in varied} if own else {},
        "plots": plots.search(own),
    }


def _confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each true class: its counts with their shares, its recall and its precision."""
    rows = []
    for label, (name, counts) in enumerate(zip(classes, matrix, strict=True)):
        total, predicted = sum(counts), sum(row[label] for row in matrix)
        rows.append(
            {
                "name": name,
                "cells": [
                    {"count": n, "share": n / total if total else 0, "right": i == label}
                    for i, n in enumerate(counts)
                ],
                "recall": counts[label] / total if total else None,
                "precision": counts[label] / predicted if predicted else None,
            }
        )
    return rows


def _percent(value: Any, digits: int = 1) -> str:
    return f"{value:.{digits}%}".replace("%", " %") if isinstance(value, int | float) else "–"


def _number(value: Any) -> str:
    """A value as people read it: no more digits than say something."""
    if value is None or isinstance(value, jinja2.Undefined):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_number, value)) if isinstance(value, list | tuple) else str(value)


def _duration(value: Any) -> str:
    if not isinstance(value, int | float):
        return "–"
    return f"{value:.1f} s" if value < 100 else str(timedelta(seconds=round(value)))


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        print(f"error: one run directory must be given, but got {len(arguments)}", file=sys.stderr)
        return InputError.exit_code
    try:
        print(write_report(Directory(arguments[0])))
    except Error as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
