"""A search by a function of the user's own, and what such a function must be."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.paths import CONF_DIR
from support.unfinished import assert_others_kept, unfinished_copy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import cnn
from cnn import InputError, Run
from cnn.core.directory import Directory
from cnn.model.named_functions import check_passed
from cnn.model.own_function import pack
from cnn.report.page import render_report
from cnn.rundir.trials import TrialResult, read_trials
from cnn.search.objective_check import problem_of
from cnn.settings.toml import load_settings

WORST = "support.own_objectives:worst"
QUICK: dict[str, Any] = {
    "config": CONF_DIR / "test.toml",
    "final": {"epochs": 2, "attempts": 1, "data": "train", "suspects": "none"},
}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "wurst",
            "executors can import, but support.own_objectives has no wurst; did you mean worst?",
        ),
        ("NUMBER", "must name a function, but support.own_objectives:NUMBER is of type int"),
        ("of_labels", "(probabilities, labels), but .*:of_labels has (labels: .* too many"),
        ("fails", "raised KeyError: 'a key' (own_objectives.py, line .*, in fails: return dict"),
        ("nothing", "must return a finite number, but .* returned a value of type NoneType"),
        ("for_each_image", "must return a finite number, but .* a value of type ndarray"),
        ("not_finite", "must return a finite number, but .*:not_finite returned nan"),
    ],
)
def test_what_is_wrong_with_a_function_is_one_line(name: str, line: str) -> None:
    problem = problem_of(f"support.own_objectives:{name}", None, 3)
    assert problem is not None
    pattern = ".*".join(map(re.escape, line.split(".*")))
    assert re.search(pattern, problem), problem
    assert problem.startswith("search.objective must ")
    assert "\n" not in problem


def test_a_function_that_ranks_is_taken() -> None:
    assert problem_of(WORST, None, 3) is None
    sent = pack(lambda probabilities, labels: np.float32(probabilities[labels == 0].min()), "own")
    assert problem_of("__main__:lambda", sent, 2) is None


def test_a_function_that_is_passed_must_be_one_of_the_runs() -> None:
    settings = load_settings(assignments=["search.objective=__main__:cost"])
    check_passed(settings, ["__main__:cost"])
    with pytest.raises(InputError, match=r"the run's functions, __main__:cost, but got __main__:f"):
        check_passed(settings, ["__main__:f"])


@pytest.mark.slow
def test_a_function_that_executors_lack_is_refused_before_anything_starts(
    spark: Any, noise_data: Path, tmp_path: Path
) -> None:
    search = {"objective": "no_such_module:cost"}
    with pytest.raises(InputError, match=r"executors can import, but got no_such_module:cost: "):
        cnn.tune(spark, noise_data, tmp_path / "run", search=search, **QUICK)
    assert not list(tmp_path.iterdir())


def a_function(fails_for: Sequence[int] = ()) -> Callable[..., Any]:
    """A function as a notebook defines it, which executors cannot import.

    It raises for these labels.
    """

    def cost(probabilities: np.ndarray, labels: np.ndarray) -> Any:
        if np.array_equal(labels, fails_for):
            raise ValueError("of these images nothing can be said")
        return -1000 * (probabilities.argmax(axis=1) == labels).mean()

    return cost


@pytest.fixture(scope="module")
def found(
    spark: Any, noise_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, str]:
    """A search that prefers networks with a low accuracy, and what the terminal showed."""
    out = tmp_path_factory.mktemp("own") / "run"
    # One trial after another: what is proposed then follows from the trials that are there.
    quick = {"max_trials": 3, "epochs": 3, "halving": True, "parallelism": 1}
    search = {**quick, "objective": a_function()}
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        run = cnn.tune(spark, noise_data, out, search=search, **QUICK)
    return run, "\n".join(lines)


def trials_of(run: Run) -> list[TrialResult]:
    return list(read_trials(Directory(run.path)))


def test_it_ranks_trials_epochs_and_rungs(found: tuple[Run, str]) -> None:
    run, _ = found
    trials = trials_of(run)
    for trial in trials:
        assert trial.objective == pytest.approx(-1000 * (trial.accuracy or 0))
        for epoch in trial.epochs:
            assert epoch.val_objective == pytest.approx(-1000 * (epoch.val_accuracy or 0))
        if trial.best_epoch:
            values = [epoch.val_objective or 0 for epoch in trial.epochs]
            assert values[trial.best_epoch - 1] == max(values) == trial.objective
    done = [trial for trial in trials if trial.status == "ok"]
    winner = next(trial for trial in done if trial.number == run.result.winner.number)
    assert winner.objective == max(trial.objective for trial in done if trial.objective is not None)
    published = [path.name for path in (Path(run.path) / "rungs").rglob("*_*")]
    assert published
    assert all(float(name.split("_")[1]) >= 0 for name in published)


def test_its_value_and_name_are_shown(found: tuple[Run, str]) -> None:
    run, terminal = found
    result = run.result
    assert result.phases[0].objective == "__main__:cost"
    assert result.test.objective == pytest.approx(-1000 * result.test.accuracy)
    assert result.validation.objective == pytest.approx(-1000 * result.validation.accuracy)
    assert re.search(r"best is trial \d, validation cost -\d+", terminal)
    page = render_report(Directory(run.path))
    for text in ("search by validation cost", '<th scope="col">val. cost</th>', "test cost"):
        assert text in page
    assert ">cost</th>" in run._repr_html_()
    assert run.trials()["objective"].notna().all()
    reader = EventAccumulator(str(Path(run.path) / "tensorboard" / "00000"))
    reader.Reload()
    events = reader.Scalars("objective/validation")
    values = [epoch.val_objective for epoch in trials_of(run)[0].epochs]
    # TensorBoard has float32.
    assert [event.value for event in events] == pytest.approx(values, rel=1e-6)


def test_a_run_is_resumed_with_the_same_function_alone(
    spark: Any, found: tuple[Run, str], tmp_path: Path
) -> None:
    whole, out = Path(found[0].path), tmp_path / "run"
    last = unfinished_copy(whole, out)
    with pytest.raises(InputError, match=r"__main__:cost was passed in Python: call cnn\.tune"):
        cnn.tune(spark, out=out, resume=True)
    # That it fails on the test images is said, and nothing else is lost.
    tested = pq.read_table(whole / "test.parquet")["label"].to_pylist()
    function = a_function(fails_for=tested)
    again = cnn.tune(spark, out=out, resume=True, search={"objective": function})
    assert again.result.test.objective is None
    assert "the cost of the test images could not be computed" in again.result.notes
    assert again.params == found[0].params
    assert_others_kept(whole, out, last)
    assert json.loads(last.read_text())["objective"] is not None
