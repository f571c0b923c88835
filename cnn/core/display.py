"""The display of progress: redrawn on a terminal, plain lines in a log.

A View is what is shown. The display refreshes and draws it in a thread of its own, so that a file
system that hangs blocks that thread and not the work.
"""

import contextlib
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from cnn.core.console import plain

# The interval between refreshes of a view.
_READ_SECONDS = 1.0
_JOIN_SECONDS = 1.0


# Prints a line on a display that shows lines; only such a display calls the function for its text.
Say = Callable[[Callable[[], str]], None]


def silent(line: Callable[[], str]) -> None:
    """Prints nothing: a redrawn view shows everything anyway."""


class View(Protocol):
    """Work in progress, in each form in which it can be shown."""

    @property
    def quiet_seconds(self) -> float:
        """A log prints `line` after this many seconds without a line."""

    def refresh(self) -> None:
        """Reads the state of the work. It may fail, and it may hang."""

    def screen(self, console: Console) -> RenderableType:
        """The view for a terminal."""

    def html(self) -> str:
        """The view for a notebook; text from outside is escaped."""

    def line(self) -> str:
        """The state of the work in one line."""


class Display(Protocol):
    """A place where a view is shown while its work runs."""

    def show(self, view: View) -> contextlib.AbstractContextManager[Say]:
        """Shows a view until the block ends; yields a function that prints lines (see `Say`)."""


class OnStdout:
    """Redraws a view on a terminal; prints lines elsewhere."""

    def show(self, view: View) -> contextlib.AbstractContextManager[Say]:
        console = _console()
        if console.is_terminal and not console.is_dumb_terminal:
            return _redrawn(view, console)
        return lines(view, console)


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_jupyter:
        return console
    # A notebook's output claims to be a terminal, but cannot redraw.
    return Console(file=sys.stdout, highlight=False, force_jupyter=False, force_terminal=False)


@contextlib.contextmanager
def _redrawn(view: View, console: Console) -> Iterator[Say]:
    live = Live(get_renderable=lambda: view.screen(console), console=console, refresh_per_second=2)
    live.start()
    try:
        with each_second(view.refresh):
            yield silent
    finally:
        live.stop()


@contextlib.contextmanager
def lines(view: View, console: Console | None = None) -> Iterator[Say]:
    """Shows a view as lines: those of the work, and the view's own when there is a pause."""
    printed = console or _console()
    last = time.monotonic()

    def say(line: Callable[[], str]) -> None:
        nonlocal last
        last = time.monotonic()
        printed.print(Text(plain(line())), soft_wrap=True)

    def watch() -> None:
        with contextlib.suppress(Exception):
            view.refresh()
        if time.monotonic() - last >= view.quiet_seconds:
            say(view.line)

    with each_second(watch):
        yield say


@contextlib.contextmanager
def each_second(work: Callable[[], None]) -> Iterator[None]:
    """Calls `work` every second in a thread. An error is ignored: the next call may succeed."""
    over = threading.Event()

    def watch() -> None:
        while True:
            with contextlib.suppress(Exception):
                work()
            if over.wait(_READ_SECONDS):
                return

    # With this context a notebook shows the thread's output in the cell that started it.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(watch,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=_JOIN_SECONDS)
