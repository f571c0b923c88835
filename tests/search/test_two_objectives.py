"""Searches for networks that are good and cost little."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import STATUS_FAIL, STATUS_OK, base
from support.jobs import Run as Submit
from support.kills import kill_when
from support.made_up import bare_trial
from support.paths import CONF_DIR

from cnn import Classifier, Run, tune
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError
from cnn.data.data_set import DataSet
from cnn.rundir.result import read_result
from cnn.rundir.trials import read_trials
from cnn.search.extension import plan_extension
from cnn.search.front_networks import of_front, remove_others, spread
from cnn.search.hyperopt_documents import document_of
from cnn.search.resume import resume_settings
from cnn.search.simplest import simplest
from cnn.search.two_objectives import with_costs
from cnn.settings.final import FinalSettings
from cnn.settings.schema import PhaseSettings
from cnn.settings.toml import dump_settings, load_settings, read_settings


def test_two_objectives_become_one_and_a_cost_without_rungs() -> None:
    settings = load_settings(assignments=['search.objective=["val_f1", "operations"]'])
    (phase,) = settings.phases
    assert (phase.objective, phase.cost, phase.halving) == ("val_f1", "operations", False)
    assert read_settings(dump_settings(settings)) == settings
    assert load_settings().phases[0].halving


@pytest.mark.parametrize(
    "objective",
    ['["val_accuracy", "price"]', '["val_accuracy"]', '["val_accuracy", ["latency"]]', "[]"],
)
def test_what_is_no_cost_is_refused_in_one_line(objective: str) -> None:
    rule = r"must be a single .* a cost \(latency, operations or parameters\), but got \["
    with pytest.raises(InputError, match=rule):
        load_settings(assignments=[f"search.objective={objective}"])


def test_a_strategy_is_told_the_front_first_and_its_ends_before_its_middle() -> None:
    results: list[dict[str, Any]] = [
        {"status": STATUS_OK, "loss": 0.5, "value": 0.5, "cost": 5.0},
        {"status": STATUS_OK, "loss": 0.1, "value": 0.1, "cost": 9.0},
        {"status": STATUS_OK, "loss": 0.4, "value": 0.4, "cost": 1.0},
        {"status": STATUS_FAIL},
        {"status": STATUS_OK, "loss": 0.3, "value": 0.3, "cost": 2.0},
        # As good as 1 but for the loss that breaks ties, and dearer: not on the front.
        {"status": STATUS_OK, "loss": 0.1 - 1e-9, "value": 0.1, "cost": 99.0},
    ]
    trials = base.Trials()
    trials.insert_trial_docs(
        [document_of(n, {"x": [n]}, r, base.JOB_STATE_DONE) for n, r in enumerate(results)]
    )
    trials.refresh()
    told = {document["tid"]: document["result"] for document in with_costs(trials).trials}
    order = sorted((n for n in told if "loss" in told[n]), key=lambda n: told[n]["loss"])
    # 1, 2 and 4 are the front, and 4 is between the others.
    assert order == [1, 2, 4, 5, 0]
    assert told[3] == {"status": STATUS_FAIL}
    assert trials.trials[0]["result"]["loss"] == 0.5


def test_the_winner_among_equals_is_the_fastest_if_that_is_the_second_objective() -> None:
    known: dict[str, Any] = {"validation_images": 100, "parameters": 1000}
    trials = [
        bare_trial(0, accuracy=0.9, latency_ms=2.0, operations=100, **known),
        bare_trial(1, accuracy=0.89, latency_ms=1.0, operations=200, **known),
        # Not faster beyond what a measured time varies by.
        bare_trial(2, accuracy=0.9, latency_ms=1.9, operations=50, **known),
    ]
    phase = PhaseSettings.model_validate(
        {"name": "search", "space": {}, "objective": ["val_accuracy", "latency"]}
    )
    final = FinalSettings(choose="simplest")
    found = simplest(phase, final, trials[0], trials)
    assert found is not None
    assert (found.number, found.cost) == (1, "latency_ms")
    assert (found.latency_ms, found.latency_ms_of_best) == (1.0, 2.0)
    found = simplest(phase, final, trials[0], [trials[0], trials[2]])
    assert found is not None
    assert found.number == 0
    # With a limit alone, latency is known too, but operations decide.
    one = phase.model_copy(update={"cost": None})
    found = simplest(one, final, trials[0], trials)
    assert found is not None
    assert (found.number, found.cost) == (2, "operations")


@pytest.mark.parametrize(
    ("count", "numbers"), [(0, []), (1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (9, [0, 1, 2, 3, 4])]
)
def test_members_of_a_front_are_spread_along_it(count: int, numbers: list[int]) -> None:
    members = [bare_trial(number) for number in range(5)]
    assert [trial.number for trial in spread(members, count)] == numbers


def test_one_objective_in_place_of_two_is_another_search() -> None:
    own = dump_settings(load_settings(assignments=['search.objective=["val_f1", "latency"]']))
    with pytest.raises(InputError, match=r"must keep the run's search\.cost, latency_ms"):
        resume_settings(own, assignments=["search.objective=val_f1"])
    more = ["search.objective=val_f1", "search.max_trials=3"]
    with pytest.raises(InputError, match=r"must keep the run's search\.cost, latency_ms"):
        plan_extension(own, [], assignments=more)
    again = ['search.objective=["val_f1", "latency"]']
    assert resume_settings(own, assignments=again)[0] == read_settings(own)


def test_the_first_of_two_objectives_may_be_a_function(
    spark: Any, greys: DataSet, tmp_path: Path
) -> None:
    def half(probabilities: np.ndarray, labels: np.ndarray) -> float:
        return 0.5

    # It has become a name by the time the cost is looked at.
    with pytest.raises(InputError, match=r"but got \['\S+:half', 'price'\]"):
        tune(spark, greys, tmp_path / "run", search={"objective": [half, "price"]})


def test_only_the_networks_of_the_result_are_kept_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_text("")
    run = Directory(tmp_path / "run")
    for name in ("3/model.keras", "3/tested.json", "3/notes.txt", "7/model.keras"):
        run.write(f"pareto/{name}", b"")
    (tmp_path / "run" / "pareto" / "9").symlink_to(tmp_path / "home")
    assert of_front(run, [3, 4]) == ["pareto/3/model.keras"]
    remove_others(run, [3])
    assert run.names("pareto") == ["3"]
    assert not run.exists("pareto/3/tested.json")
    assert (tmp_path / "home" / "precious").exists()


# A wide and a narrow network, of which the wide one learns faster.
SEARCH: dict[str, Any] = {
    "strategy": "grid",
    "objective": ["val_loss", "operations"],
    "max_latency_ms": 1000.0,
    "epochs": 1,
}
SPACE = {"filters": {"choices": [2, 16]}, "conv_layers": 1, "learning_rate": 3e-3}
FINAL = {"epochs": 1, "attempts": 1, "suspects": "none", "pareto": 5}


@pytest.fixture(scope="module")
def found(spark: Any, greys: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out, config = tmp_path_factory.mktemp("front") / "run", CONF_DIR / "test.toml"
    return tune(spark, greys, out, config=config, search=SEARCH, space=SPACE, final=FINAL)


def test_networks_of_the_front_are_trained_saved_and_tested(found: Run) -> None:
    run = Path(found.path)
    # By loss it is not known which trials are equal.
    assert found.result.phases[0].simplest is None
    trials = read_trials(Directory(run))
    assert all(trial.latency_ms and trial.latency_ms < 1000 for trial in trials)
    cheap, dear = trials
    assert cheap.operations is not None
    assert dear.operations is not None
    assert cheap.operations < dear.operations
    # The cheap one is on the front in any case.
    others = {cheap.number, dear.number} if (dear.loss or 0) < (cheap.loss or 0) else {cheap.number}
    others.discard(found.result.winner.number)
    assert {network.number for network in found.result.pareto} == others != set()
    assert {path.name for path in (run / "pareto").glob("*")} == {str(n) for n in others}
    for network in found.result.pareto:
        folder = run / "pareto" / str(network.number)
        assert {path.name for path in folder.iterdir()} == {
            *("model.keras", "model.json", "test.parquet"),
        }
        assert Classifier.load(folder).card.params == network.params
        assert 0 <= network.test_interval.low <= network.test_accuracy
    assert "The Pareto front" in (run / "report.html").read_text()


def test_what_takes_too_long_is_refused_before_it_is_trained(
    spark: Any, greys: DataSet, tmp_path: Path
) -> None:
    search, config = {**SEARCH, "max_latency_ms": 1e-4}, CONF_DIR / "test.toml"
    with pytest.raises(Error, match=r"ms for an image, but search\.max_latency_ms allows 0\.0001"):
        tune(spark, greys, tmp_path / "run", config=config, search=search, space=SPACE, final=FINAL)
    trials = read_trials(Directory(tmp_path / "run"))
    assert {trial.status for trial in trials} == {"invalid"}
    assert all(trial.latency_ms and not trial.epochs for trial in trials)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_what_was_trained_before_the_driver_was_killed_is_not_trained_again(
    submit: Submit, greys: DataSet, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["jobs/tune.py", "--data", greys.path, "--out", str(run), "--config", "conf/test.toml"]
    words += ["--set", "final.pareto=5", "--set", "space.filters={choices=[2, 4, 16]}"]
    words += ["--set", 'search.objective=["val_loss", "latency"]', "--max-trials", "6"]
    kill_when(words, lambda: any(run.glob("pareto/*/tested.json")))
    (tested,) = run.glob("pareto/*/tested.json")
    model = tested.with_name("model.keras")
    before = model.read_bytes()
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    assert model.read_bytes() == before
    result = read_result(Directory(run))
    assert int(model.parent.name) in {network.number for network in result.pareto}
    assert not list(run.glob("pareto/*/tested.json"))
