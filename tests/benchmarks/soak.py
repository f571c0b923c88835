"""A long search, watched from outside: what grows in its driver, and what it leaves behind.

    python tests/benchmarks/soak.py                    # 500 trials of one epoch
    python tests/benchmarks/soak.py --trials 100 --every 10

jobs/tune.py searches on 48 images of 32x32 pixels in directories of its own. Each line of the curve
is read from /proc when so many trials are done; the JVM's heap is what was in use after its last
full collection, of which Spark asks for one every ten seconds here.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
COLUMNS = {
    "trials": "trials",
    "seconds": "seconds",
    "python MiB": "memory of the driver's Python process, resident",
    "jvm MiB": "of its JVM",
    "heap MiB": "of that the heap after a full collection",
    "python files": "open files and sockets",
    "jvm files": "the same",
    "python threads": "threads",
    "jvm threads": "the same",
    "processes": "of the whole tree, the driver's two included",
    "zombies": "of these, dead and not waited for",
}
SETTINGS = {"search.strategy": "random", "search.epochs": 1, "final.epochs": 1}
METRICS = "spark.metrics.conf.*.source.jvm.class=org.apache.spark.metrics.source.JvmSource"


def make_data(root: Path, environment: dict[str, str]) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / "images" / name).mkdir(parents=True)
        for number in range(30):
            pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{number}.png")
    command = ["jobs/preprocess.py", "--images", root / "images", "--out", root / "data"]
    words = [str(word) for word in (ROOT / "spark-submit.sh", *command, "--image-size", 32)]
    subprocess.run(words, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return root / "data"


def search(
    root: Path, data: Path, trials: int, port: int, environment: dict[str, str]
) -> tuple[Path, "subprocess.Popen[bytes]"]:
    """Starts jobs/tune.py: its run directory, and the driver."""
    run = root / "run"
    words = ["--master", "local[2]", "--conf", METRICS, "--conf", f"spark.ui.port={port}"]
    words += ["--conf", "spark.cleaner.periodicGC.interval=10s", "jobs/tune.py"]
    words += ["--data", str(data), "--out", str(run), "--config", "conf/test.toml"]
    words += ["--cache-dir", str(root / "cache"), "--max-trials", str(trials)]
    for key, value in SETTINGS.items():
        words += ["--set", f"{key}={value}"]
    return run, subprocess.Popen(
        [str(ROOT / "spark-submit.sh"), *words],
        cwd=ROOT,
        env=environment,
        stdout=(root / "log").open("w"),
        stderr=subprocess.STDOUT,
    )


def sample(job: psutil.Process, port: int) -> dict[str, float]:
    """What the driver and all that it has started hold at this moment."""
    tree = [job, *job.children(recursive=True)]
    jvm = next(one for one in tree if one.name() == "java")
    found: dict[str, float] = {"heap MiB": heap(port)}
    for name, process in (("python", job), ("jvm", jvm)):
        found[f"{name} MiB"] = process.memory_info().rss / 2**20
        found[f"{name} files"] = process.num_fds()
        found[f"{name} threads"] = process.num_threads()
    found["processes"] = len(tree)
    found["zombies"] = sum(_is_zombie(process) for process in tree)
    return found


def heap(port: int) -> float:
    """MiB in the JVM's heap after its last full collection, as Spark's metrics have it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics/json/", timeout=10) as answer:
        gauges = json.load(answer)["gauges"]
    pools = [v["value"] for k, v in gauges.items() if k.endswith("used-after-gc")]
    return sum(value for value in pools if value is not None) / 2**20


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def curve(job: psutil.Process, run: Path, port: int, every: int) -> Iterator[dict[str, float]]:
    """A sample each time that `every` more trials are done."""
    started, due = time.monotonic(), every
    while job.is_running() and job.status() != psutil.STATUS_ZOMBIE:
        done = len(list((run / "trials").glob("*.json")))
        if done >= due:
            with contextlib.suppress(psutil.NoSuchProcess, urllib.error.URLError):
                seconds = time.monotonic() - started
                yield {"trials": done, "seconds": seconds, **sample(job, port)}
                due = done - done % every + every
        time.sleep(0.2)


def left_in(folders: list[Path], before: dict[Path, set[str]]) -> None:
    """Says what is new in folders; the JVM, which clears up after its driver, gets ten seconds."""
    until = time.monotonic() + 10
    for folder in folders:
        while True:
            new = sorted({path.name for path in folder.iterdir()} - before[folder])
            if not new or time.monotonic() >= until:
                break
            time.sleep(0.1)
        print(f"left in {folder.name}: {', '.join(new) or 'nothing'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--every", type=int, default=50)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        # All that goes to directories for temporary files is in one of these two, or shared memory.
        folders = [root / "tmp", root / "cache", Path("/dev/shm")]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        before = {folder: {path.name for path in folder.iterdir()} for folder in folders}
        temporary = str(root / "tmp")
        environment = {
            **os.environ,
            "TMPDIR": temporary,
            "SPARK_LOCAL_DIRS": temporary,
            "SPARK_SUBMIT_OPTS": f"-Djava.io.tmpdir={temporary} -XX:-UsePerfData",
        }
        data = make_data(root, environment)
        left_in(folders[:1], before)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        run, job = search(root, data, args.trials, port, environment)
        for key, meaning in COLUMNS.items():
            print(f"{key:16}{meaning}")
        print("  ".join(COLUMNS))
        for row in curve(psutil.Process(job.pid), run, port, args.every):
            print("  ".join(f"{row[key]:{len(key)}.0f}" for key in COLUMNS), flush=True)
        if job.wait():
            sys.exit((root / "log").read_text())
        left_in(folders, before)
        statuses = json.loads((run / "result.json").read_text())["trials"]
        print(f"trials: {statuses}")


if __name__ == "__main__":
    main()
