"""Slots: how many tasks the available executors can run at the same time."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from pyspark import SparkContext
from pyspark.resource import ResourceProfile as SparkResourceProfile
from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

from cnn.core.console import say
from cnn.core.errors import InputError
from cnn.core.failure_reason import failure
from cnn.settings.schema import ResourceProfile, SearchSettings
from cnn.spark.gpus import local_gpus
from cnn.spark.session import LOCAL_CLUSTER, LOCAL_MASTER

# How long to wait for further executors if their number is unknown, how long before a message tells
# that there are none, and how long for executors that are missing from a known number.
_SETTLED_SECONDS, _PATIENCE_SECONDS, _LATE_SECONDS = 2.0, 15.0, 60.0


class Slots(NamedTuple):
    """What a cluster offers to tasks: the slots of all executors, and the cores of one executor."""

    total: int
    executor_cores: int
    task_cpus: int
    executors: int = 1
    # The devices that trials lease in local mode.
    gpus: tuple[str, ...] = ()

    def threads(self, parallelism: int) -> int:
        """Threads for each of `parallelism` concurrent tasks.

        At least `spark.task.cpus`. If not all slots are in use, the tasks share the spare cores.
        """
        together = math.ceil(parallelism / self.executors)
        return max(self.task_cpus, self.executor_cores // together, 1)


def count_slots(context: SparkContext, search: SearchSettings | None = None) -> Slots:
    """How many trials can run at the same time on the available executors.

    With dynamic allocation, on the maximum number of executors.
    """
    search = search or SearchSettings()
    conf, master = context.getConf(), str(context.master)
    profile = search.resource_profile or ResourceProfile()
    task_cpus = profile.cpus or int(conf.get("spark.task.cpus", "1"))
    if match := LOCAL_MASTER.match(master):
        limit = match.group(1) or "1"
        cores = _cores_of_jvm(context) if limit == "*" else int(limit)
        total = max(1, cores // task_cpus)
        gpus = local_gpus() if search.gpus is None else search.gpus
        if gpus:
            total = min(total, len(gpus) * search.trials_per_gpu)
        return Slots(total, max(1, cores), task_cpus, gpus=gpus)
    executors = _cores_of_executors(context) or [max(1, context.defaultParallelism)]
    most = conf.get("spark.dynamicAllocation.maxExecutors")
    if _is_dynamic(context) and most is not None:
        executors = [int(conf.get("spark.executor.cores", str(executors[0])))] * int(most)
    by_gpus = math.inf
    wanted = profile.gpus or float(conf.get("spark.task.resource.gpu.amount", "0"))
    if wanted > 0:
        # Fractions as Spark defines them: 0.5 puts two tasks on a GPU.
        there = float(conf.get("spark.executor.resource.gpu.amount", "0"))
        by_gpus = there * math.floor(1 / wanted) if wanted < 1 else there // wanted
    total = sum(int(min(cores // task_cpus, by_gpus)) for cores in executors)
    return Slots(max(1, total), min(executors), task_cpus, len(executors))


def _cores_of_jvm(context: SparkContext) -> int:
    """The cores of local[*]: those that CPU affinity and a container's quota allow the process."""
    jvm: Any = context._jvm
    return int(jvm.java.lang.Runtime.getRuntime().availableProcessors())


def slots_now(context: SparkContext, search: SearchSettings, slots: Slots) -> Callable[[], int]:
    """A function that returns the current number of slots, because executors come and go.

    `slots` is the result of the last count.
    """
    if LOCAL_MASTER.match(str(context.master)):
        return lambda: slots.total
    counted = {slots.executors: slots.total}

    def now() -> int:
        executors = _count_executors(context)
        if executors not in counted:
            counted.clear()
            counted[executors] = count_slots(context, search).total
        return counted[executors]

    return now


def wait_for_executors(context: SparkContext, say: Callable[[str], None] = say) -> None:
    """Waits for the executors that were requested, which a cluster starts one by one.

    If their number is unknown, waits until no more have started for a while. Waits for the first
    one without a limit, and prints a line after a while.
    """
    if LOCAL_MASTER.match(str(context.master)) or _is_dynamic(context):
        return
    expected = _expected_executors(context)
    began = changed = time.monotonic()
    there, said = 0, False
    while True:
        now, before = time.monotonic(), there
        there = _count_executors(context)
        if there != before:
            changed = now
        if expected is not None and there >= expected:
            return
        if there and now - changed >= (_SETTLED_SECONDS if expected is None else _LATE_SECONDS):
            return
        if not there and not said and now - began >= _PATIENCE_SECONDS:
            said = True
            say(
                "waiting for executors: the cluster has started none yet; if it is not busy, "
                "spark.executor.memory or spark.executor.cores may be more than any worker has"
            )
        time.sleep(0.1)


def _is_dynamic(context: SparkContext) -> bool:
    return context.getConf().get("spark.dynamicAllocation.enabled") == "true"


def _expected_executors(context: SparkContext) -> int | None:
    if match := LOCAL_CLUSTER.match(str(context.master)):
        return int(match.group(1))
    conf = context.getConf()
    if str(context.master).startswith("spark://"):
        # A standalone cluster does not guarantee spark.executor.instances.
        most, each = conf.get("spark.cores.max"), conf.get("spark.executor.cores")
        return int(most) // int(each) if most and each else None
    return int(conf.get("spark.executor.instances", "2"))


def _executor_list(context: SparkContext) -> Any:
    """The list that Spark's REST interface has at /executors; it exists without the UI as well."""
    assert context._jsc is not None
    return context._jsc.sc().statusStore().executorList(True)


def _count_executors(context: SparkContext) -> int:
    # The list includes the driver.
    return int(_executor_list(context).size()) - 1


def _cores_of_executors(context: SparkContext) -> list[int]:
    summaries = _executor_list(context)
    every = [summaries.apply(place) for place in range(summaries.size())]
    return [int(each.totalCores()) for each in every if each.id() != "driver"]


def task_profile(
    context: SparkContext, wanted: ResourceProfile | None
) -> SparkResourceProfile | None:
    """Spark's profile for trials that request their own resources; None if they do not.

    Raises InputError if Spark cannot provide them.
    """
    if wanted is None:
        return None
    requests = TaskResourceRequests()
    if wanted.cpus is not None:
        requests = requests.cpus(wanted.cpus)
    if wanted.gpus is not None:
        requests = requests.resource("gpu", wanted.gpus)
    profile = ResourceProfileBuilder().require(requests).build
    try:
        context.parallelize([0], 1).withResources(profile)
    except Exception as error:
        raise InputError(
            "search.resource_profile must be one that Spark can provide here, but "
            f"{wanted.model_dump(exclude_none=True)} is not: {failure(error)}"
        ) from None
    if (
        wanted.gpus is not None
        and float(context.getConf().get("spark.executor.resource.gpu.amount", "0")) < wanted.gpus
    ):
        raise InputError(
            "search.resource_profile.gpus must not be more than an executor has "
            f"(spark.executor.resource.gpu.amount), but got {wanted.gpus:g}"
        )
    return profile
