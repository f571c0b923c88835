"""Successive halving: the rule, and what trials tell each other through the run directory."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made_up import bare_trial

from cnn.core.directory import Directory
from cnn.rundir.trials import Status, TrialResult, trial_key
from cnn.train.halving import Rungs, frugal_key, goes_on, ranking_loss, rung_epochs


@pytest.mark.parametrize(
    ("epochs", "grace", "eta", "rungs"),
    [
        (27, 1, 3, (1, 3, 9)),
        (28, 1, 3, (1, 3, 9, 27)),
        (4, 0.25, 2, (0.25, 0.5, 1, 2)),
        (1, 1, 3, ()),
    ],
)
def test_rungs_lie_below_the_last_epoch(
    epochs: int, grace: float, eta: int, rungs: tuple[float, ...]
) -> None:
    assert rung_epochs(epochs, grace, eta) == pytest.approx(rungs)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(2, 5))
def test_of_those_that_reached_a_rung_the_best_share_goes_on(scores: list[int], eta: int) -> None:
    keys = [(float(score), 0.0) for score in scores]
    kept = [
        key for place, key in enumerate(keys) if goes_on(key, keys[:place] + keys[place + 1 :], eta)
    ]
    assert min(keys) in kept
    worst = max(kept)
    # Equals go on together; without them it is the share.
    assert sum(key < worst for key in keys) < max(1, len(keys) // eta)


def test_trials_are_compared_with_those_that_came_before(tmp_path: Path) -> None:
    rungs = Rungs(Directory(tmp_path), "search", 3)
    values = [0.5, 0.4, 0.6, 0.3, 0.35, 0.9]
    went_on = [rungs.report(0, number, (value, 1.0)) for number, value in enumerate(values)]
    # The sixth of six may be among the best two.
    assert went_on == [True, True, False, True, False, False]
    # Told again, as when a trial is repeated, it is not its own rival.
    assert rungs.report(0, 3, (0.3, 1.0))
    assert Rungs(Directory(tmp_path), "other", 3).report(0, 9, (1.0, 1.0))
    (tmp_path / "rungs" / "search" / "0" / "notes.txt").write_text("not an entry")
    assert not rungs.report(0, 10, (0.95, 1.0))


def test_equal_accuracies_are_told_apart_by_their_losses_whatever_rounding_does(
    tmp_path: Path,
) -> None:
    rungs = Rungs(Directory(tmp_path), "search", 3)
    accuracy = 1 - 0.2575  # 0.7424999999999999
    assert rungs.report(0, 0, (accuracy, 1.0))
    assert not rungs.report(0, 1, (accuracy, 1.0 + 1e-12))
    assert rungs.report(0, 2, (accuracy, 1.0 - 1e-12))


def test_a_trial_that_came_first_is_judged_again_when_others_have_come(tmp_path: Path) -> None:
    rungs = Rungs(Directory(tmp_path), "search", 3)
    assert rungs.report(0, 0, (0.5, 1.0))
    for number in (1, 2):
        assert rungs.report(0, number, (0.1, 1.0))
    assert not rungs.report(0, 0, (0.5, 1.0))
    # Told again, it counts once.
    assert len(Directory(tmp_path).names("rungs/search/0")) == 3


def test_a_result_that_is_not_finite_stops_behind_all_others(tmp_path: Path) -> None:
    rungs = Rungs(Directory(tmp_path), "search", 2)
    assert rungs.report(0, 0, (0.5, 1.0))
    assert not rungs.report(0, 1, (float("inf"), float("inf")))
    assert rungs.report(0, 2, (0.4, 1.0))


def trial(status: Status, accuracy: float, rung: int | None = None) -> TrialResult:
    return bare_trial(0, status, accuracy=accuracy, loss=1 - accuracy, rung=rung)


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_a_pruned_trial_ranks_behind_all_that_got_further(objective: str) -> None:
    trials = [
        trial("ok", 0.9),
        trial("ok", 0.2),
        trial("pruned", 0.8, rung=2),
        trial("pruned", 0.99, rung=1),
        trial("pruned", 0.5, rung=1),
        trial("pruned", 1.0, rung=0),
    ]
    shuffled = trials.copy()
    random.Random(0).shuffle(shuffled)
    losses = {id(t): ranking_loss(objective, t) for t in shuffled}
    assert sorted(shuffled, key=lambda t: losses[id(t)] or 0) == trials
    assert ranking_loss("val_accuracy", trial("crashed", 0.9)) is None


def test_where_accuracies_cannot_be_told_apart_the_cheaper_is_the_better() -> None:
    def network(accuracy: float, loss: float, operations: int | None) -> TrialResult:
        found = {"accuracy": accuracy, "loss": loss, "operations": operations}
        return bare_trial(0, "ok", validation_images=400, **found)

    # One error in 400 images is within a standard error of none, two are not.
    trials = [
        network(0.9975, 0.02, 10_000),
        network(1.0, 0.01, 20_000),
        network(1.0, 0.001, 10**9),
        network(1.0, 0.0001, None),
        network(0.995, 0.001, 100),
        network(0.9, 0.3, 10),
    ]
    frugal = [ranking_loss("val_accuracy", trial, frugal=True) for trial in trials]
    assert None not in frugal
    assert frugal == sorted(set(frugal), key=lambda loss: loss or 0)
    plain = [ranking_loss("val_accuracy", trial) for trial in trials]
    assert plain.index(min(plain, key=lambda loss: loss or 0)) == 3
    # A trial of which no image was validated has a key of its own.
    assert frugal_key((0.0, 0.5), images=None, operations=10) == (0.0, 0.5)


# What one's own function may return, from the best to the worst; neighbours differ little.
OWN = (
    1.7e308,
    1.00001e12,
    1e12,
    1.0001,
    1.0,
    0.999,
    1e-6,
    0.0,
    -1e-6,
    -0.5,
    -1.0,
    -1.0001,
    -1.7e308,
)


def test_whatever_a_function_of_ones_own_returns_the_order_is_kept(tmp_path: Path) -> None:
    objective = "package.module:function"

    def own(number: int, status: Status, value: float | None, **fields: Any) -> TrialResult:
        return bare_trial(number, status, objective=value, **{"loss": 1.0, **fields})

    kinds: list[tuple[Status, dict[str, int]]] = [("ok", {})]
    kinds += [("pruned", {"rung": rung}) for rung in (63, 1, 0)]
    trials = [
        own(0, status, value, loss=loss, **fields)
        for status, fields in kinds
        for value in OWN
        # Of two equals the one with the lower loss is better.
        for loss in (0.1, 2.0)
    ]
    losses = [ranking_loss(objective, trial) for trial in trials]
    assert None not in losses
    assert losses == sorted(set(losses), key=lambda loss: loss or 0)
    assert ranking_loss(objective, own(0, "ok", None)) is None
    # At a rung, results are exchanged in the names of files.
    rungs = Rungs(Directory(tmp_path), "search", 2)
    went_on = [
        rungs.report(0, number, trial_key(objective, own(number, "ok", value)))
        for number, value in enumerate(reversed(OWN))
    ]
    assert all(went_on)
    assert not rungs.report(0, 99, trial_key(objective, own(99, "ok", None)))


def test_a_trial_that_cannot_tell_its_rung_goes_on(tmp_path: Path) -> None:
    (tmp_path / "run").touch()  # no directory
    assert Rungs(Directory(tmp_path / "run"), "search", 3).report(0, 7, (0.5, 1.0))
