"""The final of an extension takes the place of the run's own, and what the user is told of both."""

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.made_up import bare_trial, manifest, result, run_directory
from support.mlflow_server import QUIET, mlflow_server, parents_and_children
from support.pages import Page

from cnn import Run
from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.report.page import render_report
from cnn.rundir.extension import (
    EXTENSION,
    Extension,
    as_earlier,
    read_extension,
    remove_extension,
    write_extension,
)
from cnn.rundir.result import RESULT, RunResult, read_result
from cnn.rundir.trials import read_trials
from cnn.search.context import Search
from cnn.search.end_run import end_run, has_ended, publish
from cnn.search.extended_final import search_seconds
from cnn.search.front_networks import remove_others, train_front
from cnn.search.journal import Start, read_start, write_start
from cnn.search.mlflow import MlflowLog, log_finished
from cnn.settings.toml import read_settings, settings_text
from cnn.start import RunRequest, extend_run, resume_run


def on_front(number: int) -> dict[str, Any]:
    """An entry of a network beside the winner."""
    known: dict[str, Any] = {"number": number, "params": {}, "accuracy": 0.9, "test_accuracy": 0.9}
    interval = {"low": 0.8, "high": 0.95}
    return {
        **known,
        "test_interval": interval,
        "parameters": 9,
        "operations": 9,
        "latency_ms": None,
    }


def extended(folder: Path, *, kept: bool) -> Directory:
    """A run whose extension has its result, which the run has not yet."""
    old, new_front = ([on_front(number)] for number in (3, 5))
    run = run_directory(folder, result(pareto=old), [bare_trial(0), bare_trial(1)])
    files = {"model.keras": b"old", "model.json": b"old", "test.parquet": b"old"}
    for name, content in {**files, "suspects.csv": b"old", "report.html": b"old"}.items():
        run.write(name, content)
    run.write("pareto/3/model.keras", b"old")
    write_start(run, Start(data="data", fingerprint="f", started=now(), command=("first",)))
    before = read_result(run)
    extension = Extension(
        started=now(), command=("second",), configs=(), first_number=8, trials=8, more=2
    )
    write_extension(run, extension)
    changed: dict[str, Any] = {"command": ["second"], "pareto": new_front}
    changed["trials"] = {"ok": 10, "invalid": 3}
    if not kept:
        changed["winner"] = {"number": 6, "phase": "search", "accuracy": 0.99, "loss": 0.01}
    new = RunResult.model_validate(result(**changed)).model_copy(
        update={"earlier": (as_earlier(before, kept=kept),)}
    )
    out = run.sub(EXTENSION)
    out.write("settings.toml", run.read("settings.toml") + b"# new\n")
    for name in () if kept else files:
        out.write(name, b"new")
    out.write("pareto/5/model.keras", b"new")
    out.write(RESULT, new.model_dump_json().encode())
    return run


@pytest.mark.parametrize("kept", [False, True])
def test_a_driver_killed_while_it_replaces_the_final_is_followed_by_one_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    write, left = Directory.write, 10**6

    def until_killed(self: Directory, name: str, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        write(self, name, data)

    monkeypatch.setattr(Directory, "write", until_killed)
    undisturbed = extended(tmp_path / "undisturbed", kept=kept)
    publish(undisturbed)
    for moment in count():
        left = 10**6
        run = extended(tmp_path / str(moment), kept=kept)
        left = moment
        try:
            publish(run)
            break
        except KeyboardInterrupt:
            left = 10**6
        # Whoever reads now has a result and a model.
        read_result(run)
        assert run.read("model.keras") in {b"old", b"new"}
        assert has_ended(run)
        publish(run)
        files = set(run.files())
        assert files == set(undisturbed.files())
        if not kept:
            assert run.read("earlier/1/model.keras") == b"old"
            assert run.read("model.keras") == b"new"
            assert "suspects.csv" not in files
        assert [name for name in sorted(files) if name.startswith("pareto/")] == [
            "pareto/5/model.keras"
        ]
        assert run.read("earlier/1/pareto/3/model.keras") == b"old"
        assert run.read("settings.toml").endswith(b"# new\n")
        assert b"# new" not in run.read("earlier/1/settings.toml")
        assert read_result(run.sub("earlier/1")).command == ("jobs/tune.py", "--data", "my data")
        assert read_result(run).command == ("second",)
        start = read_start(run)
        assert start.command == ("first",)
        assert [one.command for one in start.extensions] == [("second",)]
    # The result that is kept, and then the settings, the start and the result.
    assert moment >= 4


def test_a_driver_killed_while_it_removes_the_extension_leaves_the_new_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, remove = extended(tmp_path, kept=False), Directory.remove

    def until_killed(self: Directory) -> None:
        if self.uri != run.sub(EXTENSION).uri:
            remove(self)
            return
        for name in ("model.keras", "settings.toml"):
            self.delete(name)
        raise KeyboardInterrupt

    monkeypatch.setattr(Directory, "remove", until_killed)
    with pytest.raises(KeyboardInterrupt):
        end_run(run)
    monkeypatch.undo()
    resumed = resume_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]
    assert resumed.result.winner.number == 6
    assert run.read("model.keras") == b"new"
    assert not run.sub(EXTENSION).exists()


def test_a_run_that_ends_just_before_it_would_be_resumed_has_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = run_directory(tmp_path, result(), [bare_trial(0)]), manifest(8, {"a": 9, "b": 9})
    start = Start(data="data", fingerprint=data.fingerprint, started=now(), command=("first",))
    write_start(run, start)
    text = run.read(RESULT)
    run.delete(RESULT)

    def while_another_driver_ends_it(*_: Any) -> Any:
        run.write(RESULT, text)
        return data

    monkeypatch.setattr("cnn.start.check_inputs", while_another_driver_ends_it)
    resumed = resume_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]
    assert capsys.readouterr().out.splitlines()[-1] == "the run has already finished"
    assert resumed.result == read_result(run)


def test_a_file_among_the_networks_of_the_front_is_left_alone(tmp_path: Path) -> None:
    run = extended(tmp_path, kept=False)
    run.write("pareto/notes.txt", b"mine")
    remove_others(run, [5])
    assert run.read("pareto/notes.txt") == b"mine"
    assert not run.exists("pareto/3/model.keras")


def test_that_the_test_set_was_opened_twice_is_said(tmp_path: Path) -> None:
    run = extended(tmp_path, kept=False)
    end_run(run)
    page = Page(render_report(run)).text
    for part in (
        "the search was extended from 8 to 10 trials",
        "after 8 trials, trial 7 had won, with test accuracy 0.9917 on 120 images",
        "the test set has been opened twice",
        "jobs/tune.py --data 'my data' second",
    ):
        assert part in page
    assert "biased upwards by the selection." in page
    assert "opened twice" in Run.load(run.uri).summary()
    assert "opened twice" in Run.load(run.uri)._repr_html_()


def test_a_winner_that_wins_again_is_said_to_be_kept(tmp_path: Path) -> None:
    run = extended(tmp_path, kept=True)
    end_run(run)
    page = Page(render_report(run)).text
    assert "nothing better was found: trial 7 wins again" in page
    assert "opened twice" not in page
    assert "the test accuracy is not." in page
    assert run.read("model.keras") == b"old"
    assert not run.exists("earlier/1/model.keras")


@pytest.mark.slow
def test_mlflow_has_both_winners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, started = extended(tmp_path, kept=False), now()
    for name, value in QUIET.items():
        monkeypatch.setenv(name, value)
    from mlflow.tracking import MlflowClient

    with mlflow_server(tmp_path) as server:
        for _ in range(2):
            log = MlflowLog(server, run, started, experiment="both")
            log_finished(log, read_trials(run), read_result(run))
            if has_ended(run):
                end_run(run)
        client = MlflowClient(server)
        (parent,), children = parents_and_children(client, "both")
        steps = client.get_metric_history(parent.info.run_id, "test_accuracy")
    assert (parent.info.status, len(children)) == ("FINISHED", 2)
    assert (parent.data.params["winner"], parent.data.params["extension_1.winner"]) == ("7", "6")
    assert [point.step for point in steps] == [0, 1]


def test_an_extension_that_never_began_leaves_a_finished_run(tmp_path: Path) -> None:
    run = extended(tmp_path, kept=False)
    assert read_extension(run) is not None
    (tmp_path / "run" / EXTENSION / RESULT).unlink()
    with pytest.raises(InputError, match=r"--extend must name a finished run, .* use --resume"):
        extend_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]
    remove_extension(run)
    assert read_extension(run) is None
    assert not run.exists(EXTENSION)


def test_pauses_between_drivers_are_no_time_of_the_search(tmp_path: Path) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def at(hours: float) -> datetime:
        return began + timedelta(hours=hours)

    # Drivers of one hour, of half an hour, and of half an hour.
    trials = [
        bare_trial(0, started=at(0), ended=at(0.6)),
        bare_trial(1, started=at(0.6), ended=at(1)),
        bare_trial(2, started=at(10), ended=at(10.5)),
    ]
    search = SimpleNamespace(extension=None, earlier=trials, first_new=0)
    start = Start(data="data", fingerprint="f", started=at(0), command=())
    assert search_seconds(search, start, at(20), at(20.5)) == 2 * 3600  # type: ignore[arg-type]


def test_an_unfinished_run_is_to_be_resumed(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    write_start(run, Start(data="data", fingerprint="f", started=now()))
    with pytest.raises(InputError, match="has not finished: use --resume first"):
        extend_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]


def test_networks_of_the_front_stay_if_they_are_asked_for_again(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result(pareto=[on_front(3)]), [])
    run.write("pareto/3/model.keras", b"old")
    write_start(run, Start(data="data", fingerprint="f", started=now(), command=("first",)))
    settings = read_settings(settings_text(run))
    phase = settings.phases[-1].name
    known: dict[str, Any] = {"phase": phase, "params": {"filters": 4}, "validation_images": 50}
    trials = [
        bare_trial(3, accuracy=0.8, operations=10, **known),
        bare_trial(7, accuracy=0.9, operations=20, **known),
    ]
    final = settings.final.model_copy(update={"pareto": 2})
    search = Search(
        spark=None,  # type: ignore[arg-type]
        data=Directory("data"),
        run=run,
        settings=settings.model_copy(update={"final": final}),
        manifest=manifest(16, {"faces": 9, "comics": 9}),
        earlier=trials,
        say=print,
        extension=Extension(
            started=now(), command=(), configs=(), first_number=8, trials=8, more=2
        ),
    )
    (kept,) = train_front(search, trials[1], trials, print)
    assert kept == read_result(run).pareto[0]
    assert run.read(f"{EXTENSION}/pareto/3/model.keras") == b"old"
