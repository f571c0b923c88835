"""Slots: how many tasks the executors that are there can run at a time."""

import math
import os
from typing import NamedTuple

from pyspark import SparkContext
from pyspark.resource import ResourceProfile as SparkResourceProfile
from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

from cnn.device import local_gpus
from cnn.session import LOCAL_CLUSTER, LOCAL_MASTER, failure
from cnn.settings import InputError, ResourceProfile, SearchSettings


class Slots(NamedTuple):
    """What the cluster has for tasks: slots over all executors, and cores of one executor."""

    total: int
    executor_cores: int
    task_cpus: int
    # In local mode: the devices from which trials lease one.
    gpus: tuple[str, ...] = ()

    def threads(self, parallelism: int) -> int:
        """Threads for each of `parallelism` tasks at a time: never more than cores on a host.

        As many as `spark.task.cpus` where all slots are in use; fewer tasks share the cores.
        """
        executors = max(1, self.total * self.task_cpus // self.executor_cores)
        together = math.ceil(parallelism / executors)
        return max(self.task_cpus, self.executor_cores // together, 1)


def count_slots(context: SparkContext, search: SearchSettings | None = None) -> Slots:
    """How many trials can run at a time, as Spark's master, its configuration and settings say."""
    search = search or SearchSettings()
    conf, master = context.getConf(), str(context.master)
    profile = search.resource_profile or ResourceProfile()
    task_cpus = profile.cpus or int(conf.get("spark.task.cpus", "1"))
    if match := LOCAL_MASTER.match(master):
        limit = match.group(1) or "1"
        cores = (os.cpu_count() or 1) if limit == "*" else int(limit)
        total = max(1, cores // task_cpus)
        gpus = local_gpus() if search.gpus is None else search.gpus
        if gpus:
            total = min(total, len(gpus) * search.trials_per_gpu)
        return Slots(total, max(1, cores), task_cpus, gpus)
    executors, executor_cores = _executors(context)
    each = executor_cores // task_cpus
    wanted = profile.gpus or float(conf.get("spark.task.resource.gpu.amount", "0"))
    if wanted > 0:
        # Fractions as Spark defines them: 0.5 puts two tasks on a GPU.
        there = float(conf.get("spark.executor.resource.gpu.amount", "0"))
        shared = there * math.floor(1 / wanted) if wanted < 1 else there // wanted
        each = min(each, int(shared))
    return Slots(max(1, executors * each), max(1, executor_cores), task_cpus)


def _executors(context: SparkContext) -> tuple[int, int]:
    """How many executors there are, or at most will be, and the cores of one."""
    conf = context.getConf()
    if match := LOCAL_CLUSTER.match(str(context.master)):
        return int(match.group(1)), int(match.group(2))
    cores = max(1, context.defaultParallelism)
    executor_cores = int(conf.get("spark.executor.cores", str(cores)))
    most = conf.get("spark.dynamicAllocation.maxExecutors")
    if conf.get("spark.dynamicAllocation.enabled") == "true" and most is not None:
        return int(most), executor_cores
    return max(1, cores // executor_cores), executor_cores


def task_profile(
    context: SparkContext, wanted: ResourceProfile | None
) -> SparkResourceProfile | None:
    """Spark's profile for trials that ask for resources of their own.

    Raises InputError where Spark cannot give them.
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
            "search.resource_profile must be one that Spark can give here, but "
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
