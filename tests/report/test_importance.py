"""Which parameters mattered in a search, and when that cannot be said."""

import pytest
from support.made_up import searched, trial

from cnn.report.importance import importances


def test_the_parameter_that_decides_is_the_most_important() -> None:
    found = importances(searched(40))
    assert found is not None
    assert [one.name for one in found.each] == ["width", "noise"]
    assert found.explained > 0.8
    assert found.reliable
    assert found.each[0].mean > 10 * abs(found.each[1].mean)
    assert found == importances(searched(40))


def test_importances_of_nothing_but_noise_are_not_believable() -> None:
    trials = [
        trial(n, params={"a": (n * 7) % 12, "b": (n * 5) % 12}, accuracy=0.5 + 0.1 * (n % 2))
        for n in range(12)
    ]
    shuffled = [
        t.model_copy(update={"accuracy": 0.5 + 0.01 * ((i * i * 31) % 7)})
        for i, t in enumerate(trials)
    ]
    found = importances(shuffled)
    assert found is not None
    assert not found.reliable


@pytest.mark.parametrize("count", [0, 1, 7])
def test_few_trials_have_no_importances(count: int) -> None:
    assert importances(searched(count)) is None
