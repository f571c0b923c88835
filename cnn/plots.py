"""The report's plots: inline SVG that takes its text colour from the page."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cnn.results import EpochResult, TrialResult

# Okabe and Ito's colours, which people of every colour vision tell apart.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8a8f98"
# Stands for the page's own text colour, dark on light or light on dark.
_INK = "#123456"
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "spark-cnn-search",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.labelcolor": _INK,
}


def curves(epochs: Sequence[EpochResult], best_epoch: int | None) -> str:
    """Accuracy and loss by epoch, for training and, where there is one, validation."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        x = [epoch.epoch for epoch in epochs]
        for axes, title, train, validation in (
            (left, "Accuracy", "accuracy", "val_accuracy"),
            (right, "Loss", "loss", "val_loss"),
        ):
            axes.plot(x, [getattr(e, train) for e in epochs], "o-", ms=3, color=BLUE)
            names = ["training"]
            held_out = [getattr(e, validation) for e in epochs]
            if any(value is not None for value in held_out):
                axes.plot(x, held_out, "o-", ms=3, color=ORANGE)
                names.append("validation")
            if best_epoch is not None:
                axes.axvline(best_epoch, color=GREY, lw=1, ls="--")
                names.append("best epoch")
            axes.legend(names)
            _label(axes, title, "epoch")
        return _svg(figure)


def search(trials: Sequence[TrialResult]) -> str:
    """Validation accuracy of each trial with the best so far; every trial's learning curve."""
    done = [trial for trial in trials if trial.accuracy is not None]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        by_end = sorted(done, key=lambda trial: trial.ended)
        best: list[float] = []
        for trial in by_end:
            best.append(max([trial.accuracy or 0.0, *best[-1:]]))
        x = range(1, len(by_end) + 1)
        left.plot(x, [trial.accuracy for trial in by_end], "o", ms=4, color=GREY)
        left.step(x, best, where="post", color=BLUE)
        left.legend(["trial", "best so far"])
        _label(left, "Validation accuracy by trial", "trials finished")
        for trial in trials:
            points = [(e.epoch, e.val_accuracy) for e in trial.epochs if e.val_accuracy is not None]
            if points:
                right.plot(*zip(*points, strict=True), color=BLUE, alpha=0.4, lw=1)
        _label(right, "Learning curves of all trials", "epoch")
        return _svg(figure)


def _label(axes: Axes, title: str, x: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GREY, alpha=0.25)


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")
