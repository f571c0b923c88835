"""The interface between the dispatcher and a round of trials."""

from typing import Any

from cnn.search.hyperopt_documents import Point
from cnn.spark.task import Result


class Refused(Exception):
    """Why a proposed point must not be launched. The point is recorded but not counted."""


class Repeated(Exception):
    """A proposed point was launched before; another is drawn instead."""


class Round:
    """What `Trials` asks and tells while one call of `hyperopt.fmin` runs.

    This class launches every point, as `hyperopt.fmin` by itself does. A subclass overrides what it
    wants to decide or to know. All methods except `recover` are called in fmin's thread.
    """

    def prepare(self, point: Point) -> Any:
        """The objective's argument for a proposed point. Raises Refused or Repeated."""
        return point

    def slots(self) -> int | None:
        """How many trials may run now, since executors come and go; None for `parallelism`."""
        return None

    def launched(self, number: int, point: Point) -> None:
        """Called when trial `number` is sent to an executor."""

    def recover(self, number: int) -> Result | None:
        """The result that a trial wrote before its executor was lost, if there is one."""
        return None

    def finished(self, number: int, point: Point, result: Result) -> None:
        """Called when a trial has ended or a point was refused, before the next is proposed."""

    def stop(self) -> str | None:
        """Why the search must end, asked after each result; None if it goes on."""
        return None
