"""A search in MLflow, against a real server; and searches that go on without one."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Run, clean_environment, one_line
from support.made_up import bare_trial
from support.mlflow_server import QUIET, free_port, mlflow_server, parents_and_children

from cnn.core.directory import Directory
from cnn.rundir.result import RESULT
from cnn.rundir.trials import TrialResult, read_trials
from cnn.search.mlflow import REMEMBERED, MlflowLog, Remembered


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(scope="module")
def client(server: str) -> Any:
    os.environ.update(QUIET)
    from mlflow.tracking import MlflowClient

    return MlflowClient(server)


@pytest.fixture(scope="module")
def tuned(
    submit: Run, server: str, noise_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """A run directory whose search was logged, and what the job said."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    uri = server.replace("http://", "http://user:sec%20ret@")
    command = ("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    done = submit(*command, "--mlflow", uri, f"--mlflow-experiment={run}")
    assert done.returncode == 0, done.stdout + done.stderr
    return run, done.stdout + done.stderr


def test_a_search_is_a_run_and_its_trials_are_nested(client: Any, tuned: tuple[Path, str]) -> None:
    run, _ = tuned
    (parent,), children = parents_and_children(client, str(run))
    trials = read_trials(Directory(run))
    assert len(children) == len(trials) == 2
    for child, of in zip(children, trials, strict=True):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.params == {name: str(value) for name, value in of.params.items()}
        assert child.info.status == "FINISHED"
        assert child.data.tags["status"] == of.status
        assert child.info.start_time == round(1000 * of.started.timestamp())
        assert child.info.end_time == round(1000 * of.ended.timestamp())
        curve = client.get_metric_history(child.info.run_id, "val_accuracy")
        values = [(point.step, point.value) for point in curve]
        assert values == [(epoch.epoch, epoch.val_accuracy) for epoch in of.epochs]
        times = [child.info.start_time, *(p.timestamp for p in curve), child.info.end_time]
        assert times == sorted(times)
        assert times[1] > times[0]
        assert child.data.metrics["best_val_accuracy"] == of.accuracy


def test_the_winner_and_its_files_are_the_searchs(
    client: Any, tuned: tuple[Path, str], tmp_path: Path
) -> None:
    run, _ = tuned
    (parent,), _ = parents_and_children(client, str(run))
    result = json.loads((run / RESULT).read_text())
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == run.name
    assert parent.data.metrics["test_accuracy"] == result["test"]["accuracy"]
    assert parent.data.params["winner"] == str(result["winner"]["number"])
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert names == {"result.json", "report.html", "model.keras", "model.json"}
    for name in names:
        path = client.download_artifacts(parent.info.run_id, name, str(tmp_path))
        assert Path(path).read_bytes() == (run / name).read_bytes()


def test_logging_imports_no_framework(server: str, tuned: tuple[Path, str]) -> None:
    run, _ = tuned
    code = f"""
import sys
from datetime import UTC, datetime
from cnn.search.mlflow import MlflowLog, log_finished
from cnn.rundir.result import read_result
from cnn.rundir.trials import read_trials
from cnn.core.directory import Directory
run = Directory({str(run)!r})
log = MlflowLog({server!r}, run, datetime.now(UTC), experiment="no framework")
log_finished(log, read_trials(run), read_result(run))
print([name for name in ("mlflow", "tensorflow", "keras") if name in sys.modules])
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    assert done.stdout == "['mlflow']\n", done.stdout + done.stderr


def test_no_credentials_are_kept_or_said(tuned: tuple[Path, str]) -> None:
    run, said = tuned
    assert "sec%20ret" not in said
    assert "MLflow" not in said
    for path in run.rglob("*"):
        if path.is_file():
            assert b"sec%20ret" not in path.read_bytes(), path
    command = json.loads((run / "run.json").read_text())["command"]
    assert command[command.index("--mlflow") + 1].startswith("http://127.0.0.1:")


@pytest.mark.slow
def test_resumed_it_is_the_same_runs(
    submit: Run, client: Any, server: str, tuned: tuple[Path, str]
) -> None:
    run, _ = tuned
    before = parents_and_children(client, str(run))
    done = submit("jobs/tune.py", "--resume", run, "--mlflow", server)
    assert done.stdout.splitlines()[0] == "the run has already finished"
    (run / RESULT).unlink()
    (parent,), (first, second) = before
    client.delete_run(second.info.run_id)
    done = submit("jobs/tune.py", "--resume", run, "--mlflow", server)
    assert done.returncode == 0, done.stdout + done.stderr
    (parent_after,), (first_after, second_after) = parents_and_children(client, str(run))
    assert parent_after.info.run_id == parent.info.run_id
    assert parent_after.info.status == "FINISHED"
    assert first_after.info.run_id == first.info.run_id
    # What the server has lost is logged anew.
    assert second_after.info.run_id != second.info.run_id
    assert second_after.data.params == second.data.params


def log(server: str, run: Path, trials: list[TrialResult]) -> list[str]:
    """Logs a search that is interrupted after some trials; what it said."""
    said: list[str] = []
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    to = MlflowLog(server, Directory(run), begun, experiment=str(run), say=said.append)

    def search() -> None:
        with to:
            to.begin()
            for one in trials:
                to.add(one)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    return said


def test_each_status_is_told_apart(server: str, client: Any, tmp_path: Path) -> None:
    trials = [
        bare_trial(0),
        bare_trial(1, status="crashed", error="a traceback\nin lines"),
        bare_trial(2, status="cancelled", accuracy=None, loss=None),
        bare_trial(3, status="pruned", rung=1, backbone_sha256="e" * 64),
    ]
    assert log(server, tmp_path / "run", trials) == []
    (parent,), children = parents_and_children(client, str(tmp_path / "run"))
    assert parent.info.status == "KILLED"
    assert [(child.data.tags["status"], child.info.status) for child in children] == [
        ("ok", "FINISHED"),
        ("crashed", "FAILED"),
        ("cancelled", "KILLED"),
        ("pruned", "FINISHED"),
    ]
    assert children[1].data.tags["error"] == "a traceback\nin lines"
    assert children[3].data.params["backbone_sha256"] == "e" * 64
    # What was cancelled runs again when the search goes on: the same run, finished now.
    again = [*trials[:2], bare_trial(2), trials[3], bare_trial(4)]
    assert log(server, tmp_path / "run", again) == []
    (same,), later = parents_and_children(client, str(tmp_path / "run"))
    assert same.info.run_id == parent.info.run_id
    ids = [child.info.run_id for child in children]
    assert [child.info.run_id for child in later[:4]] == ids
    assert [child.data.tags["trial"] for child in later] == ["0", "1", "2", "3", "4"]
    assert later[2].info.status == "FINISHED"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text('{"uri": "torn'),
        lambda path: path.write_text(
            Remembered(uri="http://elsewhere", run_id="0" * 32).model_dump_json()
        ),
    ],
    ids=["lost", "torn", "another server's"],
)
def test_a_search_is_found_without_what_was_remembered(
    server: str, client: Any, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    run = tmp_path / "run"
    log(server, run, [bare_trial(0)])
    change(run / REMEMBERED)
    log(server, run, [bare_trial(0), bare_trial(1)])
    (parent,), children = parents_and_children(client, str(run))
    assert len(children) == 2
    assert json.loads((run / REMEMBERED).read_text())["run_id"] == parent.info.run_id


def test_a_dead_server_is_said_once_and_slows_nothing(tmp_path: Path) -> None:
    with socket.socket() as silent:
        # It takes connections and never answers.
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        uri = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        said: list[str] = []
        with MlflowLog(uri, Directory(tmp_path), datetime.now(UTC), say=said.append) as to:
            to.begin()
            started = time.monotonic()
            for number in range(1000):
                to.add(bare_trial(number))
            assert time.monotonic() - started < 1
            silent.close()
    assert len(said) == 2, said
    assert "the search goes on without it" in said[0]
    assert "--mlflow URI logs what is missing" in said[1]
    assert "secret" not in "".join(said)


def test_what_was_not_logged_is_logged_at_the_end(
    server: str, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A file where the run directory should be: logging fails until it is gone.
    run = tmp_path / "run"
    run.write_text("")
    said: list[str] = []
    begun = datetime.now(UTC)
    with MlflowLog(server, Directory(run), begun, experiment=str(run), say=said.append) as to:
        to.begin()
        to.add(bare_trial(0))
        while not said:
            time.sleep(0.1)
        run.unlink()
    assert len(said) == 1
    _, children = parents_and_children(client, str(run))
    assert [child.info.status for child in children] == ["FINISHED"]


@pytest.mark.slow
def test_a_dead_server_does_not_fail_the_search(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = ("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    done = submit(*command, "--max-trials", "1", "--mlflow", f"http://u:p@127.0.0.1:{free_port()}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the search goes on without it") == 1
    assert f"--resume {run} --mlflow URI logs what is missing" in done.stdout
    assert "u:p" not in done.stdout + done.stderr
    assert (run / "report.html").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--mlflow", "mlruns"], "--mlflow must be a server's http or https URI, but got mlruns"),
        (["--mlflow", "ftp://u:p@host"], "but got ftp://host"),
        (["--mlflow", "http://["], "--mlflow must be"),
        (["--mlflow-experiment", "x"], "--mlflow-experiment must be used with --mlflow"),
        (["--mlflow", "http://u:p@host", "--nothing=http://u:p@host"], "--nothing=http://host"),
    ],
)
def test_bad_flags_are_one_line(flags: list[str], said: str) -> None:
    done = tune(*flags)
    assert done.returncode == 2
    assert said in one_line(done.stderr)
    assert "u:p" not in done.stderr


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    # A folder of another environment's packages, in which there is no mlflow.
    finder = "import sys\nsys.modules['mlflow'] = None\n"
    (tmp_path / "sitecustomize.py").write_text(finder)
    done = tune("--mlflow", "http://localhost", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install 'spark-cnn-search[mlflow]'" in one_line(done.stderr)


def tune(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """jobs/tune.py where it is to end before Spark starts."""
    return subprocess.run(
        [sys.executable, "jobs/tune.py", *flags],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
