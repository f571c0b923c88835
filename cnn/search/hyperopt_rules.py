"""Hyperopt's rules for what an objective may return and when `fmin` ends a search."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hyperopt import STATUS_FAIL, STATUS_OK, base

from cnn.spark.task import Result


class StopRules:
    """When a search ends before all its trials are done: Hyperopt's rules and the caller's."""

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

    def reason(self, result: Result, documents: list[dict[str, Any]]) -> str | None:
        """Why the search ends after `result`; None if it goes on."""
        if self._loss_threshold is not None and loss_of(result) <= self._loss_threshold:
            return "loss threshold reached"
        if self._early_stop_fn is not None and result["status"] == STATUS_OK:
            # Early-stopping functions read losses, so they see only the trials that have one.
            done = [d for d in documents if d["state"] == base.JOB_STATE_DONE]
            scored = [d for d in done if d["result"].get("loss") is not None]
            trials = base.trials_from_docs(scored)
            stop, self._early_stop_args = self._early_stop_fn(trials, *self._early_stop_args)
            if stop:
                return "early stopping condition"
        return self._stop()


def as_result(answer: Result | float) -> Result:
    """The answer of an objective as a result with a valid status and loss."""
    if isinstance(answer, int | float | np.number):
        answer = {"loss": float(answer), "status": STATUS_OK}
    status = answer.get("status")
    if status not in base.STATUS_STRINGS:
        known = ", ".join(base.STATUS_STRINGS)
        error = f"an objective's status must be one of {known}, but got {status!r}"
        return {"status": STATUS_FAIL, "error": error}
    if status == STATUS_OK and not np.isfinite(loss_of(answer)):
        error = f"an objective's loss must be finite, but got {answer.get('loss')}"
        return {**answer, "status": STATUS_FAIL, "error": error}
    return answer


def loss_of(result: Result) -> float:
    loss = result.get("loss")
    return float("inf") if loss is None else float(loss)
