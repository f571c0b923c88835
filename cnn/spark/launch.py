"""Spark jobs as the driver sees them: launched again where an executor was lost."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Literal

from pyspark import SparkContext
from pyspark.resource import ResourceProfile

from cnn.core.clock import now
from cnn.core.errors import Error, failure
from cnn.spark.interruptible import interruptible
from cnn.spark.task import Task

Kind = Literal["lost", "out_of_memory", "failed"]

# What Spark's cluster managers say of an executor that they ended for its memory.
_MEMORY = re.compile(r"memory limits|OOMKilled|OutOfMemoryError|[Oo]ut of memory")
_LOST = re.compile(
    r"ExecutorLostFailure|Python worker (exited unexpectedly|failed to connect back"
    r"|process terminated due to idle timeout)|ExecutorDeadException|FetchFailed|StoreLost"
)


class TaskFailed(Exception):
    """A task that returned nothing. `kind` tells whether its machine failed or the work did."""

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.kind = kind


class SparkGone(Error):
    """Spark has ended under its jobs, so that nothing is known of what they came to."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"Spark has ended: {failure(error)}")


def launch(
    context: SparkContext,
    task: Task,
    argument: Any,
    *,
    max_lost: int = 0,
    profile: ResourceProfile | None = None,
    recover: Callable[[], Any] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Any:
    """Runs task(argument) as a Spark job of one task, and again up to `max_lost` times.

    After a loss `recover()` may have the value nevertheless. Raises TaskFailed, SparkGone.
    """

    def run() -> Any:
        launched = dataclasses.replace(task, launched=now())
        work = context.parallelize([argument], 1).map(launched)
        if profile is not None:
            work = work.withResources(profile)
        return work.collect()[0]

    return again_where_lost(context, run, max_lost, recover=recover, cancelled=cancelled)


def again_where_lost(
    context: SparkContext,
    run: Callable[[], Any],
    max_lost: int,
    *,
    recover: Callable[[], Any] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Any:
    """Runs a Spark job, and again up to `max_lost` times where it lost an executor or a worker.

    As a trial's task fails for good with its first failure (cnn.spark.session.TUNE), so does every
    job of its session. Raises TaskFailed, SparkGone.
    """
    for _ in range(max_lost + 1):
        try:
            return interruptible(context, run)
        except Exception as error:
            if is_gone(context):
                raise SparkGone(error) from None
            failed = TaskFailed(_reason(error), _kind(str(error)))
        if failed.kind != "lost" or cancelled():
            break
        value = recover()
        if value is not None:
            return value
    raise failed


def is_gone(context: SparkContext) -> bool:
    """Whether a session's Spark has ended: it was stopped, or its JVM died."""
    try:
        java: Any = context._jsc
        return bool(java.sc().isStopped())
    except Exception:
        # Its JVM has died, or another thread has found that out; what py4j then raises is anything.
        return True


def _kind(reason: str) -> Kind:
    if _MEMORY.search(reason):
        return "out_of_memory"
    return "lost" if _LOST.search(reason) else "failed"


def _reason(error: Exception) -> str:
    """What Spark says, without the JVM's own stack."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.startswith("\tat ")) or repr(error)
