"""cnn.search.Trials with objectives of one's own, through hyperopt.fmin, on real Spark."""

import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from hyperopt import STATUS_OK, fmin, hp, rand, tpe
from hyperopt.base import JOB_STATE_DONE

from cnn.search import Refused, Trials
from cnn.worker import trial_number


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
    assert {result["seen"] for result in trials.results} <= {"a", "b"}


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
    def prepare(point: Any) -> Any:
        if point["x"] < 0:
            raise Refused("negative")
        return point

    seen: list[tuple[int, str]] = []
    trials = Trials(
        spark,
        2,
        prepare=prepare,
        on_result=lambda number, _, result: seen.append((number, result["status"])),
    )
    search(trials, lambda point: point["x"], max_evals=4)
    assert sum(status == "ok" for _, status in seen) == 4
    assert sorted(number for number, _ in seen) == list(range(len(seen)))
    assert len(seen) > 4


def test_the_time_limit_cancels_what_runs(spark: Any) -> None:
    def fn(point: dict[str, float]) -> float:
        if trial_number() > 0:
            time.sleep(60)
        return point["x"]

    results: dict[int, Any] = {}
    trials = Trials(
        spark,
        1,
        timeout=8,
        on_result=lambda number, _, result: results.update({number: result}),
    )
    started = time.monotonic()
    search(trials, fn, max_evals=3)
    assert time.monotonic() - started < 40
    assert results[0]["status"] == "ok"
    assert results[1]["cancelled"]


def test_numbers_start_where_they_are_told(spark: Any) -> None:
    numbers: list[int] = []
    trials = Trials(spark, 2, first_number=7, on_launch=numbers.append)
    search(trials, lambda _: float(trial_number()), max_evals=3)
    assert numbers == [7, 8, 9]
    assert trials.losses() == [7.0, 8.0, 9.0]


def test_early_stopping_ends_the_search(spark: Any) -> None:
    from hyperopt.early_stop import no_progress_loss

    trials = Trials(spark, 2)
    search(trials, lambda _: 1.0, max_evals=30, early_stop_fn=no_progress_loss(2))
    assert len(trials.trials) < 30
    assert trials.fmin_cancelled_reason == "early stopping condition"


def test_the_driver_does_not_import_tensorflow() -> None:
    code = "import sys, cnn.tuning, cnn.dataset; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
