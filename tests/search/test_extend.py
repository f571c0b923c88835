"""A finished run that goes on: what may change, what is kept of it, and what its user is told."""

import json
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hyperopt import base
from support.jobs import Run as Submit
from support.kills import kill_when
from support.made_up import bare_trial, manifest, result, run_directory
from support.pages import Page
from support.paths import CONF_DIR

from cnn import Run, tune
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
from cnn.rundir.trials import TrialResult, read_trials
from cnn.search.context import Search
from cnn.search.end_run import end_run, has_ended, publish
from cnn.search.extension import Plan, plan_extension
from cnn.search.hyperopt_documents import point_of
from cnn.search.journal import Start, read_start, write_start
from cnn.search.phase_rounds import ConfirmationRound, SearchRound
from cnn.search.phase_trials import PhaseTrials
from cnn.search.space import SearchSpace
from cnn.settings.schema import Settings
from cnn.settings.toml import CONF, dump_settings, load_settings
from cnn.start import RunRequest, extend_run, resume_run

RATES = {"low": 1e-3, "high": 1e-2, "log": True}
MORE = "search.max_trials=30"


def settings(**tables: Any) -> Settings:
    return load_settings([CONF / "test.toml"], tables=tables)


def tried(number: int, **fields: Any) -> TrialResult:
    """A trial of conf/test.toml's search."""
    params: dict[str, Any] = {
        "conv_layers": 1 + number % 2,
        "filters": 4,
        "dense_units": 8,
        "dropout": 0.0,
    }
    params |= {"learning_rate": 2e-3, "batch_size": 16, "batch_norm": False, "pooling": "flatten"}
    params = {**params, "augment": False, **fields.pop("params", {})}
    return bare_trial(number, fields.pop("status", "ok"), params=params, **fields)


def plan(own: Settings, trials: list[TrialResult], *assignments: str, **options: Any) -> Plan:
    return plan_extension(dump_settings(own), trials, assignments=assignments, **options)


def test_the_trials_asked_for_are_further_ones_and_the_space_may_become_wider() -> None:
    trials = [tried(0), tried(1, status="pruned"), tried(2, status="invalid")]
    trials += [tried(3, status="cancelled"), tried(4, repeats=0)]
    wider = {"conv_layers": {"choices": [3, 2, 1]}, "dropout": {"low": 0.0, "high": 0.5}}
    found = plan(
        settings(search={"points": [{"conv_layers": 2, "learning_rate": 2e-3}]}),
        trials,
        "search.epochs=2",
        "final.epochs=3",
        tables={"space": wider, "search": {"max_trials": 4}},
        flags={"max_trials": 30, "parallelism": None},
    )
    assert found.text() == "2 trials are there, 30 more"
    (phase,) = found.settings.phases
    assert phase.max_trials == 32
    assert found.settings.final.epochs == 3
    # A point says what the dropout was, which now varies.
    assert phase.points[0]["dropout"] == 0.0
    space = SearchSpace(phase)
    assert [space.encode(trial.params)["dropout"] for trial in trials[:2]] == [[0.0], [0.0]]


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        ([], "--extend must be used with --max-trials"),
        (["search.max_trials=0"], r"search\.max_trials .* greater than or equal to 1, but got 0"),
        ([MORE, "search.epochs=9"], r"--extend must keep the run's search\.epochs, 2, but got 9"),
        ([MORE, "features.views=9"], r"must keep the run's features\.views, 4, but got 9"),
        ([MORE, "space.conv_layers={choices=[2, 3]}"], r"trial 0 is not: conv_layers .* but got 1"),
        ([MORE, "space.filters=8"], r"trial 0 is not: filters must be 8 in this space, but got 4"),
        (
            [MORE, "space.learning_rate={low=3e-3, high=1.0}"],
            r"trial 0 is not: learning_rate must be from 0\.003 to 1\.0, but got 0\.002",
        ),
        ([MORE, "space.label_smoothing={low=0.0, high=0.1}"], r"trial 0 is not: label_smoothing"),
        ([MORE, "space.backbone={choices=['none', 'resnet50']}"], "keep the run's backbones, none"),
        ([MORE, "space.dropuot=0.1"], "dropuot"),
        ([MORE, "phases.1.epochs=3"], r"must have an index from 0 to 0"),
    ],
)
def test_what_would_be_another_search_is_refused_by_name(
    assignments: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        plan(settings(), [tried(0), tried(1)], *assignments)
    assert "\n" not in str(refused.value)


def test_parameters_of_a_network_of_ones_own_must_be_known_of_each_trial() -> None:
    own = settings(model={"builder": "some.module:build"}, space={"width": 3})
    params = {"learning_rate": 2e-3, "batch_size": 16, "width": 3}
    trials = [bare_trial(0, params=params)]
    assert plan(own, trials, MORE, "space.width={low=1, high=9}").more == 30
    with pytest.raises(InputError, match="trial 0 is not: depth must be known of each trial"):
        plan(own, trials, MORE, "space.depth=2")


def test_only_the_last_phase_goes_on() -> None:
    names = [{"name": "first"}, {"name": "second", "fix": "first", "space": {"dropout": 0.0}}]
    own = settings(phases=names)
    trials = [tried(0, phase="first"), tried(1, phase="first"), tried(2, phase="second")]
    found = plan(own, trials, MORE, "space.dropout={low=0.0, high=0.5}", "search.timeout=60")
    assert found.text() == "phase second: 1 trial is there, 30 more"
    first, second = found.settings.phases
    assert first.space == own.phases[0].space
    assert (first.max_trials, second.max_trials) == (own.phases[0].max_trials, 31)
    with pytest.raises(InputError, match=r"all phases but the last as they are, .* phases\.0\.eta"):
        plan(own, trials, MORE, "phases.0.eta=4")
    with pytest.raises(InputError, match="phase first has no finished trial"):
        plan(own, [tried(0, phase="first", status="crashed"), trials[2]], MORE)


def test_a_grid_goes_on_where_points_are_left_also_in_a_larger_one(tmp_path: Path) -> None:
    layers = {"conv_layers": {"choices": [1, 2]}, "learning_rate": 2e-3}
    own = settings(search={"strategy": "grid"}, space=layers)
    trials = [tried(0), tried(1)]
    with pytest.raises(InputError, match="all 2 points of the grid have been tried"):
        plan(own, trials, MORE)
    found = plan(own, trials, MORE, "space.conv_layers={choices=[3, 2, 4, 1, 5]}")
    # Two repetitions were between the first trials and those to come.
    again = [tried(2, repeats=0), tried(3, repeats=1)]
    made = search_round(tmp_path, found.settings, [*trials, *again], first_number=4)
    assert [one["conv_layers"] for one in proposals(made, [4, 5, 6, 7])] == [3, 4, 5]
    # One driver has done trial 5, and died before trial 4 was done.
    ended = tried(5, params={"conv_layers": 4})
    made = search_round(tmp_path, found.settings, [*trials, *again, ended], first_number=4)
    assert [one["conv_layers"] for one in proposals(made, [4, 6])] == [3, 5]


def search_of(
    folder: Path, own: Settings, trials: list[TrialResult], *, first_number: int
) -> Search:
    """A search that is extended; no session is needed before it runs."""
    extension = Extension(
        started=now(), command=(), configs=(), first_number=first_number, trials=2, more=4
    )
    spark: Any = None
    data = manifest(32, {"a": 9, "b": 9})
    known = (spark, Directory("data"), Directory(folder), own, data, trials, print)
    return Search(*known, extension=extension)


def search_round(
    folder: Path, own: Settings, trials: list[TrialResult], *, first_number: int
) -> SearchRound:
    search = search_of(folder, own, trials, first_number=first_number)
    (phase,) = own.phases
    return SearchRound(search, phase, SearchSpace(phase), PhaseTrials(search, phase), 0)


def proposals(made: SearchRound, numbers: list[int]) -> list[dict[str, Any]]:
    domain, trials = base.Domain(lambda _: 0.0, made.expression), base.Trials()
    found = [made.suggest([number], domain, trials, 0) for number in numbers]
    return [made.params(point_of(domain, one[0])).model_dump() for one in found if one]


def test_repetitions_stay_valid_and_their_numbers_are_not_used_again(tmp_path: Path) -> None:
    own = settings(search={"confirm": {"top": 2, "seeds": 2}, "max_trials": 6})
    (phase,) = own.phases
    trials = [tried(n, accuracy=0.6 + n / 100) for n in range(3)]
    trials += [tried(3, repeats=2), tried(4, repeats=1), tried(5, repeats=2), tried(6, repeats=1)]
    made = search_round(tmp_path, own, trials, first_number=7)
    assert sorted(made.others) == [3, 4, 5, 6]
    assert [trial.number for trial, _ in made.earlier] == [0, 1, 2]
    new = [tried(7, accuracy=0.99), tried(8, accuracy=0.1)]
    search = search_of(tmp_path, own, [*trials, *new], first_number=7)
    again = ConfirmationRound(search, phase, SearchSpace(phase), PhaseTrials(search, phase))
    assert again.repeats == {9: 7, 10: 7}
    assert list(again.earlier) == []
    # A driver that died had made one of them.
    done = [*trials, *new, tried(9, repeats=7)]
    search = search_of(tmp_path, own, done, first_number=7)
    again = ConfirmationRound(search, phase, SearchSpace(phase), PhaseTrials(search, phase))
    assert again.repeats == {9: 7, 10: 7}
    assert [trial.number for trial, _ in again.earlier] == [9]


def test_what_had_ended_a_search_does_not_end_it_again(tmp_path: Path) -> None:
    own = settings(search={"target": 0.9, "max_stalled": 2})
    trials = [tried(0, accuracy=0.95), tried(1), tried(2)]
    search = search_of(tmp_path, own, trials, first_number=3)
    stopping = PhaseTrials(search, own.phases[0]).stopping
    assert stopping.reason() is None
    stopping.add(tried(3, accuracy=0.96))
    assert stopping.reason() is None
    for number in (4, 5):
        stopping.add(tried(number))
    assert stopping.reason() == "2 trials in a row were no better"
    own = settings(search={"target": 0.9})
    search = search_of(tmp_path, own, [tried(0)], first_number=1)
    stopping = PhaseTrials(search, own.phases[0]).stopping
    stopping.add(tried(1, accuracy=0.95))
    assert stopping.reason() == "the target of 0.9 was reached"


def extended(folder: Path, *, kept: bool) -> Directory:
    """A run whose extension has its result, which the run has not yet."""
    run = run_directory(folder, result(), [bare_trial(0), bare_trial(1)])
    files = {"model.keras": b"old", "model.json": b"old", "test.parquet": b"old"}
    for name, content in {**files, "suspects.csv": b"old", "report.html": b"old"}.items():
        run.write(name, content)
    write_start(run, Start(data="data", fingerprint="f", started=now(), command=("first",)))
    before = read_result(run)
    extension = Extension(
        started=now(), command=("second",), configs=(), first_number=8, trials=8, more=2
    )
    write_extension(run, extension)
    changed = {"command": ["second"], "trials": {"ok": 10}}
    if not kept:
        changed["winner"] = {"number": 6, "phase": "search", "accuracy": 0.99, "loss": 0.01}
    new = RunResult.model_validate(result(**changed)).model_copy(
        update={"earlier": (as_earlier(before, kept=kept),)}
    )
    out = run.sub(EXTENSION)
    out.write("settings.toml", run.read("settings.toml") + b"# new\n")
    for name in () if kept else files:
        out.write(name, b"new")
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
        assert run.read("settings.toml").endswith(b"# new\n")
        assert b"# new" not in run.read("earlier/1/settings.toml")
        assert read_result(run.sub("earlier/1")).command == ("jobs/tune.py", "--data", "my data")
        assert read_result(run).command == ("second",)
        start = read_start(run)
        assert start.command == ("first",)
        assert [one.command for one in start.extensions] == [("second",)]
    # The result that is kept, and then the settings, the start and the result.
    assert moment >= 4


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


def test_an_extension_that_never_began_leaves_a_finished_run(tmp_path: Path) -> None:
    run = extended(tmp_path, kept=False)
    assert read_extension(run) is not None
    (tmp_path / "run" / EXTENSION / RESULT).unlink()
    with pytest.raises(InputError, match=r"--extend must name a finished run, .* use --resume"):
        extend_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]
    remove_extension(run)
    assert read_extension(run) is None
    assert not run.exists(EXTENSION)


def test_an_unfinished_run_is_to_be_resumed(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    write_start(run, Start(data="data", fingerprint="f", started=now()))
    with pytest.raises(InputError, match="has not finished: use --resume first"):
        extend_run(nullcontext(), run, RunRequest())  # type: ignore[arg-type]


SEARCH = {"strategy": "random", "max_trials": 2, "epochs": 1}


@pytest.fixture(scope="module")
def finished(spark: Any, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("extend") / "run"
    final = {"epochs": 1, "attempts": 1}
    tune(spark, noise_data, run, config=CONF_DIR / "test.toml", search=SEARCH, final=final)
    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


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
    left, whole = (
        {name for name in contents(path) if not name.startswith("tensorboard/")}
        for path in (run, undisturbed)
    )
    assert left == whole
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
