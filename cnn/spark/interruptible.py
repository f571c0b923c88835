"""Spark jobs that can be interrupted: the thread that receives signals does not wait for the JVM.

py4j keeps one connection per thread. If a thread is interrupted while it waits for an answer, its
next request gets the answer to the previous one, and only when the job has ended: the interruption
is delayed by hours, or lost.
"""

import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from pyspark import RDD, SparkContext

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_GROUP = "spark.jobGroup.id"
# How long a cancelled job may take to stop.
_STOP_SECONDS = 5.0
Value = TypeVar("Value")


def interruptible(context: SparkContext, run: Callable[[], Value]) -> Value:
    """Calls run(), which waits for a Spark job; an interrupt of the main thread cancels the job.

    In the main thread, run() is called in a new thread with the same job properties, such as the
    description. Any other thread is never interrupted, and just calls it.
    """
    if threading.current_thread() is not threading.main_thread():
        return run()
    java: Any = context._jsc
    properties = java.sc().getLocalProperties().clone()
    group = properties.getProperty(_GROUP)
    if group is None:
        group = f"job-{uuid.uuid4().hex[:12]}"
        properties.setProperty(_GROUP, group)
        properties.setProperty("spark.job.interruptOnCancel", "true")
    done: Future[Value] = Future()

    def work() -> None:
        try:
            java.sc().setLocalProperties(properties)
            done.set_result(run())
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=work, name="spark-job", daemon=True)
    thread.start()
    try:
        return done.result()
    except Exception:
        raise
    except BaseException:
        # If Spark has ended too, there is nothing to cancel.
        with suppress(Exception):
            context.cancelJobGroup(group)
            deadline = time.monotonic() + _STOP_SECONDS
            thread.join(_STOP_SECONDS)
            wait_until_gone(context, group, deadline)
        raise


def wait_until_gone(context: SparkContext, group: str, deadline: float) -> None:
    """Waits until no task of a job group runs, or until time.monotonic() reaches `deadline`."""
    tracker = context.statusTracker()
    while time.monotonic() < deadline:
        infos = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
        stages = [tracker.getStageInfo(stage) for i in infos if i for stage in i.stageIds]
        if not any(stage and stage.numActiveTasks for stage in stages):
            return
        time.sleep(0.1)


def collected(data: "RDD[Value] | DataFrame") -> list[Any]:
    """The rows of an RDD or a data frame, in a job that can be interrupted."""
    context = data.context if isinstance(data, RDD) else data.sparkSession.sparkContext
    return interruptible(context, data.collect)


@contextmanager
def delayed_interrupts() -> Iterator[None]:
    """Delays Ctrl-C and SIGTERM until the end of the block; a second signal takes effect at once.

    A JVM that loses its driver while it starts prints a page of errors.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    delayed: list[int] = []

    def delay(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if delayed and callable(handler):
            handler(number, frame)
        delayed.append(number)

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, delay)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if delayed:
            signal.raise_signal(delayed[0])
