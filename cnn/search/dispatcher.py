"""Hyperopt's SparkTrials with a dispatcher driven by events: each trial is one Spark task.

Stock SparkTrials polls, launches about one trial a second, forgets trials that failed, and hangs
where an early-stopping function meets an unfinished one. `Trials` keeps its interface:
`hyperopt.fmin(fn, space, algo, max_evals, trials=Trials(...))` works with any objective.

hyperopt is pinned exactly, since what is overridden here is not its public interface.
"""

import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, SparkTrials, base
from hyperopt.utils import coarse_utcnow
from py4j.protocol import Py4JError
from pyspark import inheritable_thread_target
from pyspark.resource import ResourceProfile
from pyspark.sql import SparkSession

from cnn.search.space import Point, document_of, point_of
from cnn.search.strategies import Suggest
from cnn.spark.child import Ended
from cnn.spark.interruptible import wait_until_gone
from cnn.spark.launch import SparkGone, TaskFailed, is_gone, launch
from cnn.spark.task import Isolation, Result, Task, conclude

# Proposals in a row that cannot be launched before the search gives up.
MAX_REFUSALS = 1000
# How long trials that were told to stop may take to be gone.
_STOP_SECONDS = 15.0
# How soon a slot is noticed that no trial has freed: that of an executor that has come.
_LOOK_SECONDS = 5.0
# Hyperopt's own word for it.
TIMEOUT = "fmin run timeout"
Document = dict[str, Any]
Finished = tuple[Document, Point, Result | SparkGone]


class Refused(Exception):
    """Says why a proposed point must not be launched; it is recorded and does not count."""


class Repeated(Exception):
    """A proposed point was launched before: another is drawn in its place."""


class Trials(SparkTrials):
    """SparkTrials that launches at once when a slot is free and knows every result by then.

    Each trial runs in a process of its own (`isolation`), in which the objective finds its number
    by `trial_number()`; `conclude(number, argument, ended)` makes the result where that process
    was, and `before()` sees to what its host must have, before the trial's time begins. A trial
    whose executor is lost is launched again up to `max_lost` times, unless `recover(number)` has
    its result. Where executors come and go, `slots()` says how many trials may run at the moment,
    in place of `parallelism`.

    `prepare(point)` makes of a point what the objective is called with; it may raise Refused or
    Repeated. `on_launch(number, point)` and `on_result(number, point, result)` are called in the
    thread that called fmin, the latter before anything more is proposed; then `stop()` may give a
    reason to end the search. Failed trials have the status "fail" and stay known to the proposer.
    """

    # Threads that wait, one a trial, are cheap.
    MAX_CONCURRENT_JOBS_ALLOWED = 4096

    def __init__(
        self,
        spark: SparkSession,
        parallelism: int,
        *,
        first_number: int = 0,
        timeout: float | None = None,
        isolation: Isolation | None = None,
        max_lost: int = 2,
        profile: ResourceProfile | None = None,
        conclude: Callable[[int, Any, Ended], Result | float] = conclude,
        recover: Callable[[int], Result | None] = lambda number: None,
        prepare: Callable[[Point], Any] = lambda point: point,
        before: Callable[[], None] = lambda: None,
        on_launch: Callable[[int, Point], None] = lambda number, point: None,
        on_result: Callable[[int, Point, Result], None] = lambda number, point, result: None,
        stop: Callable[[], str | None] = lambda: None,
        slots: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(parallelism=parallelism, timeout=timeout, spark_session=spark)
        self._next_number = first_number
        self._isolation = isolation or Isolation()
        self._max_lost = max_lost
        self._profile = profile
        self._conclude = conclude
        self._recover = recover
        self._prepare = prepare
        self._before = before
        self._on_launch = on_launch
        self._on_result = on_result
        self._stop = stop
        self._slots = slots or (lambda: self.parallelism)
        self._finished: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._group = f"trials-{uuid.uuid4().hex[:12]}"
        self._threads: dict[int, threading.Thread] = {}
        # Trials of an earlier run of this search that count towards max_evals.
        self._counted = 0

    def add_finished(
        self, number: int, vals: Mapping[str, list[Any]], result: Result, *, counts: bool = True
    ) -> None:
        """Takes in a trial of an earlier run: its number is not given again.

        `vals` is the point in Hyperopt's encoding (`misc.vals` of a document).
        """
        self.insert_trial_docs([document_of(number, vals, result, base.JOB_STATE_DONE)])
        self._ids.add(number)
        self._counted += counts

    def new_trial_ids(self, n: int) -> list[int]:
        """The next free numbers; hyperopt counts documents and repeats numbers after gaps."""
        numbers: list[int] = []
        while len(numbers) < n:
            if self._next_number not in self._ids:
                numbers.append(self._next_number)
            self._next_number += 1
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

        What runs when the search ends, or when the caller is interrupted, is cancelled, and is gone
        when this returns.
        """
        self._fmin_cancelled = False
        self._fmin_cancelled_reason: str | None = None
        domain = base.Domain(fn, space)
        limit = self.timeout if self.timeout is not None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        running: dict[int, tuple[Document, Point]] = {}
        launched, exhausted = self._counted, False
        ended = _Ending(loss_threshold, early_stop_fn, self._stop)
        try:
            while True:
                while not exhausted and launched < max_evals and len(running) < self._slots():
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
                    if deadline is None or time.monotonic() < deadline:
                        continue
                    self._cancel(TIMEOUT)
                    break
                document, point, result = finished
                if isinstance(result, SparkGone):
                    raise result
                del running[document["tid"]]
                # A configuration that turned out to be impossible was no trial.
                launched -= bool(result.get("refused"))
                self._record(document, point, result)
                reason = ended.reason(result, self._dynamic_trials)
                if reason is not None:
                    self._cancel(reason)
                    break
        except BaseException as error:
            # With Spark went all that ran, and whoever could be told to cancel it.
            if not is_gone(self._spark_context):
                self._cancel("fmin run cancelled by user")
            elif isinstance(error, Py4JError | OSError):
                raise SparkGone(error) from None
            raise
        finally:
            if self._fmin_cancelled:
                self._wait_until_gone()
            for document, point in running.values():
                cancelled = {"status": STATUS_FAIL, "cancelled": True}
                self._record(document, point, cancelled, base.JOB_STATE_CANCEL)
            self.refresh()
        return self.argmin if return_argmin else None

    def _propose(
        self, domain: base.Domain, algo: Suggest, rstate: np.random.Generator
    ) -> tuple[Document, Point, Any] | None:
        """The next trial to launch, or None where the strategy has no more."""
        numbers = self.new_trial_ids(1)
        for _ in range(MAX_REFUSALS):
            self.refresh()
            documents = algo(numbers, domain, self, int(rstate.integers(2**31 - 1)))
            if not documents:
                return None
            point = point_of(domain, documents[0])
            try:
                argument = self._prepare(point)
            except Repeated:
                continue
            except Refused as reason:
                refusal = {"status": STATUS_FAIL, "refused": str(reason)}
                self._record(self._insert(documents), point, refusal)
                numbers = self.new_trial_ids(1)
                continue
            return self._insert(documents), point, argument
        return None

    def _insert(self, documents: list[Document]) -> Document:
        self.insert_trial_docs(documents)
        document: Document = self._dynamic_trials[-1]
        return document

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

    def _wait(self, deadline: float | None) -> Finished | None:
        """The next finished trial, or None where there is none before the time is up, or before
        it is worth a look whether there are more slots.
        """
        left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            timeout = min(left, _LOOK_SECONDS)
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
        self._on_launch(number, point)

        def run() -> None:
            result: Result | SparkGone
            try:
                result = self._run(fn, number, argument)
            except SparkGone as error:
                result = error
            except BaseException as error:
                result = {"status": STATUS_FAIL, "error": repr(error)}
            self._threads.pop(number, None)
            self._finished.put((document, point, result))

        target = inheritable_thread_target(self._spark)(run)
        thread = threading.Thread(target=target, name=f"trial-{number}", daemon=True)
        self._threads[number] = thread
        thread.start()

    def _run(self, fn: Callable[[Any], Result | float], number: int, argument: Any) -> Result:
        context = self._spark_context
        context.setJobGroup(self._group, f"trial {number}", interruptOnCancel=True)
        try:
            answer = launch(
                context,
                Task(fn, self._isolation, self._conclude, number, self._before),
                argument,
                max_lost=self._max_lost,
                profile=self._profile,
                recover=lambda: self._recover(number),
                cancelled=lambda: self._fmin_cancelled,
            )
        except TaskFailed as error:
            return {"status": STATUS_FAIL, "error": str(error), "kind": error.kind}
        return _as_result(answer)

    def _cancel(self, reason: str) -> None:
        self._fmin_cancelled = True
        self._fmin_cancelled_reason = reason
        self._spark_context.cancelJobGroup(self._group)

    def _wait_until_gone(self) -> None:
        """After a cancel: until no trial holds a slot or a GPU any more."""
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        wait_until_gone(self._spark_context, self._group, deadline)


class _Ending:
    """When a search is over before all its trials are: hyperopt's rules, and the caller's."""

    def __init__(
        self,
        loss_threshold: float | None,
        early_stop_fn: Callable[..., tuple[bool, Any]] | None,
        stop: Callable[[], str | None],
    ) -> None:
        self._loss_threshold = loss_threshold
        self._early_stop_fn = early_stop_fn
        self._early_stop_args: Any = []
        self._stop = stop

    def reason(self, result: Result, documents: list[Document]) -> str | None:
        if self._loss_threshold is not None and _loss(result) <= self._loss_threshold:
            return "loss threshold reached"
        if self._early_stop_fn is not None and result["status"] == STATUS_OK:
            # It reads losses: only those are shown that have one.
            done = [d for d in documents if d["state"] == base.JOB_STATE_DONE]
            scored = [d for d in done if d["result"].get("loss") is not None]
            trials = base.trials_from_docs(scored)
            stop, self._early_stop_args = self._early_stop_fn(trials, *self._early_stop_args)
            if stop:
                return "early stopping condition"
        return self._stop()


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
