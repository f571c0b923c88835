"""Compares several runs on one page: their results, data and costs."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl

from cnn.core.console import shortened_distinctly
from cnn.report.importance import scored
from cnn.report.paired import paired_tests
from cnn.report.plots import (
    INK,
    PARTS,
    STYLE,
    TRAIN,
    VALIDATION,
    as_logarithm,
    as_share,
    new_figure,
    svg,
    time_unit,
)
from cnn.report.plots_search import best_so_far
from cnn.report.render import render
from cnn.rundir.finished import FinishedRun, searched
from cnn.rundir.trial_clock import Clock
from cnn.rundir.trials import TrialResult, count_by_status

# Lines of different runs differ in colour and dash pattern.
_COLOURS = (TRAIN, VALIDATION, PARTS["compile"], PARTS["launch"], PARTS["data"])
_DASHES = ("-", "--", ":", "-.")
# If the longest run took more than this many times as long, the time axis is logarithmic.
_MUCH_LONGER = 8


def render_comparison(runs: Sequence[FinishedRun]) -> str:
    """Renders the page, with the runs in the given order."""
    names = _names(runs)
    fingerprints = {run.result.data.fingerprint for run in runs}
    return render(
        "comparison.html.j2",
        rows=[_row(name, run) for name, run in zip(names, runs, strict=True)],
        different_data=len(fingerprints) > 1,
        accuracies=_accuracies(names, runs),
        curves=_curves(names, runs),
        without_curve=[
            (name, reason)
            for name, run in zip(names, runs, strict=True)
            if (reason := _no_curve(run)) is not None
        ],
        paired=paired_tests(names, runs),
    )


def _names(runs: Sequence[FinishedRun]) -> list[str]:
    """The names of the folders, with as much of the paths as makes them distinct."""
    paths = [run.directory.uri.split("/") for run in runs]
    for length in range(1, max(map(len, paths))):
        names = ["/".join(path[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [run.directory.uri for run in runs]


def _row(name: str, run: FinishedRun) -> dict[str, Any]:
    return {
        "name": name,
        "result": run.result,
        "model": run.settings.model,
        "statuses": count_by_status(run.trials),
        "total": sum(run.result.seconds.values()),
        "image_epochs": sum(trial.image_epochs() for trial in run.trials),
    }


def _accuracies(names: Sequence[str], runs: Sequence[FinishedRun]) -> str:
    style = {**STYLE, "axes.grid.axis": "x", "ytick.color": INK}
    with mpl.rc_context(style):
        figure, axes = new_figure("test accuracy", whole=False, height=1 + 0.4 * len(runs))
        for place, run in enumerate(runs):
            test = run.result.test
            ends = [test.interval.low, test.interval.high]
            axes.plot(ends, [place, place], color=TRAIN, lw=5, alpha=0.4)
            axes.plot(test.accuracy, place, "o", color=TRAIN, ms=6)
        short = shortened_distinctly(names)
        axes.set_yticks(range(len(runs)), short)
        axes.set_ylim(len(runs) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        whole = dict(zip(short, names, strict=True))
        return svg(
            "accuracies", figure, "test accuracies with their confidence intervals", whole=whole
        )


def _finished(run: FinishedRun) -> list[TrialResult]:
    """The trials with a score, sorted by end; empty if no trial was completed."""
    done = sorted(scored(searched(run.trials)), key=lambda t: (t.ended, t.number))
    return done if any(trial.status == "ok" for trial in done) else []


def _no_curve(run: FinishedRun) -> str | None:
    """Why a run has no curve; None if it has one."""
    if _finished(run):
        return None
    if not run.trials:
        return "it has no trials"
    if not scored(searched(run.trials)):
        return "none of its trials has a validation accuracy"
    return "none of its trials was completed"


def _curves(names: Sequence[str], runs: Sequence[FinishedRun]) -> str | None:
    """Plots the best validation accuracy so far of each run over time since its start."""
    found = []
    for name, run in zip(names, runs, strict=True):
        done = _finished(run)
        if done:
            clock = Clock(run.trials)
            found.append((name, done, [clock.at(trial.ended) for trial in done]))
    if not found:
        return None
    lengths = [max(times[-1], 1.0) for _, _, times in found]
    unit, length = time_unit(max(lengths))
    full = [name for name, *_ in found]
    short = shortened_distinctly(full)
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(f"{unit} since the search began", whole=False)
        for place, (_, done, times) in enumerate(found):
            x, y = best_so_far(done, [time / length for time in times])
            axes.step(
                x,
                y,
                where="post",
                color=_COLOURS[place % len(_COLOURS)],
                ls=_DASHES[place % len(_DASHES)],
                label=short[place],
            )
        if max(lengths) > _MUCH_LONGER * min(lengths):
            as_logarithm(axes)
        else:
            axes.set_xlim(left=0)
        as_share(axes)
        whole = dict(zip(short, full, strict=True))
        return svg("curves", figure, "best validation accuracy over time", columns=2, whole=whole)
