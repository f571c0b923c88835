"""Whom the dispatcher talks to: who says which points to launch, and hears of results."""

from typing import Any

from cnn.search.hyperopt_documents import Point
from cnn.spark.task import Result


class Refused(Exception):
    """Says why a proposed point must not be launched; it is recorded and does not count."""


class Repeated(Exception):
    """A proposed point was launched before: another is drawn in its place."""


class Round:
    """Trials that Hyperopt is asked for together, as `Trials` sees them.

    This one launches every point and wants to know nothing, as `hyperopt.fmin` by itself would. A
    subclass overrides what it wants to decide or to know. All but `recover` is called in the
    thread that called fmin.
    """

    def prepare(self, point: Point) -> Any:
        """What the objective is called with for a proposed point. Raises Refused, Repeated."""
        return point

    def slots(self) -> int | None:
        """How many trials may run at the moment, where executors come and go; None: as many as
        the search was given (`parallelism`).
        """
        return None

    def launched(self, number: int, point: Point) -> None:
        """Trial `number` is on its way to an executor."""

    def recover(self, number: int) -> Result | None:
        """The result that a trial had left before its executor was lost, if it had."""
        return None

    def finished(self, number: int, point: Point, result: Result) -> None:
        """A trial has ended, or a point was refused; no other is proposed before this returns."""

    def stop(self) -> str | None:
        """Why the search is over, asked after each result; None while it goes on."""
        return None
