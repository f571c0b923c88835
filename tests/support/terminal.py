"""What a program writes to a terminal."""

import io
import os
import pty
import sys
from collections.abc import Callable
from functools import partial

import pytest


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> str:
    """What is written to a terminal, of 80 columns and 25 lines, meanwhile."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        work()
    said = b"".join(iter(partial(_read, ours), b"")).decode()
    os.close(ours)
    return said


def _read(terminal: int) -> bytes:
    """What comes next; nothing where the other side is closed and all is read."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
