"""Plots of a search: its progress and the effects of the parameters."""

import math
import statistics
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes

from cnn.core.console import shortened, shortened_distinctly
from cnn.report.axes import Axis, axis, jitter, varied
from cnn.report.formats import words
from cnn.report.importance import Importances, scored
from cnn.report.plots import (
    INK,
    RAMP,
    SOFT,
    STYLE,
    TRAIN,
    VALIDATION,
    as_share,
    drawable,
    new_figure,
    one_line,
    svg,
    time_unit,
)
from cnn.rundir.trial_clock import Clock
from cnn.rundir.trials import TrialResult
from cnn.settings.dimension import Space

_WIDE = 11.0


def progress(name: str, trials: Sequence[TrialResult], clock: Clock) -> str | None:
    """Plots the validation accuracy of trials at their end, and the best so far."""
    done = sorted(scored(trials), key=lambda t: (t.ended, t.number))
    if not done:
        return None
    unit, length = time_unit(max(clock.at(trial.ended) for trial in done))
    times = [clock.at(trial.ended) / length for trial in done]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(f"{unit} since the phase began", whole=False)
        for stopped, marker, label in ((False, "o", "a trial"), (True, "x", "stopped early")):
            own = [
                (time, trial.accuracy)
                for time, trial in zip(times, done, strict=True)
                if (trial.status != "ok") is stopped
            ]
            if own:
                x, y = zip(*own, strict=True)
                axes.plot(x, y, marker, color=SOFT, alpha=0.8, label=label, clip_on=False)
        axes.step(*best_so_far(done, times), where="post", color=VALIDATION, label="best so far")
        axes.set_xlim(left=0)
        as_share(axes)
        return svg(name, figure, "best validation accuracy over time")


def best_so_far(
    trials: Sequence[TrialResult], times: Sequence[float]
) -> tuple[list[float], list[float]]:
    """The line of the best accuracy so far; only completed trials can be the best."""
    x, y, highest = [], [], math.nan
    for trial, time in zip(trials, times, strict=True):
        score = drawable(trial.accuracy)
        # Comparisons with NaN are false, so "not below" also holds for the first trial.
        if trial.status == "ok" and not (score <= highest or math.isnan(score)):
            highest = score
        x.append(time)
        y.append(highest)
    return x, y


def learning(name: str, trials: Sequence[TrialResult], best: int | None) -> str | None:
    """Plots every trial's validation accuracy by epoch, with trial number `best` on top."""
    curves = {trial.number: _curve(trial) for trial in trials}
    if not any(curves.values()):
        return None
    pruned = {trial.number for trial in trials if trial.status == "pruned"}
    whole = set(curves) - pruned - {best}
    with mpl.rc_context(STYLE):
        figure, axes = new_figure("epoch")
        _draw_curves(axes, [curves[n] for n in sorted(whole)], "-", SOFT, "other trials")
        _draw_curves(axes, [curves[n] for n in sorted(pruned)], ":", TRAIN, "stopped at a rung")
        for number in sorted(pruned):
            if curves[number]:
                axes.plot(*curves[number][-1], "x", color=TRAIN, ms=4)
        if best is not None and curves.get(best):
            marker = "o" if len(curves[best]) == 1 else None
            x, y = zip(*curves[best], strict=True)
            axes.plot(x, y, marker=marker, color=VALIDATION, lw=2, label=f"trial {best}, the best")
        as_share(axes)
        return svg(name, figure, "validation accuracy by epoch")


def _curve(trial: TrialResult) -> list[tuple[float, float]]:
    return [
        (epoch.epoch, epoch.val_accuracy)
        for epoch in trial.epochs
        if epoch.val_accuracy is not None and math.isfinite(epoch.val_accuracy)
    ]


def _draw_curves(
    axes: Axes, curves: Iterable[list[tuple[float, float]]], style: str, colour: str, label: str
) -> None:
    known = [curve for curve in curves if curve]
    if not known:
        return
    axes.plot(*one_line(known), style, color=colour, alpha=0.75, lw=1, label=label)
    # A single point is not visible as a line.
    single = [curve[0] for curve in known if len(curve) == 1]
    if single:
        axes.plot(*zip(*single, strict=True), "o", color=colour, alpha=0.65, ms=3)


def parallel(
    name: str, trials: Sequence[TrialResult], best: int | None, space: Space | None = None
) -> str | None:
    """Plots each trial as a line over its varied parameters and its accuracy."""
    known = scored(trials)
    names = varied(known)
    if len(known) < 2 or not names:
        return None
    axes_of = [axis(parameter, known, space) for parameter in names]
    scores = [float(trial.accuracy or 0.0) for trial in known]
    low, high = min(scores), max(scores)
    lines = [
        [
            *((i, _height(a, a.values[row], trial.number)) for i, a in enumerate(axes_of)),
            (float(len(axes_of)), _share(scores[row], low, high)),
        ]
        for row, trial in enumerate(known)
    ]
    # Colours go by rank, because one outlier would give all others the same colour.
    ranks = [bisect_left(sorted(scores), score) / len(scores) for score in scores]
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.spines.bottom": False}):
        figure, axes = new_figure("", width=_WIDE, height=3.4)
        for step, colour in enumerate(RAMP):
            own = [
                line
                for line, rank in zip(lines, ranks, strict=True)
                if int(rank * len(RAMP)) == step
            ]
            if own:
                axes.plot(*one_line(own), color=colour, lw=1.1 + step / 10, alpha=0.85)
        for line, trial in zip(lines, known, strict=True):
            if trial.number == best:
                axes.plot(*zip(*line, strict=True), color=VALIDATION, lw=2.4)
        ends = ((0.0, f"{100 * low:.3g} %"), (1.0, f"{100 * high:.3g} %"))
        labels, whole = _labels(names)
        for place, (one, label) in enumerate(zip(axes_of, labels, strict=True)):
            _draw_axis(axes, place, label, _ticks(one))
            whole |= one.whole
        _draw_axis(axes, len(axes_of), "val. accuracy", ends if high > low else ends[:1])
        axes.set_xlim(-0.25, len(axes_of) + 0.45)
        axes.set_ylim(-0.06, 1.16)
        axes.set_axis_off()
        description = "parameters and validation accuracy of every trial"
        return svg(name, figure, description, whole=whole)


def _labels(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The names of parameters, shortened for a plot, and their full texts by short text."""
    full = [words(name) for name in names]
    short = shortened_distinctly(full)
    return short, dict(zip(short, full, strict=True))


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _height(own: Axis, value: float, number: int) -> float:
    return _share(value, *own.ends) + (0.05 * jitter(number) if own.choices else 0.0)


def _ticks(own: Axis) -> tuple[tuple[float, str], ...]:
    return tuple((_share(place, *own.ends), text) for place, text in own.ticks)


def _draw_axis(axes: Axes, place: int, label: str, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([place, place], [0, 1], color=SOFT, lw=0.8, zorder=0)
    axes.text(place, 1.1, label, ha="center", fontsize=9.5)
    for height, text in ticks:
        axes.text(place + 0.04, height, text, va="center", fontsize=9, color=SOFT)


def importance(name: str, found: Importances) -> str:
    """Plots importances as bars with their spread over resamples, the largest on top."""
    shown = found.each[:10]
    places = range(len(shown), 0, -1)
    style = {**STYLE, "axes.grid.axis": "x", "ytick.color": INK}
    with mpl.rc_context(style):
        figure, axes = new_figure(
            "share of the variance", whole=False, height=0.9 + 0.28 * len(shown)
        )
        axes.barh(
            places,
            [max(0.0, one.mean) for one in shown],
            xerr=[one.spread for one in shown],
            height=0.55,
            color=TRAIN,
            error_kw={"ecolor": INK, "elinewidth": 1.4},
        )
        labels, whole = _labels([one.name for one in shown])
        axes.set_yticks(places, labels)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        return svg(name, figure, "importance of each parameter", whole=whole)


def marginal(
    name: str, parameter: str, trials: Sequence[TrialResult], space: Space | None = None
) -> str:
    """Plots accuracy against one parameter, whatever the values of the others."""
    known = scored(trials)
    own = axis(parameter, known, space)
    title = shortened(words(parameter))
    low, high = own.ends
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(title)
        for stopped, marker, label in ((False, "o", "a trial"), (True, "x", "stopped early")):
            points = [
                (value + (0.3 * jitter(trial.number) if own.choices else 0.0), trial.accuracy)
                for value, trial in zip(own.values, known, strict=True)
                if (trial.status != "ok") is stopped
            ]
            if points:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, marker, color=TRAIN, alpha=0.8, label=label, clip_on=False)
        if own.choices:
            _draw_means(axes, own, known)
        axes.set_xticks([place for place, _ in own.ticks], [text for _, text in own.ticks])
        margin = 0.5 if own.choices else 0.05 * (high - low)
        axes.set_xlim(low - margin, high + margin)
        as_share(axes)
        whole = {**own.whole, title: words(parameter)}
        return svg(name, figure, "validation accuracy by one parameter", whole=whole)


def _draw_means(axes: Axes, own: Axis, trials: Sequence[TrialResult]) -> None:
    places = sorted(set(own.values))
    means = [
        statistics.fmean(
            float(trial.accuracy or 0.0)
            for value, trial in zip(own.values, trials, strict=True)
            if value == place
        )
        for place in places
    ]
    lines = [
        [(place - 0.3, mean), (place + 0.3, mean)]
        for place, mean in zip(places, means, strict=True)
    ]
    axes.plot(*one_line(lines), color=VALIDATION, lw=2, label="mean", solid_capstyle="butt")
