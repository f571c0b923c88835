"""What the jobs share on the command line: one clear line for what is wrong, and exit codes."""

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, cast

from cnn.core.console import plain, redacted
from cnn.core.errors import Error, failure
from cnn.core.outlet import outlive_readers


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_complain(message, code=2))


def run_job(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Runs a job's main function on the command line and exits: 0, 1 (it failed) or 2 (input).

    Interrupted, the exit code is 130; what is on disk stays.
    """
    # spark-submit ends a job by SIGTERM: unwind as for Ctrl-C, so that nothing is left half-done.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _interrupt)
    outlive_readers()
    try:
        main(sys.argv[1:])
    except BaseException as error:
        # What a signal has interrupted may have made anything of it.
        if _told == signal.SIGTERM:
            sys.exit(143)
        if _told == signal.SIGINT or isinstance(error, KeyboardInterrupt):
            print(_interrupted(), file=sys.stderr, flush=True)
            sys.exit(130)
        sys.exit(_failed(error))
    sys.exit(0)


def _failed(error: BaseException) -> int:
    """Says what a job failed of; raises what it does not know."""
    if isinstance(error, Error):
        return _complain(str(error), code=error.exit_code)
    if isinstance(error, OSError):
        # A disk that is full, a folder that is not ours: nothing that a traceback explains better.
        # Of a store's errors there is but the text.
        cause = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        return _complain(cause + _further(), code=1)
    if type(error).__module__.startswith("py4j."):
        # Spark's JVM is gone, or did what no part of the program expects of it.
        return _complain(f"Spark failed: {failure(cast(Exception, error))}{_further()}", code=1)
    raise error


# The signal by which this job was asked to end.
_told: int | None = None
# What goes on with the job where it is interrupted now, if anything does.
_go_on: str | None = None


def go_on_with(*command: str) -> None:
    """From now on an interrupted job says that this command goes on with it."""
    global _go_on
    _go_on = " ".join(map(quoted, command))


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM: the job unwinds, and says nothing of it."""
    global _told
    _told = signum
    logging.disable(logging.ERROR)
    sys.exit(143)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C: the job unwinds; the second time it stops at once, whatever it is at."""
    global _told
    _told = signum
    signal.signal(signal.SIGINT, _stop)
    # py4j logs, with a traceback, that it was interrupted where it waited for the JVM.
    logging.disable(logging.ERROR)
    raise KeyboardInterrupt


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    # Written past Python's streams, in the middle of whose work this may be. The table of running
    # trials has hidden the cursor.
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")
    os.write(2, f"{_interrupted()}\n".encode(errors="replace"))
    # Spark's JVM ends with its driver, and trials with theirs.
    os._exit(130)


def _interrupted() -> str:
    return f"error: interrupted; what was finished is on disk{_further()}"


def _further() -> str:
    return f"; go on with: {_go_on}" if _go_on else ""


def quoted(word: str) -> str:
    """A word for a shell, in one line whose spaces may be merged."""
    if word.isprintable() and "  " not in word:
        return shlex.quote(word)
    escaped = "".join(
        character
        if character.isprintable() and character not in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
        for character in word
    )
    return "$'" + escaped.replace("  ", " \\x20") + "'"


def _complain(message: str, *, code: int) -> int:
    print(f"error: {plain(redacted(' '.join(message.split())))}", file=sys.stderr, flush=True)
    return code
