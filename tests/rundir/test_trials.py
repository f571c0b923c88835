"""Trial results: invariants, order, files, intervals."""

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.made_up import bare_trial

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.rundir.trials import (
    best_trial,
    count_by_status,
    objective_key,
    read_trials,
    scalar_objective,
    write_trial,
)
from cnn.rundir.wilson import wilson_interval
from cnn.settings.objective import Objective


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"accuracy": None}, "status ok must have accuracy and loss"),
        ({"loss": None}, "status ok must have accuracy and loss"),
        ({"status": "crashed", "error": None}, "status crashed must have an error"),
        ({"status": "happy"}, r"status\n  Input should be 'ok'"),
        ({"ended": now() - timedelta(hours=1)}, "a trial must end after"),
        ({"surprise": 1}, r"surprise\n  Extra inputs"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        bare_trial(**changes)


def key(objective: Objective, loss: float | None, accuracy: float | None) -> tuple[float, float]:
    return objective_key(objective, loss=loss, accuracy=accuracy, balanced_accuracy=accuracy)


@pytest.mark.parametrize("objective", ["val_accuracy", "val_balanced_accuracy"])
def test_accuracy_ranks_first_and_ties_go_to_the_lower_loss(objective: Objective) -> None:
    order = [(9.0, 0.99), (0.1, 0.98), (0.2, 0.98), (0.0, 0.5), (None, None)]
    keys = [key(objective, loss, accuracy) for loss, accuracy in order]
    assert keys == sorted(keys)
    scalars = [scalar_objective(k) for k in keys]
    assert scalars == sorted(scalars)
    assert len(set(scalars)) == len(scalars)


def test_loss_ranks_by_loss_alone_and_what_is_not_finite_last() -> None:
    assert key("val_loss", 0.1, 0.5) < key("val_loss", 0.2, 0.9) < key("val_loss", math.nan, 1)


def test_the_best_trial_is_a_finished_one_and_the_earlier_of_equals() -> None:
    trials = [
        bare_trial(0, status="diverged", accuracy=1.0, loss=0.0),
        bare_trial(2, accuracy=0.9),
        bare_trial(1, accuracy=0.9),
        bare_trial(3, accuracy=0.8),
    ]
    best = best_trial(trials, "val_accuracy")
    assert best is not None
    assert best.number == 1
    assert best_trial([], "val_loss") is None
    assert count_by_status(trials) == {"ok": 3, "diverged": 1}


def test_trials_are_read_as_they_were_written_and_other_files_ignored(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    written = [
        bare_trial(0),
        bare_trial(12, status="invalid", accuracy=None, loss=None, error="too deep"),
    ]
    for one in reversed(written):
        write_trial(run, one)
    (tmp_path / "trials" / "notes.txt").write_text("mine")
    assert list(read_trials(run)) == written
    assert (tmp_path / "trials" / "00012.json").is_file()


def test_a_torn_trial_file_is_said_and_not_trusted(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    write_trial(run, bare_trial(0))
    path = tmp_path / "trials" / "00000.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(Error, match=r"00000\.json is not a valid trial"):
        read_trials(run)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    # R: prop.test(x, n, correct = FALSE)
    [(98, 100, 0.9300, 0.9945), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson_interval(right: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=1e-4)
