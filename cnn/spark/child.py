"""A child process for one piece of work, with a time limit and an explanation of how it ended.

The parent computes nothing, so it survives whatever the child does to its memory or its device. It
returns only when the child is gone. Knows nothing of Spark.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from pyspark import cloudpickle

from cnn.core.clock import now

Method = Literal["fork", "spawn"]

# Names in a child's folder.
_LOG, _TEMPORARY = "log", "tmp"
# How much of the end of a log is kept.
_LOG_BYTES = 64 * 1024
# How long a child may take to exit after it has returned its value.
_EXIT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
# Objectives are often lambdas or closures, which pyspark's pickler accepts. It has no annotations.
_pickle: Any = cloudpickle

# In a child: the connection to its parent.
_parent: Connection | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended: with a `value` if `returned`, otherwise for a `reason`."""

    started: datetime
    ended: datetime
    # Seconds from the driver's launch to the child's start, by the clocks of the two machines.
    launch_seconds: float = 0.0
    returned: bool = False
    value: Any = None
    # One line; for an exception its class and message.
    reason: str = ""
    traceback: str | None = None
    timed_out: bool = False
    # Whether the system probably killed it because memory was exhausted.
    out_of_memory: bool = False
    # The last message that it sent with `send_to_parent`.
    last_message: Any = None
    # The end of what it wrote to stdout and stderr.
    log: str = ""

    def evidence(self) -> str:
        """Why there is no value: the traceback, or the reason and the end of the log."""
        parts = [self.traceback or self.reason]
        if self.log.strip() and not self.traceback:
            parts = ["the log's last lines:", *self.log.strip().splitlines()[-40:], *parts]
        return "\n".join(parts)


def send_to_parent(message: Any) -> None:
    """In a child: sends a message that the parent keeps, even if the child never returns.

    It replaces the last message.
    """
    if _parent is not None:
        _parent.send_bytes(_pickle.dumps(("message", message)))


def supervise(
    function: Callable[[Any], Any],
    argument: Any,
    *,
    method: Method = "fork",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Runs function(argument) in a child process and waits until it is gone.

    The child's process group, with all that it has started, is killed at the timeout and when the
    parent dies. Its directory for temporary files is removed, however it ends.

    Args:
        function: The work. It is pickled, and so are its argument and its value.
        argument: Its only argument.
        method: A forked child has all that the parent has imported. A spawned child imports it
            anew, which is safe where forking is not (macOS; libraries that have started threads).
        timeout: Seconds after which the child is killed.
        environment: Variables that are added to the parent's environment.

    Returns:
        How the child ended. An exception of the function is a part of it and not raised here.
    """
    # If this process inherited that SIGCHLD is ignored, it would not learn the child's exit code.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    context: Any = multiprocessing.get_context(method)
    receiver, sender = context.Pipe(duplex=False)
    payload = _pickle.dumps((function, argument))
    with tempfile.TemporaryDirectory(prefix="cnn-trial-") as folder:
        log = Path(folder) / _LOG
        (Path(folder) / _TEMPORARY).mkdir()
        killed_before = _out_of_memory_kills()
        started = now()
        child = context.Process(
            target=_run_child, args=(payload, sender, folder, dict(environment or {}))
        )
        child.start()
        sender.close()
        last_message, outcome, timed_out = _follow(child, receiver, timeout)
        _kill(child)
        receiver.close()
        known: dict[str, Any] = {"started": started, "ended": now(), "last_message": last_message}
        if outcome is None:
            code = child.exitcode
            memory = code == -signal.SIGKILL and _out_of_memory_kills() > killed_before
            known |= {"reason": _reason(code, timeout if timed_out else None, memory)}
            known |= {"timed_out": timed_out, "out_of_memory": memory and not timed_out}
        return Ended(**known, **(outcome or {}), log=_tail(log))


def _follow(
    child: Any, receiver: Connection, timeout: float | None
) -> tuple[Any, dict[str, Any] | None, bool]:
    """Waits for the child: its last message, its outcome, and whether its time was up."""
    parent = os.getppid()
    deadline = None if timeout is None else time.monotonic() + timeout
    last_message = None
    while True:
        left = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
        ready = wait([receiver, child.sentinel], timeout=max(0.0, left))
        if receiver in ready:
            try:
                kind, content = _pickle.loads(receiver.recv_bytes())
            except (EOFError, OSError):
                wait([child.sentinel], _EXIT_SECONDS)
                return last_message, None, False
            if kind == "message":
                last_message = content
            else:
                wait([child.sentinel], _EXIT_SECONDS)
                return last_message, content, False
        elif child.sentinel in ready or child.exitcode is not None:
            # Processes that the child has started may keep the sentinel open after its end.
            return last_message, None, False
        elif deadline is not None and time.monotonic() >= deadline:
            return last_message, None, True
        if os.getppid() != parent:
            # The executor is gone, so the result is of no use.
            _kill(child)
            os._exit(1)


def _kill(child: Any) -> None:
    """Ends the child and its process group, and waits until it is gone."""
    # Until the child is reaped, no other process group can have its number.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.is_alive():
        child.kill()
    child.join()


def _reason(code: int | None, timeout: float | None, out_of_memory: bool) -> str:
    if timeout is not None:
        return f"killed at the time limit of {timeout:g} s"
    if out_of_memory:
        return "killed by the system, which was out of memory"
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exited with code {code} and returned nothing"


def _run_child(
    payload: bytes, sender: Connection, folder: str, environment: dict[str, str]
) -> None:
    """In the child: runs the work, with its log and files in `folder`, and sends the outcome."""
    global _parent
    _die_with_parent()
    # In its own group it can be killed with all that it starts, and Ctrl-C does not reach it.
    os.setsid()
    _leave_guard(folder)
    with (Path(folder) / _LOG).open("wb") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    faulthandler.enable(file=sys.stderr)
    with contextlib.suppress(OSError):
        # If memory runs out, the system should kill the trial and not the executor.
        Path("/proc/self/oom_score_adj").write_text("1000")
    # Python reads TMPDIR only once, and the parent may already have caused that.
    tempfile.tempdir = str(Path(folder) / _TEMPORARY)
    os.environ.update(environment, TMPDIR=tempfile.tempdir)
    _parent = sender
    try:
        function, argument = _pickle.loads(payload)
        outcome = {"returned": True, "value": function(argument)}
        message = _pickle.dumps(("ended", outcome))
    except Exception as error:
        outcome = {"reason": f"{type(error).__name__}: {error}"}
        outcome["traceback"] = traceback.format_exc()
        message = _pickle.dumps(("ended", outcome))
    sender.send_bytes(message)
    sys.stdout.flush()
    sys.stderr.flush()
    # Do not wait for threads that the work has left running.
    os._exit(0)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:
            os._exit(1)
        return

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# Cleans up after a child ($1) that was killed with its parent ($2): its processes, its folder ($3).
# A zombie counts as dead: in a container without init it may never be reaped.
_GUARD = """
alive() { kill -0 "$1" && ! grep -q "^State:[[:space:]]*Z" "/proc/$1/status"; }
while alive "$1"; do sleep 1; done
kill -s KILL -- "-$1"
while [ -d "$3" ] && alive "$2"; do sleep 1; done
rm -rf -- "$3"
"""


def _leave_guard(folder: str) -> None:
    """Starts a shell that cleans up after this process if it is killed with its parent.

    Spawning takes a tenth of the time of forking a process with a framework's memory.
    """
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    with contextlib.suppress(FileNotFoundError):
        command = ["sh", "-c", _GUARD, "guard", str(os.getpid()), str(os.getppid()), folder]
        os.posix_spawn("/bin/sh", command, os.environ, file_actions=quiet, setpgroup=0)


def _out_of_memory_kills() -> int:
    """The number of processes that this kernel has killed for lack of memory; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _tail(log: Path) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - _LOG_BYTES))
        return handle.read().decode(errors="replace")
