"""The executor's side: a task runs its work in a child process and reports how that ended."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cnn.spark.child import Ended, Method, supervise
from cnn.spark.gpus import environment_for, gpus_of_task, lease

_NUMBER = "CNN_TRIAL_NUMBER"
# A trial's result in Hyperopt's form: {"status": "ok", "loss": ...} or {"status": "fail", ...}.
Result = dict[str, Any]


@dataclass(frozen=True)
class Isolation:
    """How a task's work is isolated from other tasks."""

    method: Method = "fork"
    # Seconds after which the work is killed.
    timeout: float | None = None
    threads: int | None = None
    # Devices to lease if Spark assigns none (local mode).
    gpus: tuple[str, ...] = ()
    trials_per_gpu: int = 1


@dataclass(frozen=True)
class Task:
    """function(argument) in a child process; `conclude` turns its end into the driver's result."""

    function: Callable[[Any], Any]
    isolation: Isolation
    conclude: Callable[[int, Any, Ended], Any]
    number: int = 0
    # Prepares the host, before the time of the work counts.
    before: Callable[[], None] = lambda: None
    launched: datetime | None = None

    def __call__(self, argument: Any) -> Any:
        self.before()
        with _gpus(self.isolation) as gpus:
            ended = supervise(
                self.function,
                argument,
                method=self.isolation.method,
                timeout=self.isolation.timeout,
                environment={
                    **environment_for(self.isolation.threads, gpus),
                    _NUMBER: str(self.number),
                },
            )
        if self.launched is not None:
            waited = max(0.0, (ended.started - self.launched).total_seconds())
            ended = dataclasses.replace(ended, launch_seconds=waited)
        return self.conclude(self.number, argument, ended)


def conclude(number: int, argument: Any, ended: Ended) -> Result | float:
    """The value of an objective, or a failed result with the evidence."""
    if ended.returned:
        returned: Result | float = ended.value
        return returned
    return {"status": "fail", "error": ended.evidence(), "reason": ended.reason}


def value_or_evidence(number: int, argument: Any, ended: Ended) -> Any:
    """What the function returned, or the evidence, a string, if it failed or its process died."""
    return ended.value if ended.returned else ended.evidence()


def trial_number() -> int:
    """The number of the trial in whose process this is called."""
    number = os.environ.get(_NUMBER)
    if number is None:
        raise RuntimeError("trial_number must be called in the process of a trial, but was not")
    return int(number)


@contextmanager
def _gpus(isolation: Isolation) -> Iterator[Sequence[str] | None]:
    """The GPUs that this task may use; None if none are assigned or leased."""
    given = gpus_of_task()
    if given is None and isolation.gpus:
        with lease(isolation.gpus, isolation.trials_per_gpu) as gpu:
            yield [gpu]
    else:
        yield given
