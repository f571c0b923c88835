"""When a phase is over before all its trials are."""

from pathlib import Path
from typing import Any

import pytest
from support.made_up import bare_trial
from support.paths import CONF_DIR

from cnn import tune
from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.data.data_set import DataSet
from cnn.rundir.trials import TrialResult
from cnn.search.run_phases import without_best
from cnn.search.stopping import Stopping
from cnn.settings.schema import PhaseSettings


def ending(folder: Path, **settings: Any) -> Stopping:
    phase = PhaseSettings.model_validate({"name": "p", "space": {}, **settings})
    return Stopping(phase, Directory(folder))


def trial(number: int, status: str = "ok", accuracy: float = 0.5, **fields: Any) -> TrialResult:
    scored = {"accuracy": accuracy, "loss": 1.0} if status in {"ok", "pruned"} else {}
    error = {"error": f"reason {number}"} if status in {"crashed", "invalid"} else {}
    return bare_trial(number, status, phase="p", **{**scored, **error, **fields})


@pytest.mark.parametrize(
    ("objective", "target", "bad", "good"),
    [
        ("val_accuracy", 0.9, {"accuracy": 0.89}, {"accuracy": 0.9}),
        ("val_loss", 0.2, {"loss": 0.21}, {"loss": 0.2}),
        ("val_balanced_accuracy", 0.9, {"accuracy": 1.0}, {"balanced_accuracy": 0.95}),
        ("val_f1", 0.9, {"accuracy": 1.0}, {"objective": 0.95}),
        ("package.module:cost", -20, {"objective": -20.5}, {"objective": -19.5}),
    ],
)
def test_a_target_that_is_reached_ends_it(
    tmp_path: Path, objective: str, target: float, bad: dict[str, Any], good: dict[str, Any]
) -> None:
    phase = ending(tmp_path, objective=objective, target=target)
    phase.add(trial(0, **{"balanced_accuracy": 0.5, **bad}))
    assert phase.reason() is None
    phase.add(trial(1, **good))
    assert phase.reason() == f"the target of {target:g} was reached"
    # It stays reached, whatever comes after.
    phase.add(trial(2))
    assert phase.reason() is not None


def test_trials_that_are_no_better_end_it(tmp_path: Path) -> None:
    phase = ending(tmp_path, max_stalled=3)
    for number, accuracy in enumerate([0.5, 0.4, 0.5, 0.6, 0.6, 0.1]):
        phase.add(trial(number, accuracy=accuracy))
        assert phase.reason() is None
    phase.add(trial(6, "pruned", 0.7))
    assert phase.reason() == "3 trials in a row were no better"


def test_failures_in_a_row_are_an_error_with_the_first_cause(tmp_path: Path) -> None:
    phase = ending(tmp_path, max_consecutive_failures=3)
    for number in range(2):
        phase.add(trial(number, "crashed"))
    phase.add(trial(2, "pruned"))
    # What could not be built was never launched, what was cancelled did not fail.
    statuses = ["crashed", "invalid", "cancelled", "timeout"]
    for number, status in enumerate(statuses, start=3):
        phase.add(trial(number, status))
    with pytest.raises(Error, match=r"3 trials in a row failed .* trial 3 \(crashed\): reason 3"):
        phase.add(trial(7, "diverged"))


@pytest.mark.parametrize(
    ("limits", "known", "error"),
    [
        ({"max_latency_ms": 2.0}, {"latency_ms": 2.5}, "2.5 ms for an image, but"),
        ({"max_parameters": 10}, {"parameters": 20}, "20 parameters, but"),
        ({"max_operations": 10}, {"parameters": 5, "operations": 20}, "20 operations, but"),
    ],
)
def test_a_network_beyond_limits_is_no_failure_but_too_many_in_a_row_are_an_error(
    limits: dict[str, Any], known: dict[str, Any], error: str, tmp_path: Path
) -> None:
    phase = ending(tmp_path, max_consecutive_failures=3, **limits)

    def beyond(number: int) -> TrialResult:
        return trial(number, "invalid", host="executor", error=error, **known)

    for number in range(98):
        phase.add(beyond(number))
    phase.add(trial(98))
    for number in range(99, 198):
        phase.add(beyond(number))
    # The driver refuses what it knows to be impossible: it never came so far.
    phase.add(trial(198, "invalid"))
    with pytest.raises(Error, match=f"100 networks in a row were beyond .* trial 199: {error}"):
        phase.add(beyond(199))
    # What cannot be built at all still fails.
    for number in range(2):
        phase.add(trial(number, "invalid", host="executor", latency_ms=1.5, parameters=5))
    with pytest.raises(Error, match="3 trials in a row failed"):
        phase.add(trial(2, "invalid", host="executor"))


def test_an_earlier_drivers_trials_are_remembered_but_its_failures_are_not_held_against_this_one(
    tmp_path: Path,
) -> None:
    phase = ending(tmp_path, max_consecutive_failures=2, max_stalled=4)
    phase.remember(trial(0))
    for number in (1, 2, 3):
        phase.remember(trial(number, "crashed"))
    assert phase.reason() is None
    phase.add(trial(4, "crashed"))
    assert phase.reason() == "4 trials in a row were no better"


@pytest.mark.parametrize(
    ("statuses", "rule"),
    [
        (["crashed", "invalid", "diverged"], r"all 3 trials .* trial 0 \(crashed\): reason 0"),
        (["invalid", "invalid"], r"all 2 trials .* trial 0 \(invalid\): reason 0"),
        (["invalid", "crashed", "cancelled"], r"all 2 trials .* trial 1 \(crashed\): reason 1"),
        (
            ["invalid", "cancelled", "cancelled"],
            "no trial of phase 'p' finished before the timeout",
        ),
        ([], "no trial of phase 'p' finished before the timeout"),
    ],
)
def test_a_phase_without_a_winner_says_why(tmp_path: Path, statuses: list[str], rule: str) -> None:
    trials = [trial(number, status) for number, status in enumerate(statuses)]
    phase = PhaseSettings(name="p", space={})
    with pytest.raises(Error, match=rule):
        raise without_best(Directory(tmp_path), phase, trials)


def test_a_space_that_is_used_up_ends_it_with_the_reason(
    spark: Any, greys: DataSet, tmp_path: Path
) -> None:
    run = tune(
        spark,
        greys,
        tmp_path / "run",
        config=CONF_DIR / "test.toml",
        search={"strategy": "random", "epochs": 1, "max_trials": 5},
        space={"filters": {"choices": [2, 4]}, "conv_layers": 1, "learning_rate": 3e-3},
        final={"epochs": 1, "attempts": 1, "suspects": "none"},
    )
    assert run.result.trials == {"ok": 2}
    assert "phase search ended early: none of 1,000 proposals in a row was" in run.result.notes[-1]
