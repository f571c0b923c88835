"""Finished runs that go on, from the first trial to the report: in a notebook, killed, refused."""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Run as Submit
from support.kills import kill_when
from support.pages import Page
from support.paths import CONF_DIR

from cnn import Run, tune
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.rundir.extension import EXTENSION
from cnn.rundir.result import RESULT, read_result
from cnn.rundir.trials import read_trials
from cnn.start import RunRequest, extend_run, resume_run

SEARCH = {"strategy": "random", "max_trials": 2, "epochs": 1}


@pytest.fixture(scope="module")
def finished(spark: Any, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("extend") / "run"
    final = {"epochs": 1, "attempts": 1}
    tune(spark, noise_data, run, config=CONF_DIR / "test.toml", search=SEARCH, final=final)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    """A run's files but those of TensorBoard: written again, they have the same in any order."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    return {n: p.read_bytes() for n, p in files.items() if not n.startswith("tensorboard/")}


def copied(finished: Path, folder: Path) -> Path:
    return Path(shutil.copytree(finished, folder / "run"))


def test_what_is_refused_changes_nothing(finished: Path) -> None:
    before = contents(finished)
    request = RunRequest(flags={"max_trials": 2}, assignments=["space.filters=8"])
    with pytest.raises(InputError, match="trial 0 is not: filters must be 8"):
        extend_run(nullcontext(), Directory(finished), request)  # type: ignore[arg-type]
    assert contents(finished) == before


def test_a_run_goes_on_twice_in_a_notebook(
    spark: Any, finished: Path, tmp_path: Path, capsys: Any
) -> None:
    run = copied(finished, tmp_path)
    first, model = Run.load(run), (run / "model.keras").read_bytes()
    # Trials that have no time cannot be better.
    again = tune(spark, extend=run, max_trials=1, search={"trial_timeout": 0.01})
    assert f"extending {run}: 2 trials are there, 1 more\n" in capsys.readouterr().out
    assert again.result.earlier[0].kept
    assert (run / "model.keras").read_bytes() == model
    assert again.result.test == first.result.test
    assert "nothing better was found" in again.summary()
    assert not (run / EXTENSION).exists()
    assert not (run / "checkpoints").exists()
    # Trained in another way, the winner is another network, whichever trial it is.
    wider = {"filters": {"choices": [4, 8]}, "dropout": {"low": 0.0, "high": 0.3}}
    search = {"trial_timeout": 500}
    last = tune(
        spark, extend=run, max_trials=2, search=search, space=wider, final={"epochs": 2}
    ).result
    assert [final.kept for final in last.earlier] == [True, False]
    assert (run / "earlier" / "2" / "model.keras").read_bytes() == model
    assert read_result(Directory(run / "earlier" / "2")) == again.result
    assert len(last.final.epochs) == 2
    trials = read_trials(Directory(run))
    assert [trial.number for trial in trials] == [0, 1, 2, 3, 4]
    assert [trial.status for trial in trials] == ["ok", "ok", "timeout", "ok", "ok"]
    assert last.trials == {"ok": 4, "timeout": 1}
    assert "max_trials = 5" in (run / "settings.toml").read_text()
    assert last.seconds["search"] > again.result.seconds["search"]
    assert last.seconds["search"] < (last.ended - last.started).total_seconds()
    assert "opened twice" in Page((run / "report.html").read_text()).text
    assert Run.load(run).classifier().card.classes == ("cats", "dogs")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("moment", ["third trial", "tested"])
def test_an_extension_whose_driver_is_killed_ends_as_if_it_had_not_been(
    submit: Submit, finished: Path, tmp_path: Path, moment: str
) -> None:
    words = ["--max-trials", "4", "--set", "space.filters={choices=[4, 8]}"]
    undisturbed, run = copied(finished, tmp_path / "undisturbed"), copied(finished, tmp_path)
    done = submit("jobs/tune.py", "--extend", undisturbed, *words)
    assert done.returncode == 0, done.stderr
    before = contents(run)
    ready: dict[str, Callable[[], bool]] = {
        "third trial": (run / "trials" / "00002.json").exists,
        "tested": (run / EXTENSION / "tested.json").exists,
    }
    kill_when(["jobs/tune.py", "--extend", str(run), *words], ready[moment])
    after = contents(run)
    assert {name: after.get(name) for name in before} == before
    tested = after.get(f"{EXTENSION}/tested.json")
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert f"resuming the extension of {run}" in done.stdout
    found, expected = (
        {trial.number: trial.params for trial in read_trials(Directory(path))}
        for path in (run, undisturbed)
    )
    assert found == expected
    assert {*contents(run)} == {*contents(undisturbed)}
    if tested is not None:
        outcome = json.loads(tested)["outcome"]
        assert json.loads((run / RESULT).read_text())["test"] == outcome["test"]
    done = submit("jobs/tune.py", "--resume", run)
    assert done.stdout.splitlines()[0] == "the run has already finished"


@pytest.mark.slow
def test_extend_stands_alone_on_the_command_line(submit: Submit, finished: Path) -> None:
    for words, message in (
        (["--out", "x"], "--extend cannot be combined with --out: a run has its own settings"),
        (["--resume", str(finished)], "--resume cannot be combined with --extend"),
        ([], "--extend must be used with --max-trials, the number of further trials"),
    ):
        done = submit("jobs/tune.py", "--extend", finished, *words)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    with pytest.raises(InputError, match="--extend"):
        resume_run(
            nullcontext(),  # type: ignore[arg-type]
            Directory(finished),
            RunRequest(flags={"max_trials": 19}),
        )
