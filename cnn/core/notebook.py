"""The display of progress in a notebook: one output of the cell, redrawn in place."""

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from cnn.core.console import plain
from cnn.core.display import Display, OnStdout, Say, View, each_second, lines


def display_here() -> Display:
    """The display for where this process runs: a notebook's cell, a terminal, or a log."""
    return InCell() if _in_kernel() else OnStdout()


def _in_kernel() -> bool:
    # If IPython is running, it has been imported.
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)
    return hasattr(get_ipython(), "kernel")


class InCell:
    """Shows views one after another in one output; a finished view stays above the next one.

    If nothing can be displayed, it prints lines, as in a log.
    """

    def __init__(self) -> None:
        self._finished: list[str] = []
        self._shown = ""
        self._handle: Any = None
        self._failed = False
        self._lock = threading.Lock()

    def show(self, view: View) -> contextlib.AbstractContextManager[Say]:
        self._draw([*self._finished, view.html()])
        return lines(view) if self._failed else self._redrawn(view)

    @contextlib.contextmanager
    def _redrawn(self, view: View) -> Iterator[Say]:
        over = threading.Event()

        def watch() -> None:
            with contextlib.suppress(Exception):
                view.refresh()
            # After a file system that hung, this thread may return when the view has ended.
            if not over.is_set():
                self._draw([*self._finished, view.html()])

        try:
            with each_second(watch):
                yield self._say
        finally:
            over.set()
            self._finished.append(view.html())
            self._draw(self._finished)

    def _say(self, line: Callable[[], str]) -> None:
        if self._failed:
            print(plain(line()), flush=True)

    def _draw(self, parts: list[str]) -> None:
        html = "".join(parts)
        # A page that hangs blocks the thread that draws, not the search.
        if not self._lock.acquire(timeout=1):
            return
        try:
            if not self._failed and html != self._shown:
                self._display(html)
                self._shown = html
        except Exception:
            self._failed = True
        finally:
            self._lock.release()

    def _display(self, html: str) -> None:
        # IPython has no type annotations.
        ipython: Any = importlib.import_module("IPython.display")
        if self._handle is None:
            self._handle = ipython.display(ipython.HTML(html), display_id=True)
        else:
            self._handle.update(ipython.HTML(html))
