"""What the search engine costs beside its trials, next to SparkTrials and to bare Spark jobs.

    python tests/benchmarks/dispatch.py              # about ten minutes on two cores
    python tests/benchmarks/dispatch.py short many   # some of: short, long, many, start

short   20 trials of 50 ms on 2 slots
long    24 trials of 2 s on 8 slots, and how busy the slots were
many    1,000 trials of 10 ms: the driver's memory, and the time that a proposal takes
start   from a trial's launch to the end of its first training step, with the daemon and without

All run in the session that jobs/tune.py has, but for `start` without the daemon. Bare jobs are the
limit: Spark jobs of one task from as many threads as there are slots.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hyperopt import SparkTrials, fmin, hp, rand, tpe

from cnn.search.dispatcher import Trials
from cnn.search.round import Round
from cnn.spark.session import TUNE, spark_session
from cnn.spark.task import Isolation

SPACE = {"x": hp.uniform("x", -5, 5), "y": hp.uniform("y", -5, 5)}
MANY = 1000


class Sleep:
    """An objective that takes `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, point: dict[str, float]) -> float:
        time.sleep(self._seconds)
        return point["x"] ** 2 + point["y"] ** 2


def search(trials: Any, objective: Any, count: int, algo: Any = rand.suggest) -> float:
    started = time.perf_counter()
    rng = np.random.default_rng(0)
    fmin(objective, SPACE, algo, count, trials=trials, rstate=rng, show_progressbar=False)
    return time.perf_counter() - started


def bare(spark: Any, slots: int, seconds: float, count: int) -> float:
    def run(_: int) -> None:
        spark.sparkContext.parallelize([0], 1).map(lambda _: time.sleep(seconds)).collect()

    started = time.perf_counter()
    with ThreadPoolExecutor(slots) as pool:
        list(pool.map(run, range(count)))
    return time.perf_counter() - started


def compare(slots: int, seconds: float, count: int, runs: int) -> dict[str, float]:
    """Seconds for `count` trials: medians of `runs`, taken in turn."""
    found: dict[str, list[float]] = {"bare": [], "ours": [], "stock": []}
    with spark_session("dispatch", TUNE) as spark:
        # The daemon imports its framework with the first task.
        bare(spark, slots, 0.0, slots)
        for _ in range(runs):
            found["bare"].append(bare(spark, slots, seconds, count))
            found["ours"].append(search(Trials(spark, slots), Sleep(seconds), count))
            stock = SparkTrials(parallelism=slots, spark_session=spark)
            found["stock"].append(search(stock, Sleep(seconds), count))
    return {name: statistics.median(values) for name, values in found.items()}


def many() -> list[dict[str, float]]:
    """Every 100 trials: the driver's resident memory in MiB, the last proposals' ms, seconds."""
    curve: list[dict[str, float]] = []
    proposals: list[float] = []

    def timed(*args: Any) -> Any:
        started = time.perf_counter()
        documents = tpe.suggest(*args)
        proposals.append(time.perf_counter() - started)
        return documents

    class Measured(Round):
        def finished(self, number: int, point: Any, result: Any) -> None:
            if (number + 1) % 100 == 0:
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                curve.append(
                    {
                        "trials": number + 1,
                        "memory": pages * os.sysconf("SC_PAGESIZE") / 2**20,
                        "proposal": 1000 * statistics.median(proposals[-100:]),
                        "seconds": time.perf_counter() - started,
                    }
                )

    with spark_session("dispatch", TUNE) as spark:
        bare(spark, 2, 0.0, 2)
        started = time.perf_counter()
        search(Trials(spark, 2, round=Measured()), Sleep(0.01), MANY, timed)
    return curve


def first_step(point: dict[str, float]) -> dict[str, Any]:
    """Trains a small network for one step; says when that was done."""
    from cnn.model.network import build, compile_model
    from cnn.settings.params import ModelParams

    params = ModelParams(conv_layers=3, filters=32)
    model = build(params, size=64, channels=1, classes=2)
    compile_model(model, params)
    model.train_on_batch(np.zeros((32, 64, 64, 1), np.uint8), np.eye(2)[np.arange(32) % 2])
    return {"loss": 0.0, "status": "ok", "done": time.time()}


def start(daemon: bool, count: int = 7) -> list[float]:
    """Seconds from launch to the end of the first training step, one trial at a time."""
    conf = TUNE if daemon else {k: v for k, v in TUNE.items() if "daemon" not in k}
    if not daemon:
        conf = {k: v for k, v in conf.items() if not k.endswith("CNN_PRELOAD")}
    launched: dict[int, float] = {}

    class Timed(Round):
        def launched(self, number: int, point: Any) -> None:
            launched[number] = time.time()

    with spark_session("dispatch", conf) as spark:
        trials = Trials(spark, 1, isolation=Isolation(threads=2), round=Timed())
        search(trials, first_step, count)
    # The first task of a session starts the daemon.
    return [trial["result"]["done"] - launched[trial["tid"]] for trial in trials.trials[1:]]


def in_session(master: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function of this file in a process of its own, whose session has that master."""
    done = subprocess.run(
        [sys.executable, __file__, "--call", json.dumps([function.__name__, *arguments])],
        env={
            **os.environ,
            "PYSPARK_SUBMIT_ARGS": f"--master {master} pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def show_short(runs: int) -> None:
    found = in_session("local[2]", compare, 2, 0.05, 20, runs)
    print("20 trials of 50 ms on 2 slots")
    for name, seconds in found.items():
        print(f"  {name:6}{seconds:8.2f} s{seconds / found['bare']:8.2f} x bare")
    print(f"  SparkTrials / ours {found['stock'] / found['ours']:.1f}")


def show_long(runs: int) -> None:
    found = in_session("local[8]", compare, 8, 2.0, 24, runs)
    print("24 trials of 2 s on 8 slots")
    for name, seconds in found.items():
        busy = 24 * 2 / (8 * seconds)
        share = found["bare"] / seconds
        print(f"  {name:6}{seconds:8.2f} s, slots {100 * busy:3.0f} % busy{share:8.2f} of bare")


def show_many() -> None:
    print(f"{MANY:,} trials of 10 ms on 2 slots, TPE")
    print("  trials  driver MiB  ms a proposal  ms a trial")
    before = 0.0
    for row in in_session("local[2]", many):
        each = 10 * (row["seconds"] - before)
        before = row["seconds"]
        print(f"  {row['trials']:6}{row['memory']:12.0f}{row['proposal']:15.1f}{each:12.0f}")


def show_start() -> None:
    print("from a trial's launch to the end of its first training step")
    medians = {}
    for daemon in (True, False):
        found = in_session("local[2]", start, daemon)
        medians[daemon] = statistics.median(found)
        name = "with the daemon" if daemon else "without it"
        print(f"  {name:16}{medians[daemon]:6.2f} s ({min(found):.2f} to {max(found):.2f})")
    print(f"  ratio {medians[False] / medians[True]:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    kinds = ("short", "long", "many", "start")
    parser.add_argument("which", nargs="*", help=f"some of {', '.join(kinds)}; all where not given")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        # In the process of a session: see in_session.
        name, *arguments = json.loads(args.call)
        known: dict[str, Callable[..., Any]] = {"compare": compare, "many": many, "start": start}
        print("\n" + json.dumps(known[name](*arguments)))
        return
    which = args.which or kinds
    if unknown := set(which) - set(kinds):
        parser.error(f"which must be some of {', '.join(kinds)}, but got {', '.join(unknown)}")
    for kind in which:
        show = {
            "short": lambda: show_short(args.runs),
            "long": lambda: show_long(args.runs),
            "many": show_many,
            "start": show_start,
        }
        show[kind]()


if __name__ == "__main__":
    main()
