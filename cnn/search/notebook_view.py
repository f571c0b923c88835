"""Running trials as a notebook shows them."""

from collections.abc import Sequence

from cnn.core.html import block, table, text
from cnn.search.trials_table import HEADINGS, Row, in_order, short

_MOST_ROWS = 20


def trials_html(
    rows: Sequence[Row], best: Row | None, varying: Sequence[str], lines: Sequence[str]
) -> str:
    """The trials that run, the best so far below them, and lines of text."""
    names = in_order(varying)
    shown = [*rows[:_MOST_ROWS], *([best] if best else [])]
    body = [
        [*map(text, row.cells), *(text(short(row.params.get(name))) for name in names)]
        for row in shown
    ]
    if best:
        body[-1] = [f"<b>{cell}</b>" for cell in body[-1]]
    parts = [table([*HEADINGS, *map(text, names)], body)] if body else []
    more = len(rows) - _MOST_ROWS
    parts += [f"and {more} more running"] if more > 0 else []
    return block(*parts, *map(text, lines))
