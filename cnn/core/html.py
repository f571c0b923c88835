"""Tables and blocks of HTML that need nothing else, as a notebook shows them.

What comes from outside is escaped by `text`: classes, parameters and paths are anybody's. Colours
are the notebook's own, so that it may be a dark one.
"""

from collections.abc import Iterable
from html import escape

_LINE = "1px solid rgba(128, 128, 128, 0.4)"


_BAR = "3px solid rgba(128, 128, 128, 0.6)"


_CELL = f"padding: 2px 12px 2px 0; border-bottom: {_LINE}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th style="{_CELL}; text-align: left">{cell}</th>' for cell in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}; text-align: left">{c}</td>' for c in row) + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse: collapse"><tr>{head}</tr>{body}</table>'


def block(*parts: str) -> str:
    """Lines with a bar at their left; they are HTML already."""
    inner = "".join(f'<div style="margin: 4px 0">{part}</div>' for part in parts)
    return f'<div style="border-left: {_BAR}; padding: 0 12px">{inner}</div>'


def text(value: object) -> str:
    """Anything from outside, as HTML shows it."""
    return escape(str(value), quote=True)
