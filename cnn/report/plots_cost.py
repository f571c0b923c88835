"""A plot of the trials on their slots over time."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from cnn.core.console import shortened_distinctly
from cnn.report.cost import Bar, SlotBars
from cnn.report.plots import INK, PAGE, PARTS, SOFT, STYLE, new_figure, svg, time_unit

_WIDE = 11.0
_THICK = 0.7
# The numbers of more trials would overlap.
_NUMBERED = 80
# The legends of the parts, in the order of the bars.
_TITLES = {
    "launch": "launch",
    "data": "data",
    "compile": "compile and first step",
    "train": "train and validate",
    "other": "unknown",
}


def gantt(name: str, slots: SlotBars) -> str | None:
    """Plots each trial as a bar on its slot, divided into its parts."""
    if not slots.bars or not slots.span:
        return None
    unit, length = time_unit(slots.span)
    rows = len(slots.names)
    style = {**STYLE, "axes.grid.axis": "x", "ytick.color": INK}
    with mpl.rc_context(style):
        height = 1.1 + min(0.34 * rows, 9.0)
        figure, axes = new_figure(
            f"{unit} since the search began", whole=False, width=_WIDE, height=height
        )
        for part, title in _TITLES.items():
            _draw_part(axes, slots, part, title, length)
        if len(slots.bars) <= _NUMBERED:
            for bar in slots.bars:
                _number(axes, bar, slots.span, length)
        axes.set_xlim(0, slots.span / length)
        axes.set_ylim(rows - 0.5, -0.5)
        step = 1 + rows // 40
        names = shortened_distinctly(slots.names)
        axes.set_yticks(range(0, rows, step), names[::step])
        whole = dict(zip(names, slots.names, strict=True))
        return svg(name, figure, "trials on their slots over time", columns=5, whole=whole)


def _draw_part(axes: Axes, slots: SlotBars, part: str, title: str, length: float) -> None:
    """Draws all rectangles of a part as one path, which keeps the file small."""
    corners: list[tuple[float, float]] = []
    for bar in slots.bars:
        low, high = bar.slot - _THICK / 2, bar.slot + _THICK / 2
        for name, start, end in bar.parts:
            if name == part and end > start:
                left, right = start / length, end / length
                corners += [(left, low), (right, low), (right, high), (left, high), (left, low)]
    if corners:
        one = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
        path = Path(corners, one * (len(corners) // 5))
        axes.add_patch(PathPatch(path, facecolor=PARTS[part], lw=0, label=title))


def _number(axes: Axes, bar: Bar, span: float, length: float) -> None:
    """Draws the trial's number if the bar has room, with a cross if the trial failed."""
    if (bar.end - bar.start) / span < 0.02:
        return
    middle = (bar.start + bar.end) / 2 / length
    failed = bar.trial.status not in {"ok", "pruned"}
    text = f"{bar.trial.number}{' ✕' if failed else ''}"
    axes.text(
        middle,
        bar.slot,
        text,
        ha="center",
        va="center",
        fontsize=8,
        color=INK,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": PAGE, "edgecolor": SOFT, "lw": 0.4},
    )
