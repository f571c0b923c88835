"""The report's account of time: who was busy when, and what stopping early saved."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.made_up import START, epochs, trial
from support.pages import text_of

from cnn.report.cost import fill_slots, phase_costs
from cnn.rundir.trial_clock import Clock
from cnn.rundir.trials import TrialResult


def timed(number: int, start: float, end: float, **fields: Any) -> TrialResult:
    return trial(
        number,
        started=START + timedelta(seconds=start),
        ended=START + timedelta(seconds=end),
        **fields,
    )


def test_trials_are_laid_on_as_few_slots_as_they_need() -> None:
    seconds = {"launch": 1.0, "data": 0.5, "compile": 2.0, "train": 3.0}
    trials = [
        timed(0, 1, 10, seconds=seconds),
        timed(1, 1, 5),
        timed(2, 5, 10, seconds={"train": 99.0}),
        timed(3, 10, 10, status="invalid", error="no"),
    ]
    slots = fill_slots(trials)
    assert slots.names == ["slot 1", "slot 2"]
    assert {bar.trial.number: bar.slot for bar in slots.bars} == {0: 0, 1: 1, 2: 1, 3: 0}
    assert slots.span == 10
    assert slots.busy == pytest.approx((10 + 4 + 5) / 20)
    first = next(bar for bar in slots.bars if bar.trial.number == 0)
    assert first.parts == (
        ("launch", 0, 1),
        ("data", 1, 1.5),
        ("compile", 1.5, 3.5),
        ("train", 3.5, 6.5),
        ("other", 6.5, 10),
    )


def test_slots_are_those_of_their_hosts() -> None:
    trials = [timed(0, 0, 9, host="b"), timed(1, 0, 9, host="a"), timed(2, 9, 12, host="b")]
    slots = fill_slots(trials)
    assert slots.names == ["a, slot 1", "b, slot 1"]
    assert {bar.trial.number: bar.slot for bar in slots.bars} == {0: 1, 1: 0, 2: 1}


def test_the_time_of_an_interruption_is_left_out(tmp_path: Path) -> None:
    trials = [timed(0, 0, 10), timed(1, 100_010, 100_020)]
    clock = Clock(trials)
    assert clock.at(trials[1].ended) == 20
    assert fill_slots(trials).busy == 1
    assert "interrupted and resumed" in text_of(tmp_path, trials)


def test_what_stopping_early_saved_is_told_apart(tmp_path: Path) -> None:
    known: dict[str, Any] = {"train_images": 100, "max_epochs": 10, "epochs": epochs(4, 0.8)}
    trials = [
        trial(0, **known),
        trial(1, "pruned", rung=1, accuracy=0.7, loss=0.3, **known),
        trial(2, **known, folds=5),
        trial(3, "crashed", error="no", **known),
    ]
    cost = phase_costs(trials, ["search"])[0]
    assert (cost.trials, cost.image_epochs) == (4, 400 + 400 + 2000 + 400)
    assert (cost.saved_by_rungs, cost.saved_by_patience) == (600, 600 + 3000)
    assert "search 4 35.0 s 3,200 600 3,600" in text_of(tmp_path, trials)
