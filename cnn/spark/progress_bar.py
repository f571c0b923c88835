"""Turns Spark's own progress bar off: in a notebook it fills the cell with red lines.

A session of this program has no bar (spark.ui.showConsoleProgress). A user's session has read that
setting when its context started: its bar is stopped, and the context gets a new one afterwards.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from pyspark import SparkContext


@contextlib.contextmanager
def without_console_bar(context: SparkContext) -> Iterator[None]:
    """Turns a session's bar off, and on again afterwards. If that fails, it stays as it is."""
    stopped = _stop(context)
    try:
        yield
    finally:
        if stopped:
            _start(context)


def _stop(context: SparkContext) -> bool:
    with contextlib.suppress(Exception):
        java: Any = context._jsc
        bar = java.sc().progressBar()
        if bar.isDefined():
            bar.get().stop()
            return True
    return False


def _start(context: SparkContext) -> None:
    """Gives the context a new bar: the timer of a stopped one cannot be started again."""
    with contextlib.suppress(Exception):
        java: Any = context._jsc
        jvm: Any = context._jvm
        bar = jvm.org.apache.spark.ui.ConsoleProgressBar(java.sc())
        # Scala's setter of a private field.
        setter = next(
            method
            for method in java.sc().getClass().getDeclaredMethods()
            if method.getName() == "_progressBar_$eq"
        )
        setter.setAccessible(True)
        gateway: Any = context._gateway
        arguments = gateway.new_array(jvm.java.lang.Object, 1)
        arguments[0] = jvm.scala.Option.apply(bar)
        setter.invoke(java.sc(), arguments)
