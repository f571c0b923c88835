"""Spark jobs of the driver, which are launched again if an executor was lost."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, Literal

from pyspark import SparkContext
from pyspark.resource import ResourceProfile

from cnn.core.clock import now
from cnn.core.errors import Error
from cnn.core.failure_reason import failure
from cnn.spark.interruptible import interruptible
from cnn.spark.task import Task

Kind = Literal["lost", "out_of_memory", "failed"]

# What Spark's cluster managers report of an executor that they ended because of its memory.
_MEMORY = re.compile(r"memory limits|OOMKilled|OutOfMemoryError|[Oo]ut of memory")
_LOST = re.compile(
    r"ExecutorLostFailure|Python worker (exited unexpectedly|failed to connect back"
    r"|process terminated due to idle timeout)|ExecutorDeadException|FetchFailed|StoreLost"
)


class TaskFailed(Exception):
    """A task returned nothing. `kind` tells whether its machine or the work itself failed."""

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.kind = kind


class SparkGone(Error):
    """Spark has ended while jobs were running, so their outcome is unknown."""

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
    """Runs task(argument) as a Spark job with one task.

    Args:
        context: The context of the session.
        task: What to run.
        argument: Its only argument.
        max_lost: How often it is repeated if its executor or worker was lost.
        profile: The resources that it needs, if they differ from Spark's settings.
        recover: Called after a loss; a value other than None is taken for the task's.
        cancelled: Whether the task need not be repeated any more.

    Raises:
        TaskFailed: The task returned nothing.
        SparkGone: Spark has ended.
    """

    def run() -> Any:
        launched = dataclasses.replace(task, launched=now())
        work = context.parallelize([argument], 1).map(launched)
        if profile is not None:
            work = work.withResources(profile)
        return work.collect()[0]

    return retry_if_lost(context, run, max_lost, recover=recover, cancelled=cancelled)


def retry_if_lost(
    context: SparkContext,
    run: Callable[[], Any],
    max_lost: int,
    *,
    recover: Callable[[], Any] = lambda: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Any:
    """Runs a Spark job, again up to `max_lost` times if it lost an executor or a worker.

    In a session with the settings TUNE every job fails with the first failure of a task, because
    Spark itself must not repeat a trial. Arguments and exceptions are those of `launch`.
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
    """Whether the Spark of a session has ended: it was stopped, or its JVM has died."""
    try:
        java: Any = context._jsc
        return bool(java.sc().isStopped())
    except Exception:
        # Its JVM has died, or another thread has found that out; py4j may then raise any error.
        return True


def _kind(reason: str) -> Kind:
    if _MEMORY.search(reason):
        return "out_of_memory"
    return "lost" if _LOST.search(reason) else "failed"


def _reason(error: Exception) -> str:
    """Spark's error without the stack of the JVM."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.startswith("\tat ")) or repr(error)
