"""What a user sees while the images are copied to the executors' hosts, before trials begin."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from cnn.core.clock import duration


def hosts_progress(
    read: Callable[[], Sequence[float]],
    say: Callable[[str], None],
    *,
    what: str = "images",
    seconds: float = 10.0,
) -> contextlib.AbstractContextManager[None]:
    """Reports every few seconds how far the hosts are that receive the images.

    Args:
        read: Returns the share of the images that each host has, from 0 to 1; may raise.
        say: Prints a line.
        what: What the hosts get.
        seconds: The time between two lines.
    """
    began = time.monotonic()

    def line() -> str | None:
        shares = read()
        return _hosts_line(what, shares, time.monotonic() - began) if shares else None

    return said_regularly(line, say, seconds=seconds)


@contextlib.contextmanager
def said_regularly(
    line: Callable[[], str | None], say: Callable[[str], None], *, seconds: float
) -> Iterator[None]:
    """Prints a line every so many seconds until the block ends.

    Args:
        line: Returns the line, or None if there is nothing to say; may raise.
        say: Prints it.
        seconds: The time between two lines.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            with contextlib.suppress(Exception):
                text = line()
                if text is not None:
                    say(text)

    watcher = threading.Thread(target=watch, name="progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        # A file system that hangs delays the thread, not the search.
        watcher.join(timeout=1)


def _hosts_line(what: str, shares: Sequence[float], elapsed: float) -> str:
    least = min(shares)
    where = "the host" if len(shares) == 1 else f"the slowest of {len(shares)} hosts"
    # Copying, unlike trials, goes on at one speed.
    further = f", about {duration(elapsed * (1 - least) / least)} left" if least else ""
    return f"{what} on {where}: {least:.0%}{further}"
