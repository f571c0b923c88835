"""Hyperopt's SparkTrials with a dispatcher driven by events: each trial is one Spark task.

Stock SparkTrials polls, launches about one trial a second, forgets trials that failed, and hangs
where an early-stopping function meets an unfinished one. `Trials` keeps its interface:
`hyperopt.fmin(fn, space, algo, max_evals, trials=Trials(...))` works with any objective.

hyperopt is pinned exactly, since what is overridden here is not its public interface.
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, SparkTrials, base
from hyperopt.utils import coarse_utcnow
from pyspark import inheritable_thread_target
from pyspark.sql import SparkSession

from cnn.space import Point, Suggest, point_of
from cnn.worker import NUMBER_PROPERTY, Guarded

# Proposals in a row that cannot be built before the search of a phase gives up.
MAX_REFUSALS = 1000

Result = dict[str, Any]
Document = dict[str, Any]


class Refused(Exception):
    """Says why a proposed point must not be launched."""


class Trials(SparkTrials):
    """SparkTrials that launches at once when a slot is free and knows every result by then.

    `prepare(point)` makes of a point what the objective is called with on an executor; it may
    raise Refused, and such trials do not count towards max_evals. `on_launch(number)` and
    `on_result(number, point, result)` are called in the thread that called fmin, the latter before
    anything more is proposed. In its task the objective finds its number by `trial_number()`.
    Results of failed trials have the status "fail" and stay known to the proposer.
    """

    def __init__(
        self,
        spark: SparkSession,
        parallelism: int,
        *,
        first_number: int = 0,
        timeout: float | None = None,
        prepare: Callable[[Point], Any] = lambda point: point,
        on_launch: Callable[[int], None] = lambda number: None,
        on_result: Callable[[int, Point, Result], None] = lambda number, point, result: None,
    ) -> None:
        super().__init__(parallelism=parallelism, timeout=timeout, spark_session=spark)
        self._next_number = first_number
        self._prepare = prepare
        self._on_launch = on_launch
        self._on_result = on_result
        self._finished: queue.SimpleQueue[tuple[Document, Point, Result]] = queue.SimpleQueue()
        self._group = f"trials-{uuid.uuid4().hex[:12]}"

    def new_trial_ids(self, n: int) -> list[int]:
        """The next numbers; hyperopt's own way counts documents and repeats numbers after gaps."""
        numbers = list(range(self._next_number, self._next_number + n))
        self._next_number += n
        self._ids.update(numbers)
        return numbers

    def fmin(
        self,
        fn: Callable[[Any], Result | float],
        space: Any,
        algo: Suggest,
        max_evals: int,
        timeout: float | None,
        loss_threshold: float | None,
        max_queue_len: int,
        rstate: np.random.Generator,
        *args: Any,
        return_argmin: bool = True,
        early_stop_fn: Callable[..., tuple[bool, Any]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Called by hyperopt.fmin; see there. Ends early at the timeout or when algo is exhausted.

        What runs when the time is up, or when the caller is interrupted, is cancelled.
        """
        domain = base.Domain(fn, space)
        limit = self.timeout if self.timeout is not None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        running: dict[int, tuple[Document, Point]] = {}
        launched, exhausted = 0, False
        early_stop_args: Any = []
        try:
            while True:
                while (
                    not (exhausted or self._fmin_cancelled)
                    and len(running) < self.parallelism
                    and launched < max_evals
                ):
                    proposal = self._propose(domain, algo, rstate)
                    if proposal is None:
                        exhausted = True
                        break
                    document, point, argument = proposal
                    running[document["tid"]] = document, point
                    launched += 1
                    self._launch(fn, document, point, argument)
                if not running:
                    break
                finished = self._wait(deadline)
                if finished is None:
                    self._cancel("fmin run timeout")
                    break
                document, point, result = finished
                del running[document["tid"]]
                self._record(document, point, result)
                if loss_threshold is not None and _loss(result) <= loss_threshold:
                    self._cancel("loss threshold reached")
                    break
                if early_stop_fn is not None and result["status"] == STATUS_OK:
                    done = base.trials_from_docs(
                        [d for d in self._dynamic_trials if d["state"] == base.JOB_STATE_DONE]
                    )
                    stop, early_stop_args = early_stop_fn(done, *early_stop_args)
                    if stop:
                        self._cancel("early stopping condition")
                        break
        except BaseException:
            self._cancel("fmin run cancelled by user")
            raise
        finally:
            for document, point in running.values():
                cancelled = {"status": STATUS_FAIL, "cancelled": True}
                self._record(document, point, cancelled, base.JOB_STATE_CANCEL)
            self.refresh()
        return self.argmin if return_argmin else None

    def _propose(
        self, domain: base.Domain, algo: Suggest, rstate: np.random.Generator
    ) -> tuple[Document, Point, Any] | None:
        """The next trial to launch, or None where the strategy has no more."""
        for _ in range(MAX_REFUSALS):
            numbers = self.new_trial_ids(1)
            self.refresh()
            documents = algo(numbers, domain, self, int(rstate.integers(2**31 - 1)))
            if not documents:
                return None
            self.insert_trial_docs(documents)
            self.refresh()
            document = self._dynamic_trials[-1]
            point = point_of(domain, document)
            try:
                return document, point, self._prepare(point)
            except Refused as reason:
                refusal = {"status": STATUS_FAIL, "refused": str(reason)}
                self._record(document, point, refusal)
        return None

    def _record(
        self,
        document: Document,
        point: Point,
        result: Result,
        state: int = base.JOB_STATE_DONE,
    ) -> None:
        document["result"] = result
        document["state"] = state
        document["refresh_time"] = coarse_utcnow()
        self._on_result(document["tid"], point, result)

    def _wait(self, deadline: float | None) -> tuple[Document, Point, Result] | None:
        """The next finished trial, or None when the time is up first."""
        try:
            timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
            return self._finished.get(timeout=timeout)
        except queue.Empty:
            return None

    def _launch(
        self,
        fn: Callable[[Any], Result | float],
        document: Document,
        point: Point,
        argument: Any,
    ) -> None:
        document["state"] = base.JOB_STATE_RUNNING
        document["book_time"] = document["refresh_time"] = coarse_utcnow()
        number = document["tid"]
        self._on_launch(number)
        context = self._spark_context
        group = self._group

        def run() -> None:
            try:
                context.setJobGroup(group, f"trial {number}", interruptOnCancel=True)
                context.setLocalProperty(NUMBER_PROPERTY, str(number))
                answer = context.parallelize([argument], 1).map(Guarded(fn)).collect()[0]
                result = _as_result(answer)
            except Exception as error:
                result = {"status": STATUS_FAIL, "error": _spark_error(error)}
            self._finished.put((document, point, result))

        target = inheritable_thread_target(self._spark)(run)
        threading.Thread(target=target, name=f"trial-{number}", daemon=True).start()

    def _cancel(self, reason: str) -> None:
        self._fmin_cancelled = True
        self._fmin_cancelled_reason = reason
        self._spark_context.cancelJobGroup(self._group)


def _as_result(answer: Result | float) -> Result:
    """What an objective returned, in the form of a result with a valid status and loss."""
    if isinstance(answer, int | float | np.number):
        answer = {"loss": float(answer), "status": STATUS_OK}
    status = answer.get("status")
    if status not in base.STATUS_STRINGS:
        return {"status": STATUS_FAIL, "error": f"an objective's status must be known: {status!r}"}
    if status == STATUS_OK and not np.isfinite(_loss(answer)):
        return {**answer, "status": STATUS_FAIL, "error": "an objective's loss must be finite"}
    return answer


def _loss(result: Result) -> float:
    loss = result.get("loss")
    return float("inf") if loss is None else float(loss)


def _spark_error(error: Exception) -> str:
    """What ended a task that returned nothing, without the JVM's own stack."""
    lines = str(error).splitlines()
    return "\n".join(line for line in lines if not line.startswith("\tat ")) or repr(error)
