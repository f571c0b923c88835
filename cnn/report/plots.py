"""Plots as inline SVG that uses the colours of the page: shared functions and training curves."""

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from cnn.core.console import printable
from cnn.report import cost
from cnn.rundir.trials import EpochResult

# Placeholders that are replaced by the page's colours, which differ in light and dark mode.
INK, SOFT, TRAIN, VALIDATION = "#010203", "#040506", "#070809", "#0a0b0c"
PAGE = "#0c0d0e"
# A colour scale from the lowest to the highest value.
RAMP = tuple(f"#0d0e{step:02x}" for step in range(16, 24))
PARTS = {part: f"#0f10{place:02x}" for place, part in enumerate((*cost.PARTS, cost.REST), 16)}
_PAGE_COLOURS = {
    INK: "currentColor",
    SOFT: "var(--soft)",
    TRAIN: "var(--train)",
    VALIDATION: "var(--validation)",
    PAGE: "var(--page)",
    **{
        drawn: f"color-mix(in oklab, var(--most) {100 * step // (len(RAMP) - 1)}%, var(--least))"
        for step, drawn in enumerate(RAMP)
    },
    **{drawn: f"var(--{part})" for part, drawn in PARTS.items()},
}
STYLE: dict[Any, Any] = {
    # Keep text as text in the page's font, and make the output reproducible.
    "svg.fonttype": "none",
    "svg.hashsalt": "spark-cnn-search",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": SOFT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.width": 0.6,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.borderaxespad": 0,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 3.5,
}


def training(name: str, epochs: Sequence[EpochResult], best_epoch: int | None) -> dict[str, str]:
    """Plots accuracy and loss by epoch, for training and for validation if there is one.

    `name` must be unique on the page. Without epochs there are no plots.
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
    trained = [drawable(getattr(epoch, score)) for epoch in epochs]
    held_out = [drawable(getattr(epoch, f"val_{score}")) for epoch in epochs]
    with mpl.rc_context(STYLE):
        figure, axes = new_figure("epoch")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=SOFT, lw=0.8, ls=":", label=f"best epoch, {best_epoch}")
        # Dashed as well, for printing without colours.
        axes.plot(x, trained, "o--", ms=2.5, color=TRAIN, label="training", clip_on=False)
        if not all(map(math.isnan, held_out)):
            axes.plot(x, held_out, "o-", color=VALIDATION, label="validation", clip_on=False)
        if score == "accuracy":
            as_share(axes)
        return svg(name, figure, f"{score} by epoch")


def drawable(value: float | None) -> float:
    """The value, or NaN, which leaves a gap in a line, if it is missing or not finite."""
    return value if value is not None and math.isfinite(value) else math.nan


def new_figure(
    x_label: str, *, width: float = 5.4, height: float = 3.1, whole: bool = True
) -> tuple[Figure, Axes]:
    """A figure with sizes in inches; `whole` is whether x has only integers."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=whole, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def one_line(curves: Iterable[Sequence[tuple[float, float]]]) -> tuple[list[float], list[float]]:
    """Joins many curves into one line with gaps, which keeps the file small."""
    points = [point for curve in curves for point in (*curve, (math.nan, math.nan))]
    return [x for x, _ in points], [y for _, y in points]


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit for a time axis of that length, and its length in seconds."""
    if seconds > 3 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if seconds > 180 else ("seconds", 1.0)


def as_share(axes: Axes) -> None:
    """Formats the y axis as percent, from 0 to at most 100 %."""
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def as_logarithm(axes: Axes) -> None:
    """Makes the x axis logarithmic, with plain numbers at its main ticks alone."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def svg(
    name: str,
    figure: Figure,
    description: str,
    *,
    columns: int = 3,
    whole: Mapping[str, str] | None = None,
) -> str:
    """Renders a figure as SVG for the page; `description` is its label and must be trusted text.

    `whole` maps shortened texts to their full texts, which become tooltips.
    """
    if figure.axes[0].get_legend_handles_labels()[1]:
        figure.legend(loc="outside upper left", ncols=columns, columnspacing=1.4)
    sink = io.StringIO()
    plain = {"Date": None, "Creator": None}
    with warnings.catch_warnings():
        # The font that measures the text may lack glyphs that the page's fonts have.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(sink, format="svg", transparent=True, metadata=plain)
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Matplotlib's style sheet and ids would apply to the whole page.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"<]*", "font-family: inherit", text)
    for drawn, shown in _PAGE_COLOURS.items():
        text = text.replace(drawn, shown)
    for short, full in (whole or {}).items():
        if short != full:
            text = _with_title(text, escape(short, quote=False), escape(full, quote=False))
    return text.replace("<svg ", f'<svg role="img" aria-label="{description}" ', 1)


def _with_title(text: str, short: str, full: str) -> str:
    return text.replace(f">{short}</text>", f"><title>{printable(full)}</title>{short}</text>")
