"""A trial's result as Hyperopt is told of it."""

import math
from typing import Any

from cnn.rundir.trials import TrialResult, trial_key
from cnn.train.halving import ranking_loss
from cnn.train.job import Job


def document(job: Job, trial: TrialResult) -> dict[str, Any]:
    """A trial's result for Hyperopt.

    With a second objective it also has the `cost`, and the `value` of the first one, of which less
    is better: unlike in `loss`, equal values are equal in it.
    """
    phase = job.phase
    loss = ranking_loss(phase.objective, trial, frugal=job.frugal)
    content: dict[str, Any] = {"trial": trial.model_dump(mode="json")}
    if trial.status == "invalid":
        return {"status": "fail", "refused": trial.error, **content}
    if loss is None:
        # Without a loss, a failed trial ranks last with every strategy.
        return {"status": "fail", **content}
    if phase.cost is not None:
        cost = getattr(trial, phase.cost)
        content["value"] = trial_key(phase.objective, trial)[0]
        content["cost"] = math.inf if cost is None else float(cost)
    return {"status": "ok", "loss": loss, **content}
