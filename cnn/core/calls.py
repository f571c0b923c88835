"""What a call in a notebook needs: plain arguments, and errors and interrupts of one line."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cnn.core.errors import Error, InputError, one_line


def as_plain(value: Any, where: str) -> Any:
    """Converts a value to the types that TOML has; `where` names it in an InputError."""
    if isinstance(value, Mapping):
        return {str(k): as_plain(v, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple | range | np.ndarray):
        return [as_plain(item, where) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, str | int | float):
        return value
    raise InputError(f"{where} must be a value that TOML can hold, but got {value!r}")


class Interrupted(KeyboardInterrupt):
    """An interrupt that says how to go on; like any interrupt, it ends the notebook run."""

    def _render_traceback_(self) -> list[str]:
        return one_line(self)


# What py4j logs if it is interrupted while it waits for the JVM, and then closes its connection.
_OF_INTERRUPTS = (
    "KeyboardInterrupt while sending command",
    "Exception occurred while shutting down connection",
)


@contextmanager
def one_line_interrupt(advice: Callable[[], str]) -> Iterator[None]:
    """Turns an interrupt into one line and keeps py4j from logging its tracebacks."""
    loggers = [logging.getLogger(name) for name in (None, "py4j.clientserver")]
    for logger in loggers:
        logger.addFilter(_is_no_interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(advice()) from None
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_interrupt)


def _is_no_interrupt(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_OF_INTERRUPTS)


@contextmanager
def errors_name_arguments() -> Iterator[None]:
    """Makes errors name arguments instead of flags; commands in messages are not changed."""
    try:
        yield
    except Error as error:
        error.in_python = True
        raise
