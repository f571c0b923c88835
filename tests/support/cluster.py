"""A Spark standalone cluster on loopback: a Master and Workers, processes of their own.

They come from the installed pyspark and inherit no path of ours, so that an executor has what is
installed and nothing else.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyspark

from support.jobs import clean_environment

SPARK_HOME = Path(pyspark.__file__).parent
_HOST = ("--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
_STARTED = {
    "master": r"starting spark master at (spark://\S+)",
    "ui": r"MasterWebUI: .* started at (http://\S+)",
    "worker": r"successfully registered with master",
}


class Cluster:
    """A running Master with its Workers. Use standalone(), which ends them."""

    def __init__(self, root: Path, *, cores: int, properties: dict[str, str]) -> None:
        self.root = root
        self._cores = cores
        self._properties = root / "cluster.conf"
        # Of the ports that it opens one has a number of its own.
        properties = {"spark.master.rest.enabled": "false", **properties}
        self._properties.write_text("".join(f"{k} {v}\n" for k, v in properties.items()))
        self.workers: list[psutil.Popen] = []
        self._master, log = self._start("master", "master")
        self.url = _wait_for(log, _STARTED["master"], self._master)
        self.ui = _wait_for(log, _STARTED["ui"], self._master)

    def add_workers(self, count: int) -> None:
        """More Workers, when they have registered."""
        logs = []
        for number in range(len(self.workers), len(self.workers) + count):
            name = f"worker-{number}"
            options = ("--cores", str(self._cores), "--memory", "2g")
            place = ("--work-dir", str(self.root / name))
            process, log = self._start("worker", name, *options, *place, self.url)
            self.workers.append(process)
            logs.append((log, process))
        for log, process in logs:
            _wait_for(log, _STARTED["worker"], process)

    def executors(self, worker: int | None = None) -> list[psutil.Process]:
        """The executors' JVMs, of one Worker or of all."""
        chosen = self.workers if worker is None else [self.workers[worker]]
        return [
            child
            for process in chosen
            if process.poll() is None
            for child in process.children()
            if _runs(child, "CoarseGrainedExecutorBackend")
        ]

    def kill_worker(self, worker: int) -> None:
        """As a machine dies: the Worker, its executors and all that they started, at once."""
        process = self.workers[worker]
        lost = [process, *process.children(recursive=True)]
        for one in lost:
            one.kill()
        process.wait()
        psutil.wait_procs(lost, timeout=10)

    def stop(self) -> None:
        """Ends everything. Raises AssertionError where something outlives its Worker."""
        processes = [one for one in (*self.workers, self._master) if one.poll() is None]
        started = [one for process in processes for one in process.children(recursive=True)]
        for process in processes:
            process.terminate()
        _, left = psutil.wait_procs([*processes, *started], timeout=20)
        names = [one.name() for one in left]
        for process in left:
            process.kill()
        assert not left, f"still there 20 s after the cluster's end: {names}"

    def _start(self, kind: str, name: str, *arguments: str) -> tuple[psutil.Popen, Path]:
        environment = clean_environment()
        environment.pop("PYTHONPATH", None)
        environment |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": "127.0.0.1"}
        environment |= {"SPARK_NO_DAEMONIZE": "1", "PYTHONUNBUFFERED": "1"}
        program = f"org.apache.spark.deploy.{kind}.{kind.title()}"
        options = (*_HOST, "--properties-file", str(self._properties))
        log = self.root / f"{name}.log"
        with log.open("w") as out:
            process = psutil.Popen(
                [str(SPARK_HOME / "bin" / "spark-class"), program, *options, *arguments],
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.root,
            )
        return process, log


@contextmanager
def standalone(
    root: Path, *, workers: int = 2, cores: int = 1, properties: dict[str, str] | None = None
) -> Iterator[Cluster]:
    """A cluster of `workers` Workers with `cores` cores and 2 GiB each; its logs are in `root`.

    `properties` are the Master's and the Workers', such as spark.worker.resource.gpu.amount.
    """
    cluster = Cluster(root, cores=cores, properties=properties or {})
    try:
        cluster.add_workers(workers)
        yield cluster
    finally:
        cluster.stop()


def _runs(process: psutil.Process, program: str) -> bool:
    try:
        return any(program in word for word in process.cmdline())
    except psutil.Error:
        return False


def _wait_for(log: Path, pattern: str, process: psutil.Popen) -> str:
    """The first group of what a log says, or all of it."""
    for _ in range(1800):
        if found := re.search(pattern, log.read_text(), re.IGNORECASE):
            return found.group(found.lastindex or 0)
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise AssertionError(log.read_text())
