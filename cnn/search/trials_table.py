"""The table of running trials, for a terminal and for a notebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from cnn.core.console import plain
from cnn.core.html import block, table, text
from cnn.model.backbone_card import short_name

HEADINGS = ("trial", "epoch", "val acc", "rung", "time")
# The parameters' columns in order; names longer than their values are shortened.
_SHORT = {
    "backbone": "backbone",
    "fine_tune": "tuned",
    "backbone_rate": "b. rate",
    "head_units": "head",
    "l2": "l2",
    "label_smoothing": "smooth",
    "conv_layers": "layers",
    "filters": "filters",
    "dense_units": "dense",
    "dropout": "drop",
    "learning_rate": "rate",
    "batch_size": "batch",
    "batch_norm": "norm",
    "pooling": "pool",
    "augment": "augment",
}
_GAP = "  "
_INDENT = " " * 6
_MOST_HTML_ROWS = 20


@dataclass(frozen=True)
class TrialRow:
    """A trial's row: its cells under the headings, and its parameters."""

    cells: tuple[str, ...]
    params: Mapping[str, Any]


def terminal_table(
    console: Console,
    rows: Sequence[TrialRow],
    best: TrialRow | None,
    varying: Sequence[str],
    lines: Sequence[str],
    headings: Sequence[str] = HEADINGS,
) -> RenderableType:
    """The table for a terminal: the running trials, the best so far, and `lines`.

    It fits on the screen. Parameters that do not fit into a row are on a second line below it. If
    the screen is too low for second lines, an ellipsis marks what is left out.
    """
    width, height = console.size
    below = [Text(plain(line)) for line in lines]
    # One line stays free for the cursor.
    free = height - 1 - sum(len(line.wrap(console, width)) for line in below)
    if free < 2 + (best is not None) or not (rows or best):
        return Group(*below)
    whole = _table(rows, best, varying, width, headings, mark=False)
    if sum(len(line.wrap(console, width)) for line in whole) <= free:
        return Group(*whole, *below)
    free -= 1 + (best is not None)
    hidden = len(rows) - free + 1 if len(rows) > free else 0
    shown = _table(rows[: len(rows) - hidden], best, varying, width, headings, mark=True)
    more = [Text(f"and {hidden} more running", style="dim")] if hidden else []
    return Group(*shown, *more, *below)


def html_table(
    rows: Sequence[TrialRow],
    best: TrialRow | None,
    varying: Sequence[str],
    lines: Sequence[str],
    headings: Sequence[str] = HEADINGS,
) -> str:
    """The table as HTML for a notebook: at most 20 running trials, the best so far, and `lines`."""
    names = in_order(varying)
    shown = [*rows[:_MOST_HTML_ROWS], *([best] if best else [])]
    body = [
        [*map(text, row.cells), *(text(short(row.params.get(name))) for name in names)]
        for row in shown
    ]
    if best:
        body[-1] = [f"<b>{cell}</b>" for cell in body[-1]]
    parts = [table([*map(text, headings), *map(text, names)], body)] if body else []
    more = len(rows) - _MOST_HTML_ROWS
    parts += [f"and {more} more running"] if more > 0 else []
    return block(*parts, *map(text, lines))


def in_order(names: Sequence[str]) -> list[str]:
    """Parameters in the order of the columns: those of the program's own network first."""
    return sorted(names, key=lambda name: list(_SHORT).index(name) if name in _SHORT else 99)


def _table(
    rows: Sequence[TrialRow],
    best: TrialRow | None,
    varying: Sequence[str],
    width: int,
    headings: Sequence[str],
    *,
    mark: bool,
) -> list[Text]:
    """The headings and the rows.

    Parameters that do not fit are replaced by an ellipsis with `mark`, else on second lines.
    """
    everything = [*rows, *([best] if best else [])]
    names = in_order(varying)
    columns = [
        [heading, *(row.cells[place] for row in everything)]
        for place, heading in enumerate(headings)
    ]
    parameters = [
        [_name(name), *(short(row.params.get(name)) for row in everything)] for name in names
    ]
    fitting = _how_many_fit(parameters, width - _width(columns), mark=mark)
    columns += parameters[:fitting]
    if mark and fitting < len(names):
        columns.append(["…" for _ in columns[0]])
    lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in _aligned(columns)]
    lines[0].stylize("dim")
    if best:
        lines[-1].stylize("bold")
    if mark or fitting == len(names):
        return lines
    for place, row in reversed(list(enumerate(everything, 1))):
        lines.insert(place + 1, Text(_second_line(row, names[fitting:]), style="dim"))
    return lines


def _second_line(row: TrialRow, names: Sequence[str]) -> str:
    return _INDENT + ", ".join(f"{_name(name)} {short(row.params.get(name))}" for name in names)


def _how_many_fit(columns: Sequence[Sequence[str]], width: int, *, mark: bool) -> int:
    """How many of the columns fit; with `mark`, next to the ellipsis if any is left out."""
    for count in range(len(columns), 0, -1):
        marked = mark and count < len(columns)
        if _width(columns[:count]) + len(_GAP) * (1 + marked) + marked <= width:
            return count
    return 0


def _width(columns: Sequence[Sequence[str]]) -> int:
    widths = [max(map(cell_len, column)) for column in columns]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(cell_len, column)) for column in columns]
    return [
        _GAP.join(
            " " * (width - cell_len(cell)) + cell for width, cell in zip(widths, line, strict=True)
        )
        for line in zip(*columns, strict=True)
    ]


def _name(name: str) -> str:
    return _SHORT.get(name, plain(name))


def short(value: Any) -> str:
    """A parameter's value in few characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list | tuple):
        return "-".join(map(short, value))
    return plain(short_name(str(value)))
