"""Which trials are repeated with other seeds, and what a search that is extended makes of them."""

from typing import Any

import pytest
from support.made_up import bare_trial

from cnn.rundir.trials import TrialResult
from cnn.search.confirm import plan_confirmation
from cnn.search.simplest import possible_winners
from cnn.search.winner import choose
from cnn.settings.final import FinalSettings
from cnn.settings.schema import PhaseSettings

FINAL = FinalSettings(choose="simplest")


def phase(confirm: Any = "auto") -> PhaseSettings:
    return PhaseSettings.model_validate(
        {"name": "search", "space": {}, "max_trials": 10, "confirm": confirm}
    )


def trial(number: int, loss: float, operations: int, **fields: Any) -> TrialResult:
    known = {"accuracy": 1.0, "validation_images": 100, "parameters": 9, "operations": operations}
    return bare_trial(number, loss=loss, **{**known, **fields})


# The best by its loss, an equal that costs less, and one that costs more.
TRIALS = [trial(0, 0.01, 50), trial(1, 0.03, 10), trial(2, 0.02, 90), trial(3, 0.5, 10)]


@pytest.mark.parametrize(("ended", "seeds"), [(4, 3), (5, 2), (8, 1), (9, 0)])
def test_a_saturated_phase_repeats_what_may_win_with_the_trials_that_it_saved(
    ended: int, seeds: int
) -> None:
    trials = [*TRIALS, *(bare_trial(n, "crashed") for n in range(4, ended))]
    plan = plan_confirmation(phase(), FINAL, trials, saturated=True)
    if not seeds:
        assert plan is None
        return
    assert plan is not None
    assert [one.number for one in plan.trials] == [0, 1]
    assert plan.seeds == seeds
    # Repetitions that there are change nothing about it.
    again = [*trials, trial(20, 5.0, 50, repeats=0, accuracy=0.2)]
    assert plan_confirmation(phase(), FINAL, again, saturated=True) == plan


def test_what_is_being_repeated_may_still_win_and_so_may_the_others() -> None:
    for repeated in ([], [0], [0, 1]):
        again = [trial(20 + n, 0.3, TRIALS[n].operations or 0, repeats=n) for n in repeated]
        assert possible_winners(phase(), FINAL, [*TRIALS, *again]) == {0, 1}


def test_the_cheapest_of_those_that_may_win_are_compared_with_the_best() -> None:
    chain = [trial(n, 0.01 * (n + 1), 100 - 20 * n) for n in range(5)]
    plan = plan_confirmation(phase(), FINAL, chain, saturated=True)
    assert plan is not None
    assert [one.number for one in plan.trials] == [0, 3, 4]
    alone = {"top": 1, "seeds": 3, "only_saturated": True}
    assert plan_confirmation(phase(alone), FINAL, chain, saturated=True) is None


def test_it_can_be_left_out() -> None:
    assert phase("never").confirm is None
    with pytest.raises(ValueError, match="ConfirmationSettings"):
        phase("always")


def test_only_a_saturated_phase_repeats_anything_unless_it_is_asked_to() -> None:
    assert plan_confirmation(phase(), FINAL, TRIALS, saturated=False) is None
    assert plan_confirmation(phase(None), FINAL, TRIALS, saturated=True) is None
    plan = plan_confirmation(phase({"top": 3, "seeds": 2}), FINAL, TRIALS, saturated=False)
    assert plan is not None
    assert ([one.number for one in plan.trials], plan.seeds) == ([0, 2, 1], 2)
    # Nothing else may win.
    assert plan_confirmation(phase(), FINAL, TRIALS[:1], saturated=True) is None


def test_repetitions_choose_unless_a_later_trial_is_better_than_all_of_them() -> None:
    repeated = [*TRIALS, trial(10, 0.6, 50, repeats=0), trial(11, 0.2, 10, repeats=1)]
    winner = choose(phase(), repeated)
    assert winner is not None
    assert winner.number == 1
    winner = choose(phase(), [*repeated, trial(12, 0.001, 70)])
    assert winner is not None
    assert winner.number == 12
