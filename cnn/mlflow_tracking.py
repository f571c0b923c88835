"""A search in MLflow: a parent run, and each finished trial a run nested in it.

A thread of the driver talks to the server. Where that is slow or down the search does not notice: a
line says so once, what is missing is tried again at the end, and `--resume RUN --mlflow URI` logs
what is missing even then. What is there is known from the server, so nothing is there twice.
"""

import hashlib
import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.card import MODEL_CARD
from cnn.cli import redacted
from cnn.final import MODEL
from cnn.outcome import RESULT
from cnn.report import REPORT
from cnn.results import Status, TrialResult, trial_name
from cnn.settings import InputError
from cnn.storage import Directory

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

REMEMBERED = "mlflow.json"
EXPERIMENT = "spark-cnn-search"
_PARENT = "mlflow.parentRunId"
# MLflow's own defaults wait for many minutes for a server that is down, print, and report its use.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# After a failure the server is left alone for so long.
_PAUSE = 30.0
# How long the end may take: of a run that is done, and of one that failed or was interrupted.
_END_SECONDS, _FAILED_END_SECONDS = 120.0, 15.0
# What one request may hold, and a parameter's value.
_MOST_METRICS, _MOST_CHARACTERS = 1000, 6000
_RUN_STATUS = {"ok": "FINISHED", "pruned": "FINISHED", "cancelled": "KILLED"}
_CURVES = {
    "loss": "train_loss",
    "accuracy": "train_accuracy",
    "val_loss": "val_loss",
    "val_accuracy": "val_accuracy",
    "val_balanced_accuracy": "val_balanced_accuracy",
}


class Remembered(BaseModel):
    """Which run of which server a run directory's search is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def check_mlflow(uri: str) -> None:
    """Raises InputError where it can be known that logging cannot work."""
    try:
        parts = urlsplit(uri)
        is_server = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_server = False
    if not is_server:
        raise InputError(f"--mlflow must be a server's http or https URI, but got {redacted(uri)}")
    if importlib.util.find_spec("mlflow") is None:
        raise InputError(
            "--mlflow must find MLflow's client, but it is not installed: "
            "pip install 'spark-cnn-search[mlflow]'"
        )


class MlflowLog:
    """Logs a search from `begin` to the end of the `with` block, in a thread of its own."""

    def __init__(
        self,
        uri: str,
        run: Directory,
        started: datetime,
        *,
        experiment: str | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        # Without credentials.
        self.uri = redacted(uri)
        self._credentials = _credentials(uri)
        self._run = run
        self._started = started
        self._experiment = experiment or EXPERIMENT
        self._say = say
        self._queue: queue.SimpleQueue[TrialResult | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._waiting: list[TrialResult] = []
        self._result: Mapping[str, Any] | None = None
        self._status = "FINISHED"
        self._ended = False
        self._failed_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """To be called when the run directory is there."""
        self._thread.start()

    def add(self, trial: TrialResult) -> None:
        """Takes a finished trial; returns at once."""
        self._queue.put(trial)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Takes what the whole run came to: the content of result.json."""
        self._result = result

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._thread.is_alive():
            return
        if error is not None:
            self._status = "FAILED" if isinstance(error, Exception) else "KILLED"
        self._queue.put(None)
        self._thread.join(_END_SECONDS if error is None else _FAILED_END_SECONDS)
        if not self._ended:
            self._say(
                f"not all of the run is in MLflow at {self.uri}; "
                f"--resume {self._run.uri} --mlflow URI logs what is missing"
            )

    def _work(self) -> None:
        for name, value in (_ENVIRONMENT | self._credentials).items():
            os.environ.setdefault(name, value)
        self._try(self._log_waiting)
        while (trial := self._queue.get()) is not None:
            self._waiting.append(trial)
            if self._failed_at is None or time.monotonic() - self._failed_at > _PAUSE:
                self._try(self._log_waiting)
        self._ended = self._try(self._log_end)

    def _try(self, work: Callable[[], None]) -> bool:
        try:
            work()
        except Exception as error:
            # Whatever it is: it is not to end the search.
            if self._failed_at is None:
                cause = " ".join(redacted(str(error)).split())[:300]
                self._say(f"MLflow at {self.uri} fails, the search goes on without it: {cause}")
            self._failed_at = time.monotonic()
            return False
        return True

    def _log_waiting(self) -> None:
        client, parent = self._parent()
        if not self._waiting:
            return
        children = _children(client, parent)
        while self._waiting:
            _log_trial(client, parent, self._waiting[0], children.get(self._waiting[0].number))
            del self._waiting[0]

    def _log_end(self) -> None:
        self._log_waiting()
        client, parent = self._parent()
        if self._result is not None:
            _log_result(client, parent, self._run, self._result)
        client.set_terminated(parent.info.run_id, self._status)

    def _parent(self) -> "tuple[MlflowClient, Run]":
        """The search's own run, made where the server has none."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        known = self._remembered(client)
        if known is not None:
            return client, known
        experiment = client.get_experiment_by_name(self._experiment)
        where = experiment.experiment_id if experiment else None
        where = where or client.create_experiment(self._experiment)
        # It may have been made before and the answer lost.
        identity = f"{self._run.uri} {self._started.isoformat()}"
        search = hashlib.sha256(identity.encode()).hexdigest()
        there = client.search_runs([where], f"tags.search = '{search}'")
        name = self._run.uri.rpartition("/")[2]
        run = (
            there[0]
            if there
            else client.create_run(where, _milliseconds(self._started), {"search": search}, name)
        )
        content = Remembered(uri=self.uri, run_id=run.info.run_id)
        self._run.write(REMEMBERED, content.model_dump_json(indent=1).encode())
        return client, run

    def _remembered(self, client: "MlflowClient") -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            found = Remembered.model_validate_json(self._run.read(REMEMBERED))
        except (FileNotFoundError, ValidationError):
            return None
        if found.uri != self.uri:
            return None
        try:
            run = client.get_run(found.run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        if run.info.lifecycle_stage != "active":
            return None
        if run.info.status != "RUNNING" and self._result is None:
            client.update_run(found.run_id, "RUNNING")
        return run


def _credentials(uri: str) -> dict[str, str]:
    """What stands in a URI for a user and a password, as MLflow takes them."""
    parts = urlsplit(uri)
    found = {
        "MLFLOW_TRACKING_USERNAME": parts.username,
        "MLFLOW_TRACKING_PASSWORD": parts.password,
    }
    return {name: unquote(value) for name, value in found.items() if value}


def _children(client: "MlflowClient", parent: "Run") -> "dict[int, Run]":
    """The trials that are there, by number."""
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


def _log_trial(
    client: "MlflowClient", parent: "Run", trial: TrialResult, there: "Run | None"
) -> None:
    """Logs a trial, into the run that was begun or cancelled before where there is one."""
    from mlflow.entities import Param, RunTag

    status = _run_status(trial.status)
    if there is not None:
        if (there.info.status, there.data.tags.get("status")) == (status, trial.status):
            return
        run_id = there.info.run_id
    else:
        own = {_PARENT: parent.info.run_id, "trial": str(trial.number)}
        start, name = _milliseconds(trial.started), f"trial {trial_name(trial.number)}"
        experiment = parent.info.experiment_id
        run_id = client.create_run(experiment, start, own, name).info.run_id
    known = {"status": trial.status, "phase": trial.phase, "host": trial.host, "error": trial.error}
    known |= {"seed": _text(trial.seed), "repeats": _text(trial.repeats)}
    tags = [RunTag(key, value[-_MOST_CHARACTERS:]) for key, value in known.items() if value]
    params = [Param(key, str(value)[:_MOST_CHARACTERS]) for key, value in trial.params.items()]
    metrics = list(_metrics(trial))
    client.log_batch(run_id, params=params, tags=tags)
    for first in range(0, len(metrics), _MOST_METRICS):
        client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
    client.set_terminated(run_id, status, _milliseconds(trial.ended))


def _metrics(trial: TrialResult) -> "Iterator[Metric]":
    """The curves, each value at its epoch and its time, and what the best epoch has."""
    from mlflow.entities import Metric

    end = trial.ended.timestamp()
    at = trial.started.timestamp() + trial.seconds.get("data", 0.0)
    for epoch in trial.epochs:
        at = min(at + epoch.seconds, end)
        for key, name in _CURVES.items():
            value = getattr(epoch, key)
            if value is not None:
                yield Metric(name, value, round(1000 * at), epoch.epoch)
    for key in ("accuracy", "loss", "balanced_accuracy"):
        value = getattr(trial, key)
        if value is not None:
            yield Metric(f"best_val_{key}", value, round(1000 * end), trial.best_epoch or 0)


def _log_result(
    client: "MlflowClient", parent: "Run", run: Directory, result: Mapping[str, Any]
) -> None:
    """The winner's parameters, its test, and the files of the run directory."""
    from mlflow.entities import Metric, Param

    run_id, at = parent.info.run_id, _milliseconds(datetime.fromisoformat(result["ended"]))
    params = [Param(key, str(value)[:_MOST_CHARACTERS]) for key, value in result["params"].items()]
    params.append(Param("winner", str(result["winner"]["number"])))
    numbers = {f"test_{key}": value for key, value in result["test"].items()}
    metrics = [Metric(k, v, at, 0) for k, v in numbers.items() if isinstance(v, int | float)]
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


def _milliseconds(time: datetime) -> int:
    return round(1000 * time.timestamp())


def log_finished(log: MlflowLog, trials: Sequence[TrialResult], result: Mapping[str, Any]) -> None:
    """Logs what is missing of a run that was finished before."""
    with log:
        log.begin()
        for trial in trials:
            log.add(trial)
        log.finish(result)
