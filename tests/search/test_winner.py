"""Which trial wins, and what repetitions say of it."""

from typing import Any

import pytest
from support.made_up import bare_trial

from cnn.rundir.trials import TrialResult
from cnn.search.winner import choose, confirmation, expected_accuracy
from cnn.settings.schema import ConfirmationSettings, PhaseSettings


def trial(number: int, accuracy: float, **fields: Any) -> TrialResult:
    known = {"params": {"filters": 4 + number}, "validation_images": 100, "parameters": 1000}
    return bare_trial(number, accuracy=accuracy, **{"loss": 1 - accuracy, **known, **fields})


def phase(**changes: Any) -> PhaseSettings:
    confirm = ConfirmationSettings(top=2, seeds=2)
    return PhaseSettings(**{"name": "search", "space": {}, "confirm": confirm, **changes})


SEARCHED = [trial(0, 0.9), trial(1, 0.95), trial(2, 0.8), trial(3, 0.99, status="pruned", rung=0)]
REPEATS = [
    trial(4, 0.80, repeats=1),
    trial(5, 0.90, repeats=0),
    trial(6, 0.84, repeats=1),
    trial(7, 0.88, repeats=0),
]


def test_the_mean_of_the_repetitions_picks_the_winner() -> None:
    winner = choose(phase(), [*SEARCHED, *REPEATS])
    assert winner is not None
    assert winner.number == 0
    assert expected_accuracy(winner, [*SEARCHED, *REPEATS]) == pytest.approx(0.89)


@pytest.mark.parametrize(
    ("settings", "trials"),
    [
        (phase(confirm=None), [*SEARCHED, *REPEATS]),
        (phase(), SEARCHED),
        # The time was up before one of the two had a repetition.
        (phase(), [*SEARCHED, REPEATS[0]]),
        (phase(), [*SEARCHED, REPEATS[0], trial(5, 0.0, repeats=0, status="crashed", error="x")]),
    ],
)
def test_where_not_all_were_repeated_the_searchs_own_best_wins(
    settings: PhaseSettings, trials: list[TrialResult]
) -> None:
    winner = choose(settings, trials)
    assert winner is not None
    assert winner.number == 1


def test_a_repetition_never_wins_itself() -> None:
    winner = choose(phase(confirm=None), [*SEARCHED, trial(4, 1.0, repeats=1)])
    assert winner is not None
    assert winner.number == 1


def test_how_much_the_best_was_flattered() -> None:
    found = confirmation(phase(), [*SEARCHED, *REPEATS])
    assert found is not None
    assert found.selection_bias == pytest.approx(0.95 - 0.82)
    first, second = found.candidates
    assert (first.number, first.repeats, first.scores) == (1, (4, 6), (0.80, 0.84))
    assert first.spread == pytest.approx(0.02 * 2**0.5)
    assert second.number == 0
    assert second.mean == pytest.approx(0.89)
    by_loss = confirmation(phase(objective="val_loss"), [*SEARCHED, *REPEATS])
    assert by_loss is not None
    # A loss that is lower in the search than again was flattered too.
    assert by_loss.selection_bias == pytest.approx(0.18 - 0.05)


def test_repetitions_are_compared_by_a_function_of_ones_own() -> None:
    settings = phase(objective="package.module:cost")
    searched = [trial(n, 0.9, objective=value) for n, value in enumerate((-50.0, -40.0, -90.0))]
    repeats = [
        trial(3 + n, 0.9, repeats=of, objective=value)
        for n, (of, value) in enumerate([(1, -80.0), (0, -60.0), (1, -70.0), (0, None)])
    ]
    found = confirmation(settings, [*searched, *repeats])
    assert found is not None
    assert found.selection_bias == pytest.approx(35.0)
    first, second = found.candidates
    assert (first.number, first.score, first.scores) == (1, -40.0, (-80.0, -70.0))
    # One repetition had no finite value.
    assert (second.number, second.mean, second.spread) == (0, None, None)
    winner = choose(settings, [*searched, *repeats])
    assert winner is not None
    assert winner.number == 1


def test_without_repetitions_nothing_is_said_of_them() -> None:
    assert confirmation(phase(), SEARCHED) is None
    assert confirmation(phase(confirm=None), [*SEARCHED, *REPEATS]) is None
