"""A run directory -> report.html: one file, no network.

python -m cnn.report RUN        makes the report of a run again
"""

import json
import math
import shlex
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Self

import jinja2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cnn import plots
from cnn.cli import Parser, run_job
from cnn.results import (
    EpochResult,
    TrialResult,
    count_by_status,
    read_trials,
    trial_key,
    wilson_interval,
)
from cnn.settings import Error, InputError, Objective, explain
from cnn.storage import Directory

REPORT = "report.html"
_RESULT = "result.json"
_SETTINGS = "settings.toml"


class _Part(BaseModel):
    """A table of result.json, of which all may be missing; null is missing."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


class _Scores(_Part):
    accuracy: float | None = None
    loss: float | None = None
    balanced_accuracy: float | None = None
    count: int | None = None


class _Interval(_Part):
    low: float | None = None
    high: float | None = None


class _Test(_Scores):
    interval: _Interval = _Interval()
    confusion: list[list[int]] = []


class _Winner(_Scores):
    number: int | None = None
    phase: str | None = None


class _Phase(_Part):
    name: str
    strategy: str | None = None
    objective: Objective = "val_accuracy"
    best: int | None = None
    train_images: int | None = None
    epochs: int | None = None


class _Baseline(_Part):
    accuracy: float | None = None
    name: str | None = Field(default=None, validation_alias="class")


class _Attempt(_Part):
    seed: int | None = None
    accuracy: float | None = None
    accepted: bool | None = None


class _Final(_Part):
    data: str | None = None
    best_epoch: int | None = None
    epochs: list[EpochResult] = []
    train_images: int | None = None
    attempts: list[_Attempt] = []


class _Source(_Part):
    name: str | None = None
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None


class _Data(_Part):
    classes: list[str] = []
    counts: dict[str, dict[str, int | None]] = {}
    rejects: int | None = None
    size: int | None = None
    channels: int | None = None
    fingerprint: str | None = None
    source: _Source = _Source()


class _Result(_Part):
    """result.json as far as the report shows it."""

    params: dict[str, Any] = {}
    winner: _Winner = _Winner()
    phases: list[_Phase] = []
    validation: _Scores = _Scores()
    test: _Test = _Test()
    baseline: _Baseline = _Baseline()
    final: _Final = _Final()
    seconds: dict[str, float | None] = {}
    versions: dict[str, Any] = {}
    architecture: str | None = None
    parameters: int | None = None
    data: _Data = _Data()
    command: list[str] = []
    configs: list[str] = []
    notes: list[str] = []
    started: str | None = None
    ended: str | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        classes, matrix = len(self.data.classes), self.test.confusion
        if matrix and classes and {len(matrix), *map(len, matrix)} != {classes}:
            raise ValueError(
                f"test.confusion must have a row and a column for each of {classes} classes"
            )
        return self


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
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": _percent,
        "value": _value,
        "count": _count,
        "duration": _duration,
        "moment": _moment,
    }
    winner = next((trial for trial in trials if trial.number == result.winner.number), None)
    validated = any(epoch.val_accuracy is not None for epoch in result.final.epochs)
    settings = run.read(_SETTINGS).decode(errors="replace") if run.exists(_SETTINGS) else ""
    return environment.get_template("report.html.j2").render(
        result=result,
        headline=_headline(result),
        confusion=_confusion(result.test.confusion, result.data.classes),
        final_plots=plots.training("final", result.final.epochs, result.final.best_epoch),
        winner=winner,
        winner_plots=plots.training("winner", winner.epochs, winner.best_epoch)
        if winner and not validated
        else {},
        statuses=count_by_status(trials),
        phases=[
            _phase_view(number, phase, trials)
            for number, phase in enumerate(_phases(result, trials))
        ],
        table=_table(result, trials),
        failures=_failures(trials),
        command=shlex.join(result.command),
        settings=settings,
    )


def _read_result(run: Directory) -> _Result:
    where = f"{run.uri}/{_RESULT}"
    try:
        return _Result.model_validate(json.loads(run.read(_RESULT)))
    except (FileNotFoundError, NotADirectoryError):
        what = f"has no {_RESULT}" if run.is_dir() else "is no folder"
        raise InputError(f"a run must be a folder with a {_RESULT}, but {run.uri} {what}") from None
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from None
    except ValueError as error:
        raise InputError(f"{where} must be JSON, but is not: {error}") from None


def _headline(result: _Result) -> dict[str, Any]:
    """The test in numbers; what is not known is None."""
    test, baseline = result.test, result.baseline.accuracy
    count = test.count or sum(map(sum, test.confusion)) or None
    right = None
    if test.accuracy is not None and count is not None:
        right = round(test.accuracy * count)
    low, high = test.interval.low, test.interval.high
    if right is not None and count is not None and (low is None or high is None):
        low, high = wilson_interval(right, count)
    beats = low > baseline if low is not None and baseline is not None else None
    return {"count": count, "right": right, "low": low, "high": high, "beats_baseline": beats}


def _confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each true class: its counts with their shares, its recall and its precision."""
    rows = []
    for label, (name, counts) in enumerate(zip(classes, matrix, strict=False)):
        total, predicted = sum(counts), sum(row[label] for row in matrix)
        rows.append(
            {
                "name": name,
                "cells": [
                    {"count": n, "share": n / total if total else 0.0, "right": i == label}
                    for i, n in enumerate(counts)
                ],
                "recall": counts[label] / total if total else None,
                "precision": counts[label] / predicted if predicted else None,
            }
        )
    return rows


def _phases(result: _Result, trials: Sequence[TrialResult]) -> list[_Phase]:
    """In the order they ran, with those in which no trial was ok: result.json leaves them out."""
    known = {phase.name: phase for phase in result.phases}
    ran = {trial.phase: _Phase(name=trial.phase) for trial in trials}
    return list((ran | known).values())


def _phase_view(number: int, phase: _Phase, trials: Sequence[TrialResult]) -> dict[str, Any]:
    own = [trial for trial in trials if trial.phase == phase.name]
    return {
        "phase": phase,
        "statuses": count_by_status(own),
        "plots": {
            **plots.progress(f"progress{number}", own),
            **plots.learning(f"learning{number}", own, phase.best),
        },
    }


def _table(result: _Result, trials: Sequence[TrialResult]) -> dict[str, Any]:
    """All trials, the winner's phase first and the best of a phase first in it."""
    phases = {phase.name: phase for phase in _phases(result, trials)}
    order = list(phases)

    def rank(trial: TrialResult) -> tuple[Any, ...]:
        key = trial_key(phases[trial.phase].objective, trial)
        later = -order.index(trial.phase)
        return trial.phase != result.winner.phase, later, trial.status != "ok", key, trial.number

    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    varied = [n for n in names if len({json.dumps(t.params.get(n)) for t in trials}) > 1]
    return {
        "trials": sorted(trials, key=rank),
        "best": {phase.best for phase in phases.values()},
        "several_phases": len(phases) > 1,
        "varied": varied,
        "same": {n: trials[0].params.get(n) for n in names if n not in varied},
    }


def _failures(trials: Iterable[TrialResult]) -> list[dict[str, Any]]:
    """Trials with an error; those with the same status and error together."""

    def kind(trial: TrialResult) -> tuple[str, str]:
        return trial.status, (trial.error or "").strip()

    groups = []
    failed = sorted((trial for trial in trials if trial.error), key=kind)
    for (status, text), same in groupby(failed, key=kind):
        alike = list(same)
        summary, numbers = alike[0].cause(), [trial.number for trial in alike]
        groups.append({"status": status, "numbers": numbers, "summary": summary, "text": text})
    return sorted(groups, key=lambda group: group["numbers"])


def _percent(value: float | None) -> str:
    """One decimal, or as many as it takes not to round what is below 100 % up to it."""
    if value is None or not math.isfinite(value):
        return "–"
    digits = next((d for d in (1, 2, 3) if value >= 1 or round(100 * value, d) < 100), 4)
    return f"{100 * value:.{digits}f}\u00a0%"


def _value(value: Any) -> str:
    """A parameter or score as people read it: no more digits than say something."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(_value, value)) if isinstance(value, list | tuple) else str(value)


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _moment(text: str | None) -> str:
    try:
        return f"{datetime.fromisoformat(text or ''):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text or "–"


def main(arguments: Sequence[str]) -> None:
    parser = Parser(prog="python -m cnn.report", description="Makes report.html of a run again.")
    parser.add_argument("run", metavar="RUN", help="a run directory, as jobs/tune.py made it")
    run = Directory(parser.parse_args(arguments).run)
    try:
        print(write_report(run))
    except OSError as error:
        raise Error(f"{run.uri} must be a folder to read from and write to, but: {error}") from None


if __name__ == "__main__":
    run_job(main)
