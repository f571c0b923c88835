"""MLflow's own server, on this machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from support.jobs import clean_environment

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def mlflow_server(root: Path) -> Iterator[str]:
    """A server that keeps its files in a folder; its URI once it answers."""
    port = free_port()
    options = ["--backend-store-uri", f"sqlite:///{root}/db", "--workers", "1"]
    options += ["--artifacts-destination", str(root / "artifacts")]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), *options],
            env=clean_environment() | QUIET,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _up(f"http://127.0.0.1:{port}", root / "log")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _up(uri: str, log: Path) -> str:
    for _ in range(1200):
        try:
            with urlopen(f"{uri}/health", timeout=1):
                return uri
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def parents_and_children(client: Any, experiment: str) -> tuple[list[Any], list[Any]]:
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    nested = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return (
        [run for run in runs if run not in nested],
        sorted(nested, key=lambda run: int(run.data.tags["trial"])),
    )
