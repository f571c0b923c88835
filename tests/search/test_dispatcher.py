"""The dispatcher with objectives of one's own, through hyperopt.fmin, on real Spark."""

import ast
import inspect
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hyperopt import STATUS_OK, SparkTrials, fmin, hp, rand, tpe
from hyperopt.base import JOB_STATE_DONE

import cnn.search.dispatcher
from cnn.search.dispatcher import Trials
from cnn.search.round import Refused, Repeated, Round
from cnn.spark.task import Isolation, trial_number


class Heard(Round):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.launches: list[int] = []
        self.results: dict[int, Any] = {}

    def launched(self, number: int, point: Any) -> None:
        self.launches.append(number)

    def finished(self, number: int, point: Any, result: Any) -> None:
        self.results[number] = result


def search(trials: Trials, fn: Any, **kwargs: Any) -> Any:
    settings = {"algo": rand.suggest, "max_evals": 4, **kwargs}
    space = settings.pop("space", {"x": hp.uniform("x", -1, 1)})
    rng = np.random.default_rng(0)
    return fmin(fn, space, trials=trials, rstate=rng, show_progressbar=False, **settings)


def test_fmin_returns_the_best_point(spark: Any) -> None:
    trials = Trials(spark, 2)
    best = search(trials, lambda point: point["x"] ** 2, max_evals=6)
    assert len(trials.trials) == 6
    assert best["x"] ** 2 == pytest.approx(min(trials.losses()))


def test_choices_reach_the_objective_as_values(spark: Any) -> None:
    space = {"c": hp.choice("c", ["a", "b"])}
    trials = Trials(spark, 2)
    search(
        trials,
        lambda point: {"loss": 0.0, "status": STATUS_OK, "seen": point["c"]},
        space=space,
    )
    assert {result["seen"] for result in trials.results} == {"a", "b"}
    for trial in trials.trials:
        assert trial["result"]["seen"] == "ab"[trial["misc"]["vals"]["c"][0]]


def test_an_objective_that_raises_is_a_failed_result_that_stays_known(spark: Any) -> None:
    def fn(point: dict[str, float]) -> float:
        if trial_number() == 1:
            raise ValueError("on purpose")
        return point["x"]

    trials = Trials(spark, 2)
    search(trials, fn, algo=tpe.suggest)
    failed = next(trial for trial in trials.trials if trial["tid"] == 1)
    assert failed["state"] == JOB_STATE_DONE
    assert failed["result"]["status"] == "fail"
    assert "on purpose" in failed["result"]["error"]
    assert len(trials.trials) == 4


def test_a_trial_that_kills_its_process_ends_that_trial_alone(spark: Any) -> None:
    def fn(point: dict[str, float]) -> float:
        import os

        if trial_number() == 0:
            os._exit(9)
        return point["x"]

    trials = Trials(spark, 2)
    search(trials, fn, max_evals=3)
    assert [trial["result"]["status"] for trial in trials.trials] == ["fail", "ok", "ok"]


def test_a_loss_that_is_not_finite_is_a_failure(spark: Any) -> None:
    trials = Trials(spark, 1)
    search(trials, lambda _: float("nan"), max_evals=1, return_argmin=False)
    assert trials.results[0]["status"] == "fail"


def test_refused_points_are_recorded_and_do_not_count(spark: Any) -> None:
    class Picky(Round):
        def prepare(self, point: Any) -> Any:
            if point["x"] < 0:
                raise Refused("negative")
            return point

        def finished(self, number: int, point: Any, result: Any) -> None:
            seen.append((number, result["status"]))

    seen: list[tuple[int, str]] = []
    search(Trials(spark, 2, round=Picky()), lambda point: point["x"], max_evals=4)
    assert sum(status == "ok" for _, status in seen) == 4
    assert sorted(number for number, _ in seen) == list(range(len(seen)))
    assert len(seen) > 4


def test_the_time_limit_cancels_what_runs(spark: Any) -> None:
    def fn(point: dict[str, float]) -> float:
        if trial_number() > 0:
            time.sleep(60)
        return point["x"]

    heard = Heard()
    started = time.monotonic()
    search(Trials(spark, 1, timeout=8, round=heard), fn, max_evals=3)
    results = heard.results
    assert time.monotonic() - started < 40
    assert results[0]["status"] == "ok"
    assert results[1]["cancelled"]


def test_numbers_start_where_they_are_told(spark: Any) -> None:
    heard = Heard()
    trials = Trials(spark, 2, first_number=7, round=heard)
    search(trials, lambda _: float(trial_number()), max_evals=3)
    assert heard.launches == [7, 8, 9]
    assert trials.losses() == [7.0, 8.0, 9.0]


def test_early_stopping_ends_the_search(spark: Any) -> None:
    from hyperopt.early_stop import no_progress_loss

    trials = Trials(spark, 2)
    search(trials, lambda _: 1.0, max_evals=30, early_stop_fn=no_progress_loss(2))
    # The first is the best; at the second without a better one, those that run are awaited.
    assert 2 <= len(trials.trials) <= 6
    assert trials.fmin_cancelled_reason == "early stopping condition"


@pytest.mark.parametrize("module", ["search.dispatcher", "search.run_search", "data.build"])
def test_the_driver_does_not_import_tensorflow(module: str) -> None:
    # Nor Optuna, which only some strategies need.
    heavy = {"tensorflow", "optuna", "torch"}
    code = f"import sys, cnn.{module}; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# What cnn/search/dispatcher.py leans on that hyperopt does not promise to keep.
PRIVATE = {
    "_dynamic_trials",
    "_fmin_cancelled",
    "_fmin_cancelled_reason",
    "_ids",
    "_spark",
    "_spark_context",
}


def test_hyperopts_private_attributes_that_are_touched_are_there_and_named_here(
    spark: Any,
) -> None:
    theirs = SparkTrials(parallelism=1, spark_session=spark)
    assert {name for name in PRIVATE if not hasattr(theirs, name)} == set()
    (ours,) = (
        node
        for node in ast.walk(ast.parse(inspect.getsource(cnn.search.dispatcher)))
        if isinstance(node, ast.ClassDef) and node.name == "Trials"
    )
    touched = {
        node.attr
        for node in ast.walk(ours)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
        and node.attr.startswith("_")
    }
    assert touched & set(dir(theirs)) == PRIVATE


def test_nothing_is_tried_twice_and_a_space_that_is_used_up_ends_the_search(spark: Any) -> None:
    seen: list[str] = []

    class Once(Round):
        def prepare(self, point: Any) -> Any:
            if point["c"] in seen:
                raise Repeated
            seen.append(point["c"])
            return point

    trials = Trials(spark, 2, round=Once())
    search(trials, lambda _: 0.0, space={"c": hp.choice("c", ["a", "b", "c"])}, max_evals=10)
    assert sorted(seen) == ["a", "b", "c"]
    assert len(trials.trials) == 3


def test_a_trial_that_is_to_be_stopped_is_gone_with_all_that_it_started(
    spark: Any, tmp_path: Path
) -> None:
    def fn(point: dict[str, float]) -> float:
        import os
        import signal

        # Neither asks to be ended nicely nor ends with its parent.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "100"])
        (tmp_path / str(trial_number())).write_text(f"{os.getpid()} {child.pid}")
        time.sleep(100)
        return 0.0

    def stop_when_both_run() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.05)
        stopped.append(time.monotonic())
        trials._cancel("on purpose")

    stopped: list[float] = []
    trials = Trials(spark, 2)
    thread = threading.Thread(target=stop_when_both_run)
    thread.start()
    search(trials, fn, max_evals=2, return_argmin=False)
    thread.join()
    pids = [int(pid) for path in tmp_path.iterdir() for pid in path.read_text().split()]
    assert len(pids) == 4
    assert stopped
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < stopped[0] + 5
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        "Z"
        not in subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    )


def test_a_trial_may_be_spawned(spark: Any) -> None:
    def fn(point: dict[str, float]) -> float:
        import sys

        return float("tensorflow" in sys.modules)

    forked, spawned = Trials(spark, 1), Trials(spark, 1, isolation=Isolation(method="spawn"))
    for trials in (forked, spawned):
        search(trials, fn, max_evals=1)
    assert forked.losses() == [1.0]
    assert spawned.losses() == [0.0]


def test_results_of_an_earlier_search_are_known_and_count(spark: Any) -> None:
    heard = Heard()
    trials = Trials(spark, 2, round=heard)
    trials.add_finished(0, {"x": [0.5]}, {"status": "ok", "loss": -9.0})
    trials.add_finished(2, {"x": [0.1]}, {"status": "fail"}, counts=False)
    best = search(trials, lambda point: point["x"], max_evals=3)
    assert heard.launches == [1, 3]
    assert best == {"x": 0.5}


def test_the_caller_may_end_the_search_after_any_result(spark: Any) -> None:
    class Content(Heard):
        def stop(self) -> str | None:
            return "enough" if len(self.results) == 2 else None

    heard = Content()
    trials = Trials(spark, 1, round=heard)
    search(trials, lambda point: point["x"], max_evals=9)
    assert list(heard.results) == [0, 1]
    assert trials.fmin_cancelled_reason == "enough"
