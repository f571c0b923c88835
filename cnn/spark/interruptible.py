"""Spark jobs that can be interrupted: the thread that signals come to does not wait for the JVM.

py4j keeps one connection for each thread. Where that thread is interrupted while it waits for an
answer, what it asks next gets the answer to the question before, and not until the job has ended:
the interruption is delayed by hours or lost.
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
# How long a job that was told to stop may take to be gone.
_STOP_SECONDS = 5.0
Value = TypeVar("Value")


def interruptible(context: SparkContext, run: Callable[[], Value]) -> Value:
    """run(), which waits for a Spark job; what interrupts the main thread cancels the job.

    It runs in a thread of its own, with the description and the other properties that jobs of this
    thread have. In another thread than the main one, which nothing interrupts, it is just called.
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
        # Where Spark has ended too there is nothing to cancel.
        with suppress(Exception):
            context.cancelJobGroup(group)
            deadline = time.monotonic() + _STOP_SECONDS
            thread.join(_STOP_SECONDS)
            wait_until_gone(context, group, deadline)
        raise


def wait_until_gone(context: SparkContext, group: str, deadline: float) -> None:
    """Waits until no task of a job group runs any more, by time.monotonic() at most until then."""
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
def interrupted_later() -> Iterator[None]:
    """Puts Ctrl-C and SIGTERM off until the end of the block; the second one is for now.

    A JVM that loses its driver while it starts says so in a page.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    put_off: list[int] = []

    def later(number: int, frame: FrameType | None) -> None:
        handler = handlers[signal.Signals(number)]
        if put_off and callable(handler):
            handler(number, frame)
        put_off.append(number)

    for number, handler in handlers.items():
        if callable(handler):
            signal.signal(number, later)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if put_off:
            signal.raise_signal(put_off[0])
