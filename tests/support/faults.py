"""What may befall a job on a cluster: processes that die, stop or crawl, a disk that fails it."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from support.cluster import Cluster

# In the environment of every process of a job, with a value of its own.
MARK = "CNN_CHAOS"
# How long a fault lasts that passes by itself, in seconds.
PASSING = (2.0, 8.0)
_CRAWLING = 15.0
_TICK = 0.5


@dataclass
class Scene:
    """A job at work, and where it may be hit."""

    job: subprocess.Popen[str]
    mark: str
    cluster: Cluster
    # Holds all that the job writes.
    disk: Path
    rng: random.Random
    # What was hit, in words.
    said: str = ""

    def executors(self) -> list[psutil.Process]:
        return _running(self.mark, "CoarseGrainedExecutorBackend")

    def drivers(self) -> list[psutil.Process]:
        return _running(self.mark, "deploy.SparkSubmit")


# Ends what is left of a fault; called when the job has ended.
Heal = Callable[[], None]
# None where there was nothing to hit.
Fault = Callable[[Scene], Heal | None]


def processes(mark: str) -> list[psutil.Process]:
    """The processes with a mark by number; not zombies, which have no environment any more."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return sorted(found, key=lambda process: process.pid)


def _running(mark: str, program: str) -> list[psutil.Process]:
    found = []
    for process in processes(mark):
        with contextlib.suppress(psutil.Error):
            if program in " ".join(process.cmdline()):
                found.append(process)
    return found


def pythons(mark: str) -> list[psutil.Process]:
    """Python workers and trials: forked from a daemon, all have its command line."""
    daemons = {process.pid: process for process in _running(mark, ".daemon")}
    found = []
    for process in daemons.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() in daemons:
                found.append(process)
    return found


def listening(found: Iterable[psutil.Process]) -> set[str]:
    """The sockets on which processes listen, by inode: a number that is not used again soon."""
    own = set()
    for process in found:
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                own.add(str(link.readlink()))
    return {inode for inode in _listening() if f"socket:[{inode}]" in own}


def still_listening(inodes: set[str]) -> set[str]:
    return inodes & set(_listening())


def _listening() -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                yield fields[9]


def _hit(scene: Scene, what: str, found: list[psutil.Process], sent: signal.Signals) -> Heal | None:
    if not found:
        return None
    victim = scene.rng.choice(found)
    scene.said = f"{sent.name} to {what} {victim.pid}"
    try:
        victim.send_signal(sent)
    except psutil.NoSuchProcess:
        return None
    return lambda: None


def kill_python(scene: Scene) -> Heal | None:
    return _hit(scene, "Python process", pythons(scene.mark), signal.SIGKILL)


def kill_executor(scene: Scene) -> Heal | None:
    return _hit(scene, "executor", scene.executors(), signal.SIGKILL)


def kill_worker(scene: Scene) -> Heal | None:
    """A whole machine; another takes its place after a while."""
    running = [n for n, worker in enumerate(scene.cluster.workers) if worker.poll() is None]
    number = scene.rng.choice(running)
    scene.said = f"Worker {number} killed with its executor"
    scene.cluster.kill_worker(number)
    return _passing(scene, lambda: scene.cluster.add_workers(1))


def kill_driver(scene: Scene) -> Heal | None:
    """Its Python and its JVM, or the JVM alone."""
    if scene.rng.random() < 0.5:
        return _hit(scene, "the driver's JVM", scene.drivers(), signal.SIGKILL)
    scene.said = "SIGKILL to the driver's process group"
    os.killpg(scene.job.pid, signal.SIGKILL)
    return lambda: None


def stop_python(scene: Scene) -> Heal | None:
    return _hit(scene, "Python process", pythons(scene.mark), signal.SIGSTOP)


def stop_executor(scene: Scene) -> Heal | None:
    return _hit(scene, "executor", scene.executors(), signal.SIGSTOP)


def fill_disk(scene: Scene) -> Heal | None:
    """No byte is free until the job has ended, whatever it removes."""
    ballast = scene.disk / "ballast"

    def fill(ended: threading.Event) -> None:
        with ballast.open("wb", buffering=0) as file:
            size = 1 << 20
            while not ended.is_set():
                try:
                    file.write(bytes(size))
                except OSError:
                    size = max(1, size // 16)
                    ended.wait(0.01)
        ballast.unlink()

    scene.said = "disk filled"
    return _until_healed(fill)


def make_read_only(scene: Scene) -> Heal | None:
    """For a while: a second, read-only mount over the directory."""
    mount("--bind", scene.disk, scene.disk)
    mount("-o", "remount,bind,ro", scene.disk)
    scene.said = "read-only"
    return _passing(scene, lambda: unmount(scene.disk))


def slow_down(scene: Scene) -> Heal | None:
    """For a while an executor and its Python run for a tenth of the time."""
    found = scene.executors()
    if not found:
        return None
    victim = scene.rng.choice(found)
    scene.said = f"executor {victim.pid} at a tenth of its speed for {_CRAWLING:g} s"
    until = time.monotonic() + _CRAWLING

    def crawl() -> None:
        while time.monotonic() < until and scene.job.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                slow = [victim, *victim.children(recursive=True)]
                _each(slow, psutil.Process.suspend)
                time.sleep(0.9 * _TICK)
                _each(slow, psutil.Process.resume)
            time.sleep(0.1 * _TICK)

    thread = threading.Thread(target=crawl)
    thread.start()
    return thread.join


def _each(found: Iterable[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            do(process)


def _passing(scene: Scene, end: Callable[[], None]) -> Heal:
    """A fault that ends by itself, or at the latest with the job."""
    seconds = scene.rng.uniform(*PASSING)
    scene.said += f" for {seconds:.1f} s"

    def wait(ended: threading.Event) -> None:
        ended.wait(seconds)
        end()

    return _until_healed(wait)


def _until_healed(work: Callable[[threading.Event], None]) -> Heal:
    """Works in a thread of its own, which is told by an event to end."""
    ended = threading.Event()
    thread = threading.Thread(target=work, args=(ended,))
    thread.start()

    def heal() -> None:
        ended.set()
        thread.join()

    return heal


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, capture_output=True, text=True)


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], check=True, capture_output=True, text=True)
