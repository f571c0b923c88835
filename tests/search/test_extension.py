"""What a finished run may go on with: its settings, its space, its numbers and repetitions."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hyperopt import base
from support.made_up import bare_trial, manifest

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.rundir.extension import Extension
from cnn.rundir.trials import TrialResult
from cnn.search.confirm import plan_confirmation
from cnn.search.context import Search
from cnn.search.extension import Plan, plan_extension
from cnn.search.hyperopt_documents import point_of
from cnn.search.phase import run_phase
from cnn.search.phase_rounds import ConfirmationRound, SearchRound
from cnn.search.phase_trials import PhaseTrials
from cnn.search.resume import resume_settings
from cnn.search.space import SearchSpace
from cnn.settings.schema import Settings
from cnn.settings.toml import CONF, dump_settings, load_settings

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


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("search=5", "search must be a table, but got 5"),
        ("space=5", "space must be a table of parameters, but got 5"),
        ("phases.0.space=5", "space must be a table of parameters, but got 5"),
        ("phases=[]", "must keep the run's 1 phases, but got 0"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(assignment: str, message: str) -> None:
    for refuse in (
        lambda: plan(settings(), [tried(0)], MORE, assignment),
        lambda: resume_settings(dump_settings(settings()), assignments=[assignment]),
    ):
        with pytest.raises(InputError, match=message) as refused:
            refuse()
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


def confirmation_round(folder: Path, own: Settings, trials: list[TrialResult]) -> ConfirmationRound:
    (phase,) = own.phases
    search = search_of(folder, own, trials, first_number=7)
    plan = plan_confirmation(phase, own.final, trials, saturated=False)
    assert plan is not None
    return ConfirmationRound(search, phase, SearchSpace(phase), PhaseTrials(search, phase), plan)


def test_repetitions_stay_valid_and_their_numbers_are_not_used_again(tmp_path: Path) -> None:
    own = settings(search={"confirm": {"top": 2, "seeds": 2}, "max_trials": 6})
    trials = [tried(n, accuracy=0.6 + n / 100) for n in range(3)]
    trials += [tried(3, repeats=2), tried(4, repeats=1), tried(5, repeats=2), tried(6, repeats=1)]
    made = search_round(tmp_path, own, trials, first_number=7)
    assert sorted(made.others) == [3, 4, 5, 6]
    assert [trial.number for trial, _ in made.earlier] == [0, 1, 2]
    new = [tried(7, accuracy=0.99), tried(8, accuracy=0.1)]
    again = confirmation_round(tmp_path, own, [*trials, *new])
    assert again.repeats == {9: 7, 10: 7}
    assert list(again.earlier) == []
    # A driver that died had made one of them.
    done = [*trials, *new, tried(9, repeats=7)]
    again = confirmation_round(tmp_path, own, done)
    assert again.repeats == {9: 7, 10: 7}
    assert [trial.number for trial, _ in again.earlier] == [9]


def test_a_search_is_over_once_its_best_trials_are_being_repeated(tmp_path: Path) -> None:
    own = settings(search={"confirm": {"top": 1, "seeds": 1}, "max_trials": 6})
    (phase,) = own.phases
    trials = [tried(0, accuracy=0.9), tried(1, accuracy=0.8), tried(2, repeats=0)]
    search = dataclasses.replace(search_of(tmp_path, own, trials, first_number=0), extension=None)
    found, reason = run_phase(search, phase, SearchSpace(phase), 0, None)
    assert [trial.number for trial in found] == [0, 1, 2]
    assert reason == "the repetition of its best trials had begun"


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
