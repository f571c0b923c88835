"""Optuna's strategies behind Hyperopt's interface, with the real Optuna."""

import math
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import base
from support.jobs import Run
from support.kills import kill_when

from cnn.core.directory import Directory
from cnn.rundir.earlier_runs import NOTHING, EarlierRuns, EarlierTrial
from cnn.rundir.trials import read_trials
from cnn.search.hyperopt_documents import document_of, point_of
from cnn.search.optuna_strategies import STRATEGIES
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.settings.schema import PhaseSettings

# A Gaussian process takes a second for each proposal, and its package is not among the tests'.
GAUSSIAN = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("torch") is None, reason="needs torch"),
]
EACH = [pytest.param(name, marks=GAUSSIAN if name == "optuna-gp" else []) for name in STRATEGIES]
STARTUP, BEST = 8, 3e-3
RANGES: dict[str, Any] = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "dropout": {"low": 0.0, "high": 0.8},
    "batch_size": {"low": 4, "high": 256, "log": True},
    "conv_layers": {"low": 1, "high": 4},
    "filters": {"choices": [8, 16, [8, 16]]},
}
# Networks from scratch and on backbones; layers that some networks lack.
KINDS: dict[str, Any] = {
    "backbone": {"choices": ["none", "a", "b"]},
    "conv_layers": {"choices": [1, 2, 3]},
    "filters": {"choices": [4, 8], "per_layer": "conv_layers"},
    "dense_units": {"same_as": "filters"},
    "head_units": {"choices": [0, 16]},
    "fine_tune": {"choices": [0.0, 0.3]},
    "backbone_rate": {"low": 0.01, "high": 0.5, "log": True},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
Loss = Callable[[dict[str, Any]], float | None]


def space_of(name: str, space: dict[str, Any], **changes: Any) -> SearchSpace:
    fields = {"name": "p", "strategy": name, "space": space, "startup_trials": STARTUP, "seed": 1}
    return SearchSpace(PhaseSettings.model_validate(fields | changes))


def distance(params: dict[str, Any]) -> float:
    """How far a configuration is from the best one."""
    rate = math.log10(params["learning_rate"] / BEST)
    return abs(rate) + abs(params["dropout"] - 0.3)


class Search:
    """A search without Spark: what is proposed, given the results so far."""

    def __init__(self, space: SearchSpace, earlier: EarlierRuns = NOTHING) -> None:
        self.space, self.trials = space, base.Trials()
        self.domain = base.Domain(lambda _: 0.0, space.expression())
        self._suggest = strategy(space, 0, None, earlier)

    def propose(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """A trial's document and its configuration."""
        (document,) = self._suggest([number], self.domain, self.trials, 0)
        return document, self.params(document)

    def params(self, document: dict[str, Any]) -> dict[str, Any]:
        return self.space.params(point_of(self.domain, document)).model_dump()

    def know(self, documents: Iterable[dict[str, Any]]) -> None:
        self.trials.insert_trial_docs(list(documents))
        self.trials.refresh()

    def run(self, numbers: Iterable[int], loss: Loss) -> list[dict[str, Any]]:
        """The configurations of trials that run in turn; a loss of None is a failure."""
        found = []
        for number in numbers:
            document, params = self.propose(number)
            found.append(params)
            self.know([ended(document, loss(params))])
        return found


def ended(document: dict[str, Any], loss: float | None) -> dict[str, Any]:
    result = {"status": "fail"} if loss is None else {"status": "ok", "loss": loss}
    return {**document, "state": base.JOB_STATE_DONE, "result": result}


@pytest.mark.parametrize("name", EACH)
def test_proposals_stay_in_their_ranges_and_near_what_was_good(name: str) -> None:
    search = Search(space_of(name, RANGES))
    found = search.run(range(30), distance)
    for params in found:
        assert 1e-5 <= params["learning_rate"] <= 1e-1
        assert 0.0 <= params["dropout"] <= 0.8
        assert isinstance(params["batch_size"], int)
        assert 4 <= params["batch_size"] <= 256
        assert params["conv_layers"] in {1, 2, 3, 4}
        assert params["filters"] in (8, 16, (8, 16))
        search.space.encode(params)  # or it raises
    at_random = np.median([distance(params) for params in found[:STARTUP]])
    assert np.median([distance(params) for params in found[-10:]]) < 0.6 * at_random


@pytest.mark.parametrize("name", EACH)
def test_a_proposal_has_the_parameters_of_its_kind_of_network(name: str) -> None:
    search, kinds = Search(space_of(name, KINDS)), set()
    # No kind is better than another, so that each is tried.
    for params in search.run(range(30), lambda params: abs(params["learning_rate"] - 1e-3)):
        names = {"backbone", "learning_rate"}
        if params["backbone"] == "none":
            names |= {"conv_layers", "filters", "dense_units"}
            assert len(params["filters"]) == params["conv_layers"]
            assert params["dense_units"] == params["filters"][-1]
        else:
            names |= {"head_units", "fine_tune"}
            names |= {"backbone_rate"} if params["fine_tune"] else set()
        assert {key for key in params if key in KINDS} == names
        kinds.add((params["backbone"], params.get("fine_tune")))
    assert len(kinds) > 3
    for document in search.trials.trials:
        # What is not drawn has no value in Hyperopt's document either.
        vals = document["misc"]["vals"]
        encoded = search.space.encode(search.params(document))
        assert {n: len(v) for n, v in vals.items()} == {n: len(v) for n, v in encoded.items()}


@pytest.mark.parametrize("name", EACH)
def test_a_resumed_search_proposes_the_same_and_another_seed_something_else(name: str) -> None:
    space = space_of(name, RANGES)
    search = Search(space)
    found = search.run(range(12), distance)
    document, expected = search.propose(12)
    # As a driver knows them that reads the trials' files, which are in no order.
    read = [
        ended(document_of(number, space.encode(params), {}, base.JOB_STATE_DONE), distance(params))
        for number, params in enumerate(found)
    ]
    again = Search(space)
    again.know(reversed(read))
    assert again.propose(12)[1] == expected
    # Asked once more for the same number, because the first answer was there already.
    assert again.propose(12)[1] != expected
    other = Search(space_of(name, RANGES, seed=2))
    other.know(read)
    assert other.propose(12)[1] != expected
    assert document["misc"]["tid"] == 12


def test_running_trials_keep_others_away() -> None:
    space = space_of("optuna-tpe", {"learning_rate": RANGES["learning_rate"]})

    def proposed(running: Iterable[float]) -> np.ndarray:
        """Logarithms of what is proposed while trials with these learning rates run."""
        search = Search(space)
        search.run(range(20), lambda params: abs(math.log10(params["learning_rate"] / BEST)))
        search.know(
            document_of(20 + place, {"learning_rate": [rate]}, {}, base.JOB_STATE_RUNNING)
            for place, rate in enumerate(running)
        )
        found = [search.propose(number)[1]["learning_rate"] for number in range(40, 60)]
        return np.log10(found)

    alone = proposed([])
    beside = proposed(10**alone)
    middle = np.median(alone)
    assert np.mean(abs(beside - middle)) > 1.5 * np.mean(abs(alone - middle))


@pytest.mark.parametrize("name", EACH)
def test_earlier_runs_and_failures_inform_them(name: str) -> None:
    space = space_of(name, RANGES)
    drawn = (params.model_dump() for params in space_of("random", RANGES).first(30))
    ranked = sorted(drawn, key=distance)
    known = [
        EarlierTrial(params={n: params[n] for n in RANGES}, place=(rank + 0.5) / len(ranked))
        for rank, params in enumerate(ranked)
    ]
    # There are no start-up trials, and what this run tries fails.
    search = Search(space, EarlierRuns(trials=tuple(known)))
    found = search.run(range(6), lambda params: None)
    at_random = np.median([distance(params) for params in ranked])
    assert np.median([distance(params) for params in found]) < 0.7 * at_random


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_search_whose_driver_was_killed_goes_on(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["jobs/tune.py", "--data", str(noise_data), "--out", str(run)]
    words += ["--config", "conf/test.toml", "--max-trials", "10"]
    rate = "space.learning_rate={low=1e-4,high=1e-2,log=true}"
    for assignment in ("search.strategy=optuna-tpe", "search.startup_trials=3", rate):
        words += ["--set", assignment]
    kill_when(words, lambda: len(list((run / "trials").glob("*.json"))) >= 5)
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    trials = read_trials(Directory(run))
    assert [trial.number for trial in trials] == list(range(10))
    assert {trial.status for trial in trials} <= {"ok", "pruned"}
    assert len({trial.params["learning_rate"] for trial in trials}) == 10
    assert "multivariate TPE search" in (run / "report.html").read_text()
