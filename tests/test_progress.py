"""What is seen while trials run: plain lines in a log, one line that redraws on a terminal."""

import io
import os
import pty
import re
import sys
import time
from datetime import UTC, datetime
from functools import partial

import pytest

from cnn.progress import SearchProgress, duration
from cnn.results import Status, TrialResult


def trial(number: int, accuracy: float | None, status: Status = "ok") -> TrialResult:
    now = datetime.now(UTC)
    return TrialResult(
        number=number,
        phase="search",
        params={},
        status=status,
        error=None if status == "ok" else "why",
        accuracy=accuracy,
        loss=None if accuracy is None else 1 - accuracy,
        started=now,
        ended=now,
    )


def follow(pause: float = 0) -> None:
    with SearchProgress("search", "val_accuracy", total=5, parallelism=2) as progress:
        progress.launched()
        progress.launched()
        progress.finished(trial(0, 0.75))
        time.sleep(pause)
        progress.launched()
        progress.finished(trial(1, None, "crashed"))
        progress.finished(trial(3, None, "invalid"))
        progress.finished(trial(2, 0.5))


def test_in_a_log_each_result_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    follow()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" |")[0] for line in lines] == [
        "trial 0: ok 0.7500",
        "trial 1: crashed -",
        "trial 3: invalid -",
        "trial 2: ok 0.5000",
    ]
    assert "search: 3 of 5 trials done, 0 running, 1 failed, best 0.7500 (trial 0)" in lines[-1]
    assert re.search(r"about \d+ s left$", lines[-1])


def test_on_a_terminal_one_line_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with io.TextIOWrapper(io.FileIO(theirs, "w"), write_through=True) as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        follow(pause=2)
    said = b"".join(iter(partial(_read, ours), b"")).decode()
    os.close(ours)
    assert "trial 0: ok" not in said
    assert "1 of 5 trials done" in said
    assert "3 of 5 trials done" in said
    assert "\x1b[2K" in said  # a line is erased before it is written anew
    assert re.search(r"about\s+\d+\s+s\s+left\s+\x1b\[\?25h", said)  # wrapped, not cut


def _read(terminal: int) -> bytes:
    """What comes next; nothing where the other side is closed and all is read."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.4, "5 s"), (99, "99 s"), (150, "2 min"), (7200, "2.0 h")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
