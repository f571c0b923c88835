"""Self-contained tables and blocks of HTML for a notebook.

Text from outside, such as classes, parameters and paths, is escaped by `text`. Text has the
notebook's own colours, so that it is readable in a dark one too.
"""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import quote

_LINE = "1px solid rgba(128, 128, 128, 0.4)"


_BAR = "3px solid rgba(128, 128, 128, 0.6)"


_CELL = f"padding: 2px 12px 2px 0; border-bottom: {_LINE}"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table; heads and cells must already be HTML."""
    head = "".join(f'<th style="{_CELL}; text-align: left">{cell}</th>' for cell in heads)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}; text-align: left">{c}</td>' for c in row) + "</tr>"
        for row in rows
    )
    return f'<table style="border-collapse: collapse"><tr>{head}</tr>{body}</table>'


def block(*parts: str) -> str:
    """Lines with a bar on the left; they must already be HTML."""
    inner = "".join(f'<div style="margin: 4px 0">{part}</div>' for part in parts)
    return f'<div style="border-left: {_BAR}; padding: 0 12px">{inner}</div>'


def text(value: object) -> str:
    """A value from outside, escaped for HTML."""
    return escape(str(value), quote=True)


def link(path: str) -> str:
    """A link if the notebook's server can follow it, otherwise only the path."""
    shown = f"<code>{text(path)}</code>"
    if "://" in path or not Path(path).is_relative_to(Path.cwd()):
        return shown
    target = quote(str(Path(path).relative_to(Path.cwd())))
    return f'<a href="{text(target)}" target="_blank" rel="noopener">{shown}</a>'
