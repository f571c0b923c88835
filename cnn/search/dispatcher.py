"""Hyperopt's SparkTrials with a dispatcher driven by events: each trial is one Spark task.

Hyperopt's own SparkTrials polls, launches about one trial per second, forgets failed trials, and
hangs if an early-stopping function meets an unfinished trial. `Trials` keeps its interface:
`hyperopt.fmin(fn, space, algo, max_evals, trials=Trials(...))` works with any objective.

hyperopt is pinned to an exact version because this module overrides methods that are not public.
"""

import math
import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from itertools import count, islice
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, SparkTrials, base
from hyperopt.utils import coarse_utcnow
from py4j.protocol import Py4JError
from pyspark import inheritable_thread_target
from pyspark.resource import ResourceProfile
from pyspark.sql import SparkSession

from cnn.search.hyperopt_documents import Point, document_of, point_of
from cnn.search.hyperopt_rules import StopRules, as_result
from cnn.search.round import Refused, Repeated, Round
from cnn.search.strategies import Suggest
from cnn.spark.interruptible import wait_until_gone
from cnn.spark.retry import SparkGone, TaskFailed, is_gone, launch
from cnn.spark.task import Isolation, Result, Task, conclude

# The search ends after this many proposals in a row that cannot be launched.
MAX_REFUSALS = 1000
# How long cancelled trials may take to end.
_STOP_SECONDS = 15.0
# How often the number of slots is read again: new executors bring slots that no trial has freed.
_SLOTS_SECONDS = 5.0
# Hyperopt's reason for a search that its timeout ended.
TIMEOUT = "fmin run timeout"
Document = dict[str, Any]
Objective = Callable[[Any], Result | float]
Finished = tuple[Document, Point, Result | SparkGone]


class Trials(SparkTrials):
    """SparkTrials that launches a trial as soon as a slot is free and every result is recorded.

    Args:
        spark: A classic session, not one of Spark Connect.
        parallelism: How many trials run at the same time, unless `round` says otherwise.
        first_number, taken: The number of the first trial, and later ones that others have.
        timeout: Seconds after which running trials are cancelled and the search ends.
        isolation: How a trial's process is isolated; it has `cnn.spark.task.trial_number()`.
        max_lost: How often a trial is launched again after its executor was lost.
        profile: The resources of each trial, if the session's settings are not to apply.
        round: Decides which points are launched and receives every result.

    An objective may have two methods that its task calls outside the trial's process: `before()`
    prepares the host before the trial's time begins, and `conclude(number, argument, ended)` makes
    the result from how the process ended.

    A failed trial has the status "fail"; the algorithm sees it like any other.

    >>> from hyperopt import fmin, hp, rand
    >>> trials = Trials(spark, parallelism=2)
    >>> space = {"x": hp.uniform("x", -1, 1)}
    >>> best = fmin(lambda p: p["x"] ** 2, space, rand.suggest, 4, trials=trials, verbose=False)
    >>> len(trials.losses())
    4
    """

    # Each trial has a thread that only waits, which costs little.
    MAX_CONCURRENT_JOBS_ALLOWED = 4096

    def __init__(
        self,
        spark: SparkSession,
        parallelism: int,
        *,
        first_number: int = 0,
        taken: Collection[int] = (),
        timeout: float | None = None,
        isolation: Isolation | None = None,
        max_lost: int = 2,
        profile: ResourceProfile | None = None,
        round: Round | None = None,
    ) -> None:
        super().__init__(parallelism=parallelism, timeout=timeout, spark_session=spark)
        self._first_number = first_number
        self._ids.update(taken)
        self._isolation = isolation or Isolation()
        self._max_lost = max_lost
        self._profile = profile
        self._round = round or Round()
        self._finished: queue.SimpleQueue[Finished] = queue.SimpleQueue()
        self._group = f"trials-{uuid.uuid4().hex[:12]}"
        self._threads: dict[int, threading.Thread] = {}
        # Trials of an earlier run of this search that count towards max_evals.
        self._counted = 0

    def add_finished(
        self, number: int, vals: Mapping[str, list[Any]], result: Result, *, counts: bool = True
    ) -> None:
        """Adds a trial of an earlier run; its number is not used again.

        `vals` is its point in Hyperopt's encoding; it `counts` towards `max_evals` or not.
        """
        self.insert_trial_docs([document_of(number, vals, result, base.JOB_STATE_DONE)])
        self._ids.add(number)
        self._counted += counts

    def new_trial_ids(self, n: int) -> list[int]:
        """The next free numbers. Hyperopt's own method repeats numbers after gaps."""
        free = (number for number in count(self._first_number) if number not in self._ids)
        numbers = list(islice(free, n))
        self._ids.update(numbers)
        return numbers

    def fmin(
        self,
        fn: Objective,
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
        """Called by hyperopt.fmin. Ends early at the timeout or if `algo` proposes no more.

        Trials that still run when the search ends or the caller is interrupted are cancelled, and
        have ended when this returns.
        """
        self._fmin_cancelled = False
        self._fmin_cancelled_reason: str | None = None
        domain = base.Domain(fn, space)
        limit = self.timeout if self.timeout is not None else timeout
        deadline = None if limit is None else time.monotonic() + limit
        running: dict[int, tuple[Document, Point]] = {}
        launched, exhausted = self._counted, False
        ended = StopRules(loss_threshold, early_stop_fn, self._round.stop)
        try:
            while True:
                while not exhausted and launched < max_evals and len(running) < self._places():
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
                # A configuration that could not be built does not count as a trial.
                launched -= bool(result.get("refused"))
                self._record(document, point, result)
                reason = ended.reason(result, self._dynamic_trials)
                if reason is not None:
                    self._cancel(reason)
                    break
        except BaseException as error:
            # If Spark itself is gone, so are all trials, and there is nothing to cancel.
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

    def _places(self) -> int:
        slots = self._round.slots()
        return self.parallelism if slots is None else slots

    def _propose(
        self, domain: base.Domain, algo: Suggest, rstate: np.random.Generator
    ) -> tuple[Document, Point, Any] | None:
        """The next trial to launch, or None if the algorithm has no more."""
        numbers = self.new_trial_ids(1)
        for _ in range(MAX_REFUSALS):
            self.refresh()
            documents = algo(numbers, domain, self, int(rstate.integers(2**31 - 1)))
            if not documents:
                return None
            point = point_of(domain, documents[0])
            try:
                argument = self._round.prepare(point)
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
        self, document: Document, point: Point, result: Result, state: int = base.JOB_STATE_DONE
    ) -> None:
        document["result"] = result
        document["state"] = state
        document["refresh_time"] = coarse_utcnow()
        self._round.finished(document["tid"], point, result)

    def _wait(self, deadline: float | None) -> Finished | None:
        """The next finished trial; None at the deadline or when slots are to be counted again."""
        left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            return self._finished.get(timeout=min(left, _SLOTS_SECONDS))
        except queue.Empty:
            return None

    def _launch(self, fn: Objective, document: Document, point: Point, argument: Any) -> None:
        document["state"] = base.JOB_STATE_RUNNING
        document["book_time"] = document["refresh_time"] = coarse_utcnow()
        number = document["tid"]
        self._round.launched(number, point)

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

    def _run(self, fn: Objective, number: int, argument: Any) -> Result:
        context = self._spark_context
        context.setJobGroup(self._group, f"trial {number}", interruptOnCancel=True)
        task = Task(
            fn,
            self._isolation,
            getattr(fn, "conclude", conclude),
            number,
            getattr(fn, "before", lambda: None),
        )
        try:
            answer = launch(
                context,
                task,
                argument,
                max_lost=self._max_lost,
                profile=self._profile,
                recover=lambda: self._round.recover(number),
                cancelled=lambda: self._fmin_cancelled,
            )
        except TaskFailed as error:
            return {"status": STATUS_FAIL, "error": str(error), "kind": error.kind}
        return as_result(answer)

    def _cancel(self, reason: str) -> None:
        self._fmin_cancelled = True
        self._fmin_cancelled_reason = reason
        self._spark_context.cancelJobGroup(self._group)

    def _wait_until_gone(self) -> None:
        """Waits until no cancelled trial holds a slot or a GPU."""
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in list(self._threads.values()):
            thread.join(max(0.0, deadline - time.monotonic()))
        wait_until_gone(self._spark_context, self._group, deadline)
