"""What all jobs share on the command line: errors in one line, and exit codes."""

import argparse
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from traceback import walk_tb
from types import FrameType
from typing import NoReturn, cast

from cnn.core.console import plain, redacted
from cnn.core.errors import Error, notes_of
from cnn.core.failure_reason import failure
from cnn.core.outlet import outlive_readers


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        raise SystemExit(_print_error(message, code=2))


def run_job(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Runs a job's main function with the arguments of the command line, then exits.

    The exit code is 0 on success, 1 if the run failed, 2 if the input was wrong, 130 after Ctrl-C
    and 143 after SIGTERM. Finished work stays on disk in each case.
    """
    # spark-submit ends a job with SIGTERM: unwind as for Ctrl-C, so that nothing is left half-done.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _interrupt)
    outlive_readers()
    try:
        main(sys.argv[1:])
    except BaseException as error:
        # If Spark's JVM has died, other threads notice it too, and py4j logs a traceback of each.
        logging.disable(logging.ERROR)
        # Code that a signal has interrupted may raise any other error in its place.
        if _received_signal == signal.SIGTERM:
            sys.exit(143)
        if _received_signal == signal.SIGINT or isinstance(error, KeyboardInterrupt):
            print(_interrupted(), file=sys.stderr, flush=True)
            sys.exit(130)
        sys.exit(_failed(error))
    sys.exit(0)


def _failed(error: BaseException) -> int:
    """Prints why a job failed and returns its exit code; raises an unknown error again."""
    if isinstance(error, Error):
        code = _print_error(str(error), code=error.exit_code)
        for note in notes_of(error):
            print(note, file=sys.stderr, flush=True)
        return code
    if _is_from_py4j(error):
        # Spark's JVM has died, or raised an error that no part of the program expects.
        cause = f"Spark failed: {failure(cast(Exception, error))}"
        return _print_error(cause + _resume_hint(), code=1)
    if isinstance(error, OSError):
        # A full disk or another user's folder: a traceback would explain nothing more.
        # The error of an object store has only its text.
        cause = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        return _print_error(cause + _resume_hint(), code=1)
    raise error


def _is_from_py4j(error: BaseException) -> bool:
    """Whether py4j raised an error; where the JVM is gone, it may be the socket's own."""
    modules = [type(error).__module__]
    if isinstance(error, ConnectionError):
        modules += [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
    return any(module.startswith("py4j.") for module in modules)


# The signal that asked this job to end.
_received_signal: int | None = None
# The command that resumes this job if it is interrupted now.
_resume_command: str | None = None


def set_resume_command(*command: str) -> None:
    """From now on the message of an interrupted job names this command, which resumes it."""
    global _resume_command
    _resume_command = " ".join(map(quoted, command))


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM: the job unwinds and prints nothing."""
    global _received_signal
    _received_signal = signum
    logging.disable(logging.ERROR)
    sys.exit(143)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """Ctrl-C: the job unwinds; a second Ctrl-C stops it at once."""
    global _received_signal
    _received_signal = signum
    signal.signal(signal.SIGINT, _stop)
    # py4j logs a traceback when it is interrupted while it waits for the JVM.
    logging.disable(logging.ERROR)
    raise KeyboardInterrupt


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    # Python's streams may be in the middle of a write: bypass them. The table of running trials
    # hides the cursor: show it again.
    if os.isatty(1):
        os.write(1, b"\x1b[?25h\n")
    os.write(2, f"{_interrupted()}\n".encode(errors="replace"))
    # Spark's JVM ends with its driver, and the trials with the JVM.
    os._exit(130)


def _interrupted() -> str:
    return f"error: interrupted; finished work is on disk{_resume_hint()}"


def _resume_hint() -> str:
    return f"; resume with: {_resume_command}" if _resume_command else ""


def quoted(word: str) -> str:
    """A word quoted for a shell, so that it survives in a line whose runs of spaces are merged."""
    if word.isprintable() and "  " not in word:
        return shlex.quote(word)
    escaped = "".join(
        character
        if character.isprintable() and character not in "\\'"
        else "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
        for character in word
    )
    return "$'" + escaped.replace("  ", " \\x20") + "'"


def _print_error(message: str, *, code: int) -> int:
    """Prints an error in one line and returns the exit code."""
    print(f"error: {plain(redacted(' '.join(message.split())))}", file=sys.stderr, flush=True)
    return code
