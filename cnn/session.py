"""The Spark session of a job: what Spark must have set, where the user has not set it."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from cnn.daemon import PRELOAD
from cnn.settings import InputError

# A trial's process is forked from a daemon that has the framework imported, and is used once: its
# memory and its device are free again when the task has ended.
TUNE = {
    "spark.python.daemon.module": "cnn.daemon",
    "spark.python.worker.reuse": "false",
    f"spark.executorEnv.{PRELOAD}": "1",
    # Errors are raised as exceptions as well; the rest is chatter about hardware that is not there.
    "spark.executorEnv.TF_CPP_MIN_LOG_LEVEL": "3",
    # TensorFlow gives its large buffers back after each operation. Where glibc hands them on to the
    # kernel, every operation pays for fresh pages: a third of a training step, measured.
    "spark.executorEnv.MALLOC_MMAP_MAX_": "0",
    "spark.executorEnv.MALLOC_TRIM_THRESHOLD_": str(2**40),
    "spark.executorEnv.MALLOC_TOP_PAD_": str(2**26),
    # A second copy of a slow trial would only take its cores.
    "spark.speculation": "false",
}
_QUIET = {"spark.ui.showConsoleProgress": "false", "spark.log.level": "ERROR"}
# A laptop's ports are nobody else's business.
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
_LOCAL_MASTER = re.compile(r"local(?:\[(\*|\d+)(?:,\s*(?:\*|\d+))?\])?$")
_LOCAL_CLUSTER = re.compile(r"local-cluster\[(\d+),\s*(\d+),\s*\d+\]$")


@contextmanager
def spark_session(name: str, required: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session that is stopped at the end. What the user has configured stays as it is."""
    # The JVM has read the command line and Spark's files when it is up; only then is it known
    # what the user has set. A context needs some of the rest before it starts.
    SparkContext._ensure_initialized()
    conf = SparkConf()
    conf.setIfMissing("spark.master", "local[*]")
    defaults = _QUIET | dict(required or {})
    if conf.get("spark.master", "").startswith("local"):
        defaults = defaults | _LOCAL
        if os.environ.get("SPARK_LOCAL_IP") in {"127.0.0.1", "localhost"}:
            # The UI binds to this address alone, so it may be on.
            del defaults["spark.ui.enabled"]
        if conf.get("spark.task.resource.gpu.amount"):
            raise InputError(
                "spark.task.resource.gpu.amount must not be set in local mode, where Spark cannot "
                f"give out GPUs and waits for ever, but got "
                f"{conf.get('spark.task.resource.gpu.amount')}"
            )
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    spark = SparkSession.builder.appName(name).config(conf=conf).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def failure(error: Exception) -> str:
    """What a failed Spark job failed of, in one line: the first error that is not Spark's frame."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
    inner = [
        line for line in named if not re.search(r"Py4JJavaError|Job aborted|occurred while", line)
    ]
    causes = [re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line) for line in inner]
    return (causes or named or lines or ["for no stated reason"])[0]


class Slots(NamedTuple):
    """What the cluster has for tasks: slots over all executors, and cores of one executor."""

    total: int
    executor_cores: int
    task_cpus: int

    def threads(self, parallelism: int) -> int:
        """Threads for each of `parallelism` tasks at a time: never more than cores on a host."""
        executors = max(1, self.total * self.task_cpus // self.executor_cores)
        together = math.ceil(parallelism / executors)
        return max(self.task_cpus, self.executor_cores // together, 1)


def count_slots(context: SparkContext) -> Slots:
    """How many tasks can run at a time, as Spark's master and configuration say."""
    conf, master = context.getConf(), str(context.master)
    task_cpus = int(conf.get("spark.task.cpus", "1"))
    cores = max(1, context.defaultParallelism)
    if match := _LOCAL_MASTER.match(master):
        limit = match.group(1) or "1"
        executor_cores = (os.cpu_count() or 1) if limit == "*" else int(limit)
        cores = executor_cores
    elif match := _LOCAL_CLUSTER.match(master):
        executor_cores = int(match.group(2))
        cores = int(match.group(1)) * executor_cores
    else:
        executor_cores = int(conf.get("spark.executor.cores", str(cores)))
    return Slots(max(1, cores // task_cpus), max(1, executor_cores), task_cpus)
