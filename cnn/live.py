"""The table of running trials as a terminal shows it: as many rows and columns as fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cnn.formats import plain

_HEADINGS = ("trial", "epoch", "val acc", "rung", "time")
# The columns of the parameters, in order; names that are longer than the values are shortened.
_SHORT = {
    "conv_layers": "layers",
    "filters": "filters",
    "dense_units": "dense",
    "dropout": "drop",
    "learning_rate": "rate",
    "batch_size": "batch",
    "batch_norm": "norm",
    "pooling": "pool",
}
_GAP = 2


@dataclass(frozen=True)
class Row:
    """A trial: what stands under the headings, and its parameters."""

    cells: tuple[str, ...]
    params: Mapping[str, Any]


def screen(
    console: Console,
    rows: Sequence[Row],
    best: Row | None,
    varying: Sequence[str],
    lines: Sequence[str],
) -> RenderableType:
    """The running trials, the best so far below them, and lines of text, within the screen."""
    width, height = console.size
    texts = [Text(plain(line)) for line in lines]
    # One line stays free: the cursor's.
    free = height - 1 - sum(len(text.wrap(console, width)) for text in texts)
    free -= 1 + (best is not None)
    if free < 1 or not (rows or best):
        return Group(*texts)
    hidden = len(rows) - free + 1 if len(rows) > free else 0
    shown = list(rows[: len(rows) - hidden])
    table = _table(shown, best, varying, width)
    more = [Text(f"and {hidden} more running", style="dim")] if hidden else []
    return Group(table, *more, *texts)


def _table(rows: Sequence[Row], best: Row | None, varying: Sequence[str], width: int) -> Table:
    everything = [*rows, *([best] if best else [])]
    columns = [
        [heading, *(row.cells[place] for row in everything)]
        for place, heading in enumerate(_HEADINGS)
    ]
    parameters = [
        [_SHORT.get(name, plain(name)), *(short(row.params.get(name)) for row in everything)]
        for name in sorted(varying, key=_place)
    ]
    columns += _fitting(parameters, width - sum(map(_width, columns)))
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
    for heading, *_ in columns:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for place in range(len(everything)):
        bold = "bold" if best is not None and place == len(rows) else None
        table.add_row(*(Text(column[place + 1]) for column in columns), style=bold)
    return table


def _fitting(columns: Sequence[list[str]], width: int) -> list[list[str]]:
    """The columns that fit, and where some do not, one that says so."""
    if sum(map(_width, columns)) <= width + _GAP:
        return list(columns)
    fitting: list[list[str]] = []
    for column in columns:
        # What says so takes 1, and the last column needs no gap.
        if sum(map(_width, [*fitting, column])) + 1 <= width:
            fitting.append(column)
    return [*fitting, ["…" for _ in columns[0]]]


def _place(name: str) -> int:
    return list(_SHORT).index(name) if name in _SHORT else len(_SHORT)


def _width(column: Sequence[str]) -> int:
    return max(map(cell_len, column)) + _GAP


def short(value: Any) -> str:
    """A parameter's value in little room."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2g}"
    if isinstance(value, list | tuple):
        return "-".join(map(short, value))
    return plain(str(value))
