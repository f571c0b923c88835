"""Among trials that are about as good, the one whose network costs least to apply."""

from typing import Any

import pytest
from support.made_up import bare_trial

from cnn.rundir.trials import TrialResult
from cnn.search.simplest import has_equals, possible_winners, simplest
from cnn.settings.final import FinalSettings
from cnn.settings.schema import ConfirmationSettings, PhaseSettings

PHASE = PhaseSettings(name="search", space={})
BY_LOSS = PHASE.model_copy(update={"objective": "val_loss"})
FINAL = FinalSettings(choose="simplest")


def trial(number: int, accuracy: float, **fields: Any) -> TrialResult:
    known = {"params": {"filters": 4 + number}, "validation_images": 100, "parameters": 1000}
    return bare_trial(number, accuracy=accuracy, **{"loss": 1 - accuracy, **known, **fields})


def number_of_simplest(
    *trials: TrialResult, phase: PhaseSettings = PHASE, final: FinalSettings = FINAL
) -> int:
    """Of trials of which the first is the best."""
    found = simplest(phase, final, trials[0], trials)
    assert found is not None
    return found.number


def test_the_simplest_is_within_one_standard_error() -> None:
    trials = [
        trial(0, 0.95, parameters=9000),
        trial(1, 0.94, parameters=5000),
        # One standard error of 95 of 100 images is about 2.4 points.
        trial(2, 0.93, parameters=3000),
        trial(3, 0.92, parameters=1000),
        trial(4, 0.95, parameters=10, status="pruned", rung=0),
        trial(5, 0.95, parameters=10, phase="earlier"),
    ]
    found = simplest(PHASE, FINAL, trials[0], trials)
    assert found is not None
    assert (found.number, found.parameters) == (2, 3000)
    assert found.standard_error == pytest.approx(0.0245, abs=1e-3)
    assert found.params["filters"] == 6


def test_at_100_percent_the_error_is_not_zero() -> None:
    assert number_of_simplest(trial(0, 1.0, parameters=9000), trial(1, 0.99, parameters=10)) == 1


def test_the_best_may_be_the_simplest_and_old_trials_say_nothing() -> None:
    assert number_of_simplest(trial(0, 0.95, parameters=10), trial(1, 0.95, parameters=20)) == 0
    assert simplest(PHASE, FINAL, trial(0, 0.95, parameters=None), []) is None


@pytest.mark.parametrize("parameters", [1000, 990])
def test_what_costs_hardly_less_is_no_simpler(parameters: int) -> None:
    assert number_of_simplest(trial(1, 0.95), trial(0, 0.95, parameters=parameters)) == 1


def test_operations_decide_and_parameters_only_where_they_are_unknown() -> None:
    best = trial(0, 0.95, parameters=9000, operations=100)
    small = trial(1, 0.95, parameters=10, operations=300)
    quick = trial(2, 0.94, parameters=20_000, operations=50)
    assert number_of_simplest(best, small, quick) == 2
    assert number_of_simplest(best, small, quick, trial(3, 0.94, parameters=20)) == 1


def test_a_margin_is_of_the_objective() -> None:
    best = trial(0, 0.95, loss=0.2, parameters=9000)
    others = trial(1, 0.5, loss=0.24, parameters=20), trial(2, 0.95, loss=0.26, parameters=10)
    margin = FINAL.model_copy(update={"margin": 0.05})
    assert number_of_simplest(best, *others, phase=BY_LOSS, final=margin) == 1
    assert number_of_simplest(best, *others, final=margin) == 2
    # Nobody knows the standard error of a mean loss.
    assert not has_equals(BY_LOSS, FINAL)
    assert has_equals(BY_LOSS, margin)
    assert has_equals(PHASE, FINAL)


def test_repetitions_count_instead_of_the_score_that_was_selected() -> None:
    trials = [
        trial(0, 0.95, parameters=9000),
        # Lucky: its repetitions are worse.
        trial(1, 0.99, parameters=10),
        # Not repeated, so nobody knows.
        trial(2, 0.95, parameters=5),
        trial(3, 0.94, parameters=100),
        *(trial(4 + i, 0.95, repeats=0) for i in range(2)),
        *(trial(6 + i, 0.80, repeats=1) for i in range(2)),
        *(trial(8 + i, 0.94, repeats=3) for i in range(2)),
    ]
    assert number_of_simplest(*trials) == 3


def test_trials_that_can_still_win() -> None:
    trials = [
        trial(0, 0.90, parameters=1),
        trial(1, 0.99, parameters=9000),
        trial(2, 0.98, parameters=5000),
        # Trial 2 is better and costs less.
        trial(3, 0.98, parameters=6000),
    ]
    assert possible_winners(PHASE, FINAL, trials) == {1, 2}
    assert possible_winners(PHASE, FinalSettings(), trials) == {1}
    assert possible_winners(BY_LOSS, FINAL, trials) == {1}
    confirmed = PHASE.model_copy(update={"confirm": ConfirmationSettings(top=3)})
    assert possible_winners(confirmed, FinalSettings(), trials) == {1, 2, 3}
    assert possible_winners(PHASE, FINAL, []) == set()
    # A file that says less than trials do.
    bare = [trials[0], trial(4, 1.0).model_copy(update={"validation_images": None})]
    assert possible_winners(PHASE, FINAL, bare) == {4}
