"""What is seen while trials run: plain lines in a log, a table that redraws on a terminal."""

import io
import re
import threading
import time
from collections.abc import Collection
from functools import partial

import pytest
from rich.console import Console
from support.made_up import bare_trial
from support.terminal import on_a_terminal

from cnn.core.clock import about, duration, span
from cnn.rundir.heartbeat import TrialProgress
from cnn.rundir.trials import Status, TrialResult
from cnn.search.hosts_progress import hosts_progress
from cnn.search.pace import Pace
from cnn.search.progress import SearchProgress
from cnn.search.time_left import Running, seconds_left
from cnn.search.trials_table import TrialRow, terminal_table
from cnn.settings.params import ModelParams


def trial(number: int, accuracy: float | None, status: Status = "ok") -> TrialResult:
    return bare_trial(number, status, params={}, accuracy=accuracy)


def follow(pause: float = 0) -> None:
    with SearchProgress("search", "val_accuracy", total=5, parallelism=2) as progress:
        progress.launched(0)
        progress.launched(1)
        progress.finished(trial(0, 0.75))
        time.sleep(pause)
        progress.launched(2)
        progress.finished(trial(1, None, "crashed"))
        progress.finished(trial(3, None, "invalid"))
        progress.finished(trial(2, 0.5))


def test_in_a_log_each_result_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    follow()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" |")[0] for line in lines] == [
        "search: 0 of 5 trials done, time left not yet known",
        "trial 0: ok 0.7500",
        "trial 1: crashed -",
        "trial 3: invalid -",
        "trial 2: ok 0.5000",
    ]
    counts = "search: 3 of 5 trials done (1 more could not be built), 0 running, 1 failed"
    assert f"{counts}, best 0.7500 (trial 0)" in lines[-1]
    # Two trials are still to come, however quick the others were.
    assert lines[-1].endswith("a few seconds left")


def test_an_objective_of_ones_own_is_shown_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    reached = TrialProgress(number=2, epoch=1, max_epochs=9, accuracy=0.5, objective=-12.345)
    progress = SearchProgress(
        "search", "a.b:cost_of_errors", total=5, parallelism=2, read=lambda numbers: {2: reached}
    )
    with progress:
        for number, (accuracy, cost) in enumerate([(0.75, -20.5), (0.5, -10.0)]):
            progress.launched(number)
            progress.finished(trial(number, accuracy).model_copy(update={"objective": cost}))
        progress.launched(2)
        progress.refresh()
        console = Console(width=100, height=24, file=io.StringIO())
        console.print(progress.screen(console))
    said = capsys.readouterr().out
    assert "trial 0: ok cost_of_errors -20.5, accuracy 0.7500" in said
    assert "best cost_of_errors -10, accuracy 0.5000 (trial 1)" in said
    assert isinstance(console.file, io.StringIO)
    heading, running, best, *_ = console.file.getvalue().splitlines()
    assert heading.split() == ["trial", "epoch", "val", "acc", "cost_of_err…", "rung", "time"]
    assert running.split()[:4] == ["2", "1/9", "0.5000", "-12.35"]
    assert best.split()[3:5] == ["0.5000", "-10"]
    assert ">cost_of_err…</th>" in progress.html()


def test_on_a_terminal_a_table_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    said = on_a_terminal(monkeypatch, partial(follow, pause=2))
    assert "trial 0: ok" not in said
    assert "1 of 5 trials done" in said
    assert "3 of 5 trials done" in said
    assert re.search(r"1 of 2 slots busy, a few seconds left", said)
    assert "\x1b[2K" in said  # a line is erased before it is written anew
    assert said.endswith("\x1b[?25h")  # the cursor is seen again


def test_running_trials_are_read_from_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[str] = set()

    def read(numbers: Collection[int]) -> dict[int, TrialProgress]:
        readers.add(threading.current_thread().name)
        if len(numbers) < 2:
            raise OSError("a file system that is not there")
        found = TrialProgress(number=4, epoch=2.438, max_epochs=15, accuracy=0.875)
        return {4: found.model_copy(update={"rungs": 1, "max_rungs": 3})}

    def work() -> None:
        progress = SearchProgress(
            "search\x1b[2J[red]", "val_accuracy", total=9, parallelism=2, varying=["x"], read=read
        )
        with progress:
            time.sleep(0.2)
            progress.launched(4, {"x": "[bold]\x1b[2Jevil"})
            progress.launched(5, {"x": 0.123456})
            time.sleep(1.5)

    said = on_a_terminal(monkeypatch, work)
    assert readers == {"progress"}
    assert re.search(r"4  2\.4/15   0\.8750   1/3  0:0\d  \[bold\]\?\[2Jevil", said)
    assert re.search(r"5       -        -     -  0:0\d +0\.123", said)
    assert "search?[2J[red]: 0 of 9 trials done" in said
    assert "\x1b[2J" not in said


def test_a_file_system_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(numbers: Collection[int]) -> dict[int, TrialProgress]:
        time.sleep(20)
        return {}

    def work() -> None:
        started = time.monotonic()
        with SearchProgress(
            "search", "val_accuracy", total=9, parallelism=2, read=hang
        ) as progress:
            for number in range(9):
                progress.launched(number)
                progress.finished(trial(number, 0.5))
            assert time.monotonic() - started < 1
        assert time.monotonic() - started < 5

    assert "9 of 9 trials done" in on_a_terminal(monkeypatch, work)


def test_hosts_are_said_as_far_as_the_slowest_is() -> None:
    found: list[list[float]] = [[], [0.0], [0.5], [0.75, 0.25, 1.0]]
    reads = iter(found)
    said: list[str] = []
    over = threading.Event()

    def read() -> list[float]:
        shares = next(reads, None)
        if shares is None:
            over.set()
            raise OSError("the file system has gone")
        return shares

    with hosts_progress(read, said.append, seconds=0.01):
        assert over.wait(10)
    assert said[0] == "images on the host: 0%"
    assert said[1] == "images on the host: 50%, about 0 s left"
    assert said[2] == "images on the slowest of 3 hosts: 25%, about 0 s left"
    assert len(said) == 3


def drawn(width: int, height: int, running: int) -> list[str]:
    """The lines of a screen with so many trials running."""
    params = {"filters": [16, 32, 64], "batch_norm": True, "rate": 0.00123, "other": "x" * 30}
    rows = [TrialRow((str(n), "3/15", "0.8750", "1/3", "1:48"), params) for n in range(running)]
    best = TrialRow(("best: 4", "15/15", "0.9583", "-", "0:52"), params)
    console = Console(width=width, height=height, file=io.StringIO())
    lines = ["search: 7 of 200 trials done", "150 of 150 slots busy, about 12 to 18 min left"]
    console.print(terminal_table(console, rows, best, list(params), lines))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("height", [3, 6, 7, 10, 24, 30])
@pytest.mark.parametrize("width", [40, 80, 100])
def test_however_many_run_the_screen_is_kept(width: int, height: int) -> None:
    lines = drawn(width, height, 150)
    assert len(lines) < max(4, height)
    assert max(map(len, lines)) <= width
    said = " ".join(" ".join(lines).split())
    assert "search: 7 of 200 trials done" in said
    assert said.endswith("about 12 to 18 min left")
    shown = sum("1:48" in line for line in lines)
    if shown:
        assert f"and {150 - shown} more running" in said
    assert shown == (0 if height < 7 else height - 6 - (width < 46))


def test_as_many_columns_as_fit_and_the_rest_below_the_row() -> None:
    wide, narrow, low = drawn(100, 30, 2), drawn(80, 30, 2), drawn(80, 7, 2)
    assert wide[0].split() == [*HEADINGS, "filters", "norm", "rate", "other"]
    assert wide[1].split()[-4:] == ["16-32-64", "yes", "0.00123", "x" * 30]
    assert wide[3].startswith("best: 4  15/15   0.9583")
    assert narrow[0].split() == [*HEADINGS, "filters", "norm", "rate"]
    assert [line.split() for line in narrow[2:7:2]] == [["other", "x" * 30]] * 3
    # Too low for two lines a row: a mark says that there is more.
    assert low[0].split() == [*HEADINGS, "filters", "norm", "rate", "…"]
    assert [line.endswith("…") for line in low[:4]] == [True] * 4


@pytest.mark.parametrize("height", [12, 24, 40])
@pytest.mark.parametrize("width", [80, 120])
def test_all_that_the_default_space_varies_is_seen(width: int, height: int) -> None:
    params = ModelParams(learning_rate=0.00123456789, dropout=0.5499999, pooling="average")
    values = params.model_dump()
    rows = [TrialRow((str(n), "12.4/15", "0.8750", "1/3", "1:02:33"), values) for n in range(3)]
    console = Console(width=width, height=height, file=io.StringIO())
    best = TrialRow(("best: 117", "15/15", "0.9583", "-", "0:52"), values)
    console.print(terminal_table(console, rows, best, list(values), ["9 of 9 trials done"]))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "…" not in said
    assert max(map(len, said.splitlines())) <= width
    for value in ("0.00123", "0.55", "average"):
        assert len(re.findall(rf"{value}\b", said)) == 4
    for name in ("layers", "filters", "dense", "drop", "rate", "batch", "norm", "pool", "augment"):
        assert re.search(rf"\b{name}\b", said)


HEADINGS = ["trial", "epoch", "val", "acc", "rung", "time"]


def test_time_left_is_between_what_is_fast_and_what_is_slow() -> None:
    assert seconds_left([], [Running(3.0)], 5, 2) is None
    low, high = seconds_left([30.0] * 100, [], 10, 2) or (0, 0)
    assert 135 < low < 150 < high < 165
    # One trial says little of the others.
    few = seconds_left([30.0], [], 10, 2)
    assert few is not None
    assert few[1] - few[0] > 3 * (high - low)
    # Half of the trials are stopped early: those that run may be among them.
    low, high = seconds_left([2.0, 60.0] * 20, [Running(1.0)] * 2, 0, 2) or (0, 0)
    assert low < 10
    assert 50 < high < 70
    low, high = seconds_left([1.0] * 1000, [], 20_000, 100) or (0, 0)
    assert 190 < low < 200 < high < 210
    # Longer than any before it.
    low, high = seconds_left([1.0], [Running(50.0)], 0, 2) or (0, 0)
    assert 0 < low < high < 100


def test_before_a_trial_is_done_its_pace_says_how_long_it_takes() -> None:
    pace = Pace()
    for second in range(10):
        # 20 seconds for what comes before the second step, then an epoch in 4 seconds.
        pace.see(0.1 + second / 4, 15, 20.0 + second)
    assert pace.seconds_an_epoch == pytest.approx(4)
    assert pace.rest(29.0) == pytest.approx((15 - 2.35) * 4)
    assert pace.rest(39.0) == pytest.approx((15 - 2.35) * 4 - 10)
    # Begun anew on another executor: what was seen of the first one no longer holds.
    pace.see(0.1, 15, 50.0)
    assert pace.seconds_an_epoch is None

    running = [Running(29.0, 2.35 / 15, 50.6)] * 2
    low, high = seconds_left([], running, 4, 2) or (0, 0)
    # Three rounds of 80 seconds, of which the first is under way; one trial says little of others.
    assert low < 50 + 2 * 80 < high
    assert high < 2.5 * (50 + 2 * 80)
    # Others ended at half of their epochs: so may this one.
    low, high = seconds_left([40.0] * 20, [Running(10.0, 0.25, 60.0)], 0, 1, [0.5] * 20) or (0, 0)
    assert 15 < low <= 20 <= high < 25


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (4.6, 5.2, "5 s"),
        (30, 50, "30 to 50 s"),
        (40, 150, "40 s to 2 min"),
        (95, 240, "2 to 4 min"),
        (90, 7200, "90 s to 2.0 h"),
    ],
)
def test_a_unit_is_said_once(low: float, high: float, text: str) -> None:
    assert span(low, high) == text


def test_what_is_not_done_takes_some_time() -> None:
    assert about(0, 0) == "a few seconds"
    assert about(0, 20) == "about 1 to 20 s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.4, "5 s"), (99, "99 s"), (150, "2 min"), (7200, "2.0 h")]
)
def test_durations_are_said_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
