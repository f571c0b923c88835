"""How a trial and the result of a whole run are logged to MLflow.

mlflow is imported inside the functions because it is an optional dependency.
"""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cnn.core.directory import Directory
from cnn.model.card import MODEL_CARD
from cnn.model.file_check import MODEL
from cnn.report.page import REPORT
from cnn.rundir.result import RESULT, RunResult
from cnn.rundir.trials import Status, TrialResult, trial_name

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

_PARENT = "mlflow.parentRunId"
# MLflow's limits: the metrics of a request, and the characters of a parameter's value.
_MOST_METRICS, _MOST_CHARACTERS = 1000, 6000
_RUN_STATUS = {"ok": "FINISHED", "pruned": "FINISHED", "cancelled": "KILLED"}
_CURVES = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "val_loss": "val_loss",
    "val_accuracy": "val_accuracy",
    "val_balanced_accuracy": "val_balanced_accuracy",
    "val_objective": "val_objective",
}


def nested_runs(client: "MlflowClient", parent: "Run") -> "dict[int, Run]":
    """The runs of the trials that the server has, by trial number."""
    found: dict[int, Run] = {}
    token: str | None = None
    while True:
        page = client.search_runs(
            [parent.info.experiment_id],
            f"tags.`{_PARENT}` = '{parent.info.run_id}'",
            page_token=token,
        )
        found |= {int(run.data.tags["trial"]): run for run in page if "trial" in run.data.tags}
        token = page.token
        if not token:
            return found


def log_trial(
    client: "MlflowClient", parent: "Run", trial: TrialResult, there: "Run | None"
) -> None:
    """Logs a trial, to its run `there` if the server has one that is not complete."""
    from mlflow.entities import Param, RunTag

    status = _run_status(trial.status)
    if there is not None:
        if (there.info.status, there.data.tags.get("status")) == (status, trial.status):
            return
        run_id = there.info.run_id
    else:
        own = {_PARENT: parent.info.run_id, "trial": str(trial.number)}
        start, name = milliseconds(trial.started), f"trial {trial_name(trial.number)}"
        experiment = parent.info.experiment_id
        run_id = client.create_run(experiment, start, own, name).info.run_id
    known = {"status": trial.status, "phase": trial.phase, "host": trial.host, "error": trial.error}
    known |= {"seed": _text(trial.seed), "repeats": _text(trial.repeats)}
    tags = [RunTag(key, value[-_MOST_CHARACTERS:]) for key, value in known.items() if value]
    params = [Param(key, str(value)[:_MOST_CHARACTERS]) for key, value in trial.params.items()]
    if trial.backbone_sha256 is not None:
        params.append(Param("backbone_sha256", trial.backbone_sha256))
    metrics = list(_metrics(trial))
    client.log_batch(run_id, params=params, tags=tags)
    for first in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
    client.set_terminated(run_id, status, milliseconds(trial.ended))


def _metrics(trial: TrialResult) -> "Iterator[Metric]":
    """The curves, each value with its epoch and time, and the scores of the best epoch."""
    from mlflow.entities import Metric

    end = trial.ended.timestamp()
    at = trial.started.timestamp() + trial.seconds.get("data", 0.0)
    for epoch in trial.epochs:
        at = min(at + epoch.seconds, end)
        for key, name in _CURVES.items():
            value = getattr(epoch, key)
            if value is not None:
                yield Metric(name, value, round(1000 * at), epoch.epoch)
    for key in ("accuracy", "loss", "balanced_accuracy", "objective"):
        value = getattr(trial, key)
        if value is not None:
            yield Metric(f"best_val_{key}", value, round(1000 * end), trial.best_epoch or 0)


def log_result(client: "MlflowClient", parent: "Run", run: Directory, result: RunResult) -> None:
    """Logs the winner's parameters, its test scores, and the run's main files.

    A parameter cannot change in MLflow: those of an extended run's later winners have their own
    names. Of a metric, each final is a step.
    """
    from mlflow.entities import Metric, Param

    run_id, at = parent.info.run_id, milliseconds(result.ended)
    final = len(result.earlier)
    known = {**result.params, "winner": result.winner.number}
    if result.backbone is not None:
        known["backbone_sha256"] = result.backbone.sha256
    prefix = f"extension_{final}." if final else ""
    params = [Param(f"{prefix}{key}", str(v)[:_MOST_CHARACTERS]) for key, v in known.items()]
    metrics = [
        Metric(f"test_{name}", value, at, final)
        for name, value in result.test
        if isinstance(value, int | float)
    ]
    client.log_batch(run_id, metrics=metrics, params=params)
    with TemporaryDirectory(prefix="cnn-mlflow-") as folder:
        for name in (RESULT, REPORT, MODEL, MODEL_CARD):
            path = Path(folder) / name
            path.write_bytes(run.read(name))
            client.log_artifact(run_id, str(path))


def _text(value: int | None) -> str | None:
    return None if value is None else str(value)


def _run_status(status: Status) -> str:
    return _RUN_STATUS.get(status, "FAILED")


def milliseconds(time: datetime) -> int:
    """A time as MLflow has it: milliseconds since 1970."""
    return round(1000 * time.timestamp())
