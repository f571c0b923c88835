"""Supervised children, forked and spawned: every way to end, and nothing left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from cnn.spark.child import Method, supervise, tell

METHODS: list[Method] = ["fork", "spawn"]


def work(how: str) -> Any:
    """What a child does; in the parent's module, as a user's objective would be."""
    print(f"now: {how}")
    match how:
        case "raise":
            raise ValueError("on purpose")
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
        case "segmentation fault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "memory":
            bytearray(10**15)
        case "hang":
            tell("before it hung")
            time.sleep(100)
        case "grandchild":
            return subprocess.Popen(["sleep", "1000"]).pid
        case "temporary":
            descriptor, path = tempfile.mkstemp()
            os.close(descriptor)
            return path
    return os.environ["GIVEN"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "ValueError: on purpose"),
        ("exit", "exited with code 3 and returned nothing"),
        ("sys.exit", "exited with code 4 and returned nothing"),
        ("segmentation fault", "killed by SIGSEGV"),
        ("kill", "killed by SIGKILL"),
        ("memory", "MemoryError: "),
    ],
)
def test_what_ended_a_child_is_known(method: Method, how: str, reason: str) -> None:
    ended = supervise(work, how, method=method, timeout=60)
    assert (ended.returned, ended.reason, ended.timed_out) == (False, reason, False)
    assert f"now: {how}" in ended.log
    assert ended.evidence().splitlines()[-1].startswith(reason.rstrip(": "))


@pytest.mark.parametrize("method", METHODS)
def test_what_a_child_returns_comes_back(method: Method) -> None:
    ended = supervise(work, "return", method=method, environment={"GIVEN": "here"})
    assert (ended.returned, ended.value, ended.log) == (True, "here", "now: return\n")
    assert "GIVEN" not in os.environ
    assert ended.started <= ended.ended


def test_a_closure_is_work_too() -> None:
    offset = 41
    for method in METHODS:
        assert supervise(lambda x: x + offset, 1, method=method).value == 42


@pytest.mark.parametrize("method", METHODS)
def test_at_the_time_limit_it_is_killed_and_what_it_told_is_kept(method: Method) -> None:
    started = time.monotonic()
    ended = supervise(work, "hang", method=method, timeout=8)
    assert time.monotonic() - started < 20
    assert ended.timed_out
    assert ended.told == "before it hung"
    assert ended.reason == "killed at the time limit of 8 s"


def test_what_the_child_started_ends_with_it() -> None:
    ended = supervise(work, "grandchild")
    assert ended.returned
    assert gone(ended.value)


@pytest.mark.parametrize("method", METHODS)
def test_its_temporary_files_go_with_it(method: Method) -> None:
    before = tempfile.gettempdir()
    path = Path(supervise(work, "temporary", method=method).value)
    assert path.is_relative_to(before)
    assert path.parent != Path(before)
    assert not path.parent.exists()
    assert tempfile.gettempdir() == before


def test_the_child_dies_with_its_parent_and_nothing_is_left(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def nap(_: None) -> None:
        Path(tempfile.gettempdir(), "half").touch()
        tmp_path.joinpath("pid.new").write_text(f"{os.getpid()} {tempfile.gettempdir()}")
        tmp_path.joinpath("pid.new").rename(pid_file)
        time.sleep(100)

    parent = os.fork()
    if parent == 0:
        supervise(nap, None)
        os._exit(0)
    while not pid_file.exists():
        time.sleep(0.02)
    pid, _, temporary = pid_file.read_text().partition(" ")
    assert Path(temporary, "half").exists()
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert gone(int(pid))
    for _ in range(100):
        if not Path(temporary).parent.exists():
            return
        time.sleep(0.1)
    pytest.fail(f"still there: {temporary}")


def gone(pid: int) -> bool:
    """Whether a process ends, or is a zombie that nobody reaps, within 5 s."""
    for _ in range(100):
        try:
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
