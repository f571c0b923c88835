"""The report's plots: inline SVG that takes its colours from the page."""

import io
import math
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnn.results import EpochResult, TrialResult

# Drawn with these, shown as the page's own colours, which differ by light and dark.
_INK, _SOFT, _TRAIN, _VALIDATION = "#010203", "#040506", "#070809", "#0a0b0c"
_PAGE_COLOURS = {
    _INK: "currentColor",
    _SOFT: "var(--soft)",
    _TRAIN: "var(--train)",
    _VALIDATION: "var(--validation)",
}
_STYLE: dict[Any, Any] = {
    # Text stays text, in the page's font; the same input gives the same bytes.
    "svg.fonttype": "none",
    "svg.hashsalt": "spark-cnn-search",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": _SOFT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "legend.borderaxespad": 0,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}


def training(name: str, epochs: Sequence[EpochResult], best_epoch: int | None) -> dict[str, str]:
    """Accuracy and loss by epoch, for training and, where there is one, validation.

    `name` must differ from plot to plot of one page. Without epochs there are no plots.
    """
    if not epochs:
        return {}
    return {
        "Accuracy": _training_plot(f"{name}-accuracy", "accuracy", epochs, best_epoch),
        "Loss": _training_plot(f"{name}-loss", "loss", epochs, best_epoch),
    }


def _training_plot(
    name: str, score: str, epochs: Sequence[EpochResult], best_epoch: int | None
) -> str:
    x = [epoch.epoch for epoch in epochs]
    trained = [_drawable(getattr(epoch, score)) for epoch in epochs]
    held_out = [_drawable(getattr(epoch, f"val_{score}")) for epoch in epochs]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("epoch")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=_SOFT, lw=0.8, ls=":", label=f"best epoch, {best_epoch}")
        # Dashed as well as another colour: on paper there may be no colours.
        axes.plot(x, trained, "o--", ms=2.5, color=_TRAIN, label="training", clip_on=False)
        if not all(map(math.isnan, held_out)):
            axes.plot(x, held_out, "o-", color=_VALIDATION, label="validation", clip_on=False)
        if score == "accuracy":
            _as_share(axes)
        return _svg(name, figure, f"{score} by epoch")


def progress(name: str, trials: Sequence[TrialResult]) -> dict[str, str]:
    """Validation accuracy of a phase's trials as they finished, and the best so far."""
    done = sorted((t for t in trials if t.accuracy is not None), key=lambda t: (t.ended, t.number))
    if not done:
        return {}
    scores = [_drawable(trial.accuracy) for trial in done]
    best, highest = [], math.nan
    for trial, score in zip(done, scores, strict=True):
        # Only a trial that is ok can be the best. Nothing is above NaN, hence the "not below".
        if trial.status == "ok" and not (score <= highest or math.isnan(score)):
            highest = score
        best.append(highest)
    x = range(1, len(done) + 1)
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("trials finished")
        axes.plot(x, scores, "o", color=_SOFT, alpha=0.7, label="a trial", clip_on=False)
        axes.step(x, best, where="post", color=_VALIDATION, label="best so far", clip_on=False)
        _as_share(axes)
        return {"Validation accuracy by trial": _svg(name, figure, "accuracy by trial")}


def learning(name: str, trials: Sequence[TrialResult], best: int | None) -> dict[str, str]:
    """Every trial's validation accuracy by epoch, that of trial number `best` on top."""
    curves = {
        trial.number: [
            (epoch.epoch, epoch.val_accuracy)
            for epoch in trial.epochs
            if epoch.val_accuracy is not None and math.isfinite(epoch.val_accuracy)
        ]
        for trial in trials
    }
    curves = {number: points for number, points in curves.items() if points}
    if not curves:
        return {}
    with mpl.rc_context(_STYLE):
        figure, axes = _figure("epoch")
        others: str | None = "other trials"
        for number, points in sorted(curves.items(), key=lambda item: item[0] == best):
            x, y = zip(*points, strict=True)
            # One point makes no line; many markers make a large file.
            marker = "o" if len(points) == 1 else None
            if number == best:
                axes.plot(x, y, marker=marker, color=_VALIDATION, label=f"trial {best}, the best")
            else:
                axes.plot(x, y, marker=marker, color=_SOFT, alpha=0.45, lw=0.9, label=others)
                # One entry of the legend stands for all of them.
                others = None
        _as_share(axes)
        return {"Validation accuracy by epoch": _svg(name, figure, "accuracy by epoch")}


def _drawable(value: float | None) -> float:
    """NaN leaves a gap in a line; infinity would leave no room for the rest."""
    return value if value is not None and math.isfinite(value) else math.nan


def _figure(x_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.4, 3.1), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def _as_share(axes: Axes) -> None:
    """Percent, and no room above 100 %."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def _svg(name: str, figure: Figure, description: str) -> str:
    if figure.axes[0].get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper left", ncols=3, columnspacing=1.4)
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Matplotlib's style sheet and ids would hold for the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    for drawn, shown in _PAGE_COLOURS.items():
        text = text.replace(drawn, shown)
    return text.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)
