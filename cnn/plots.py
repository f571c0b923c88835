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
}


def curves(epochs: Sequence[EpochResult], best_epoch: int | None) -> list[str]:
    """Accuracy and loss by epoch, for training and, where there is one, validation."""
    x = [epoch.epoch for epoch in epochs]
    pictures = []
    for title, train, validation in (
        ("Accuracy", "accuracy", "val_accuracy"),
        ("Loss", "loss", "val_loss"),
    ):
        figure, axes = _figure(title, "epoch")
        axes.plot(x, [getattr(e, train) for e in epochs], "o-", ms=3, color=BLUE, label="training")
        held_out = [getattr(e, validation) for e in epochs]
        if any(value is not None for value in held_out):
            axes.plot(x, held_out, "o-", ms=3, color=ORANGE, label="validation")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=GREY, lw=1, ls="--", label="best epoch")
        axes.legend(frameon=False, labelcolor=_INK)
        pictures.append(_svg(figure))
    return pictures


def search(trials: Sequence[TrialResult]) -> list[str]:
    """Validation accuracy of each trial with the best so far; every trial's learning curve."""
    done = sorted((t for t in trials if t.accuracy is not None), key=lambda trial: trial.ended)
    best: list[float] = []
    for trial in done:
        best.append(max([trial.accuracy or 0.0, *best[-1:]]))
    x = range(1, len(done) + 1)
    progress, axes = _figure("Validation accuracy by trial", "trials finished")
    axes.plot(x, [trial.accuracy or 0.0 for trial in done], "o", ms=4, color=GREY, label="trial")
    axes.step(x, best, where="post", color=BLUE, label="best so far")
    axes.legend(frameon=False, labelcolor=_INK)
    learning, axes = _figure("Validation accuracy of every trial", "epoch")
    for trial in trials:
        points = [(e.epoch, e.val_accuracy) for e in trial.epochs if e.val_accuracy is not None]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", ms=2, color=BLUE, alpha=0.4, lw=1)
    return [_svg(progress), _svg(learning)]


def _figure(title: str, x: str) -> tuple[Figure, Axes]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=GREY, alpha=0.25)
    return figure, axes


def _svg(figure: Figure) -> str:
    sink = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(
            sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = sink.getvalue()
    return text[text.index("<svg") :].replace(_INK, "currentColor")
