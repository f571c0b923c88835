"""The highest memory of a benchmark: of its processes by what they do, or of this one alone."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Peaks:
    """Peak resident memory of this process and those below it, by role, while it is entered."""

    def __enter__(self) -> Self:
        self.mib: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            for role, pid in _roles().items():
                self.mib[role] = max(self.mib.get(role, 0), _resident(pid))


def _roles() -> dict[str, int]:
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:
                continue
            name, rest = text.rpartition(")")[0].partition("(")[2], text.rpartition(")")[2]
            parents[int(folder.name)] = (int(rest.split()[1]), name)
    roles = {"driver": os.getpid()}
    for pid, (parent, name) in parents.items():
        above = [parent]
        while above[-1] in parents:
            above.append(parents[above[-1]][0])
        if os.getpid() in above:
            role = "JVM" if name == "java" else "largest worker"
            if role not in roles or _resident(pid) > _resident(roles[role]):
                roles[role] = pid
    return roles


def _resident(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20
    except OSError:
        return 0.0


def highest_anonymous(work: Callable[[], None]) -> int:
    """The highest RssAnon of this process while it works, in bytes.

    What is mapped from files belongs to the system's page cache and is not counted.
    """
    highest, done = 0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            lines = Path("/proc/self/status").read_text().splitlines()
            now = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            highest = max(highest, now * 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return highest
