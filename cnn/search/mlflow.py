"""Logging of a search to MLflow: a parent run, with a nested run for each finished trial.

A thread of the driver talks to the server, so that a slow or unreachable server does not delay the
search. A failure is reported once, and what is missing is logged at the end or, if that fails too,
by `--resume RUN --mlflow URI`. The server is asked what it has, so that nothing is logged twice.
"""

import hashlib
import importlib.util
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from cnn.core.console import redacted, say
from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.rundir.result import RunResult
from cnn.rundir.trials import TrialResult
from cnn.search.mlflow_runs import log_result, log_trial, milliseconds, nested_runs
from cnn.settings.cli_defaults import EXPERIMENT

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

REMEMBERED = "mlflow.json"
MLFLOW = Option("mlflow")
# By default, MLflow waits minutes for a server that is down, prints, and reports its use.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# Seconds without requests after a failure.
_PAUSE = 30.0
# Seconds that the last requests may take: after a finished run, and after any other.
_END_SECONDS, _FAILED_END_SECONDS = 120.0, 15.0


class Remembered(BaseModel):
    """The server and the MLflow run of a search; kept in its run directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def check_mlflow(uri: str) -> None:
    """Raises InputError if `uri` is not a server's or MLflow is not installed."""
    try:
        parts = urlsplit(uri)
        is_server = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_server = False
    if not is_server:
        raise InputError(
            "{} must be a server's http or https URI, but got {}", MLFLOW, redacted(uri)
        )
    if importlib.util.find_spec("mlflow") is None:
        raise InputError(
            "{} needs MLflow, which is not installed: pip install 'spark-cnn-search[mlflow]'",
            MLFLOW,
        )


class MlflowLog:
    """Logs a search in a thread, from `begin` to the end of the `with` block."""

    def __init__(
        self,
        uri: str,
        run: Directory,
        started: datetime,
        *,
        experiment: str | None = None,
        say: Callable[[str], None] = say,
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
        self._result: RunResult | None = None
        self._status = "FINISHED"
        self._ended = False
        self._failed_at: float | None = None
        self._server: tuple[MlflowClient, Run, dict[int, Run]] | None = None

    def __enter__(self) -> Self:
        return self

    def begin(self) -> None:
        """Starts logging; the run directory must exist."""
        self._thread.start()

    def add(self, trial: TrialResult) -> None:
        """Logs a finished trial; returns at once."""
        self._queue.put(trial)

    def finish(self, result: RunResult) -> None:
        """Takes the run's result, which is logged at the end."""
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
                f"the run is not completely logged to MLflow at {self.uri}; "
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
            # No failure of the server may end the search.
            if self._failed_at is None:
                cause = " ".join(redacted(str(error)).split())[:300]
                self._say(f"MLflow at {self.uri} failed; the search goes on without it: {cause}")
            self._failed_at = time.monotonic()
            # A request may have been carried out all the same, so the server is asked again.
            self._server = None
            return False
        return True

    def _connected(self) -> "tuple[MlflowClient, Run, dict[int, Run]]":
        """The client, the search's own run, and the trials that the server had at first."""
        if self._server is None:
            client, parent = self._parent()
            self._server = client, parent, nested_runs(client, parent)
        return self._server

    def _log_waiting(self) -> None:
        client, parent, there = self._connected()
        while self._waiting:
            log_trial(client, parent, self._waiting[0], there.get(self._waiting[0].number))
            del self._waiting[0]

    def _log_end(self) -> None:
        self._log_waiting()
        client, parent, _ = self._connected()
        if self._result is not None:
            log_result(client, parent, self._run, self._result)
        client.set_terminated(parent.info.run_id, self._status)

    def _parent(self) -> "tuple[MlflowClient, Run]":
        """The client and the search's own run, which is created if the server has none."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self.uri)
        known = self._remembered(client)
        if known is not None:
            return client, known
        experiment = client.get_experiment_by_name(self._experiment)
        experiment_id = experiment.experiment_id if experiment else None
        experiment_id = experiment_id or client.create_experiment(self._experiment)
        # The run may have been created by a request whose answer was lost.
        identity = f"{self._run.uri} {self._started.isoformat()}"
        search = hashlib.sha256(identity.encode()).hexdigest()
        found = client.search_runs([experiment_id], f"tags.search = '{search}'")
        if found:
            run = found[0]
        else:
            name = self._run.uri.rpartition("/")[2]
            start = milliseconds(self._started)
            run = client.create_run(experiment_id, start, {"search": search}, name)
        content = Remembered(uri=self.uri, run_id=run.info.run_id)
        self._run.write(REMEMBERED, content.model_dump_json(indent=1).encode())
        return client, run

    def _remembered(self, client: "MlflowClient") -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            found = read_model(Remembered, self._run, REMEMBERED)
        except (FileNotFoundError, Malformed):
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
    """The user and password in a URI, as MLflow's environment variables."""
    parts = urlsplit(uri)
    found = {
        "MLFLOW_TRACKING_USERNAME": parts.username,
        "MLFLOW_TRACKING_PASSWORD": parts.password,
    }
    return {name: unquote(value) for name, value in found.items() if value}


def log_finished(log: MlflowLog, trials: Sequence[TrialResult], result: RunResult) -> None:
    """Logs what the server lacks of a finished run."""
    with log:
        log.begin()
        for trial in trials:
            log.add(trial)
        log.finish(result)
