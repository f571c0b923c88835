"""The executor's side: a task runs its work in a process of its own and says how that ended."""

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
# A trial's result as Hyperopt keeps it: {"status": "ok", "loss": ...}, {"status": "fail", ...}.
Result = dict[str, Any]


@dataclass(frozen=True)
class Isolation:
    """How a task's work is set apart."""

    method: Method = "fork"
    # Seconds after which the work is killed.
    timeout: float | None = None
    threads: int | None = None
    # Devices to lease from where Spark gives out none (local mode).
    gpus: tuple[str, ...] = ()
    trials_per_gpu: int = 1


@dataclass(frozen=True)
class Task:
    """function(argument) in a child process; `conclude` makes of its end what the driver gets."""

    function: Callable[[Any], Any]
    isolation: Isolation
    conclude: Callable[[int, Any, Ended], Any]
    number: int = 0
    # What a host must have before the work's clock starts.
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
    """What an objective returned, or a failed result with the evidence."""
    if ended.returned:
        returned: Result | float = ended.value
        return returned
    return {"status": "fail", "error": ended.evidence(), "reason": ended.reason}


def trial_number() -> int:
    """The number of the trial in whose process this is called."""
    number = os.environ.get(_NUMBER)
    if number is None:
        raise RuntimeError("trial_number must be called in a trial's own process")
    return int(number)


@contextmanager
def _gpus(isolation: Isolation) -> Iterator[Sequence[str] | None]:
    """The GPUs that this task may use; None where nothing is known of any."""
    given = gpus_of_task()
    if given is None and isolation.gpus:
        with lease(isolation.gpus, isolation.trials_per_gpu) as gpu:
            yield [gpu]
    else:
        yield given
