"""Where it is shown how far work is: redrawn on a terminal, plain lines in a log.

What is shown is a View. A thread of the display's own reads and draws it: a file system that hangs
holds up the thread, not the work.
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

# How often it is read how far the work is.
_READ_SECONDS = 1.0
_JOIN_SECONDS = 1.0


# Says a line where lines are shown; only then is it made.
Say = Callable[[Callable[[], str]], None]


def silent(line: Callable[[], str]) -> None:
    """Says nothing: what redraws shows it all."""


class View(Protocol):
    """Work as it is shown while it goes on."""

    @property
    def quiet_seconds(self) -> float:
        """After so many seconds without a line, `line` is one in a log."""

    def refresh(self) -> None:
        """Reads how far the work is. It may fail, and it may hang."""

    def screen(self, console: Console) -> RenderableType:
        """For a terminal."""

    def html(self) -> str:
        """For a notebook; what comes from outside is escaped."""

    def line(self) -> str:
        """How far the work is, in a line; the next time it may be another one."""


class Display(Protocol):
    """Where a view is shown until it is over."""

    def show(self, view: View) -> contextlib.AbstractContextManager[Say]:
        """Gives what says a line where lines are shown, and nothing where they are not."""


class OnStdout:
    """On a terminal what redraws, elsewhere lines."""

    def show(self, view: View) -> contextlib.AbstractContextManager[Say]:
        console = _console()
        if console.is_terminal and not console.is_dumb_terminal:
            return _redrawn(view, console)
        return lines(view, console)


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_jupyter:
        return console
    # Its output calls itself a terminal, but nothing in it redraws.
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
    """Shows a view by lines: those that are said, and its own where none was for a while."""
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
    """Does it again and again in a thread; what fails may succeed the next time."""
    over = threading.Event()

    def watch() -> None:
        while True:
            with contextlib.suppress(Exception):
                work()
            if over.wait(_READ_SECONDS):
                return

    # What a notebook's thread writes belongs to the cell that began it.
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(watch,), name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=_JOIN_SECONDS)
