"""Trials by two objectives."""

import itertools

import hypothesis.strategies as st
from hypothesis import given
from support.made_up import bare_trial

from cnn.rundir.front import front, ranks

POINTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=30)


def dominates(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@given(POINTS)
def test_the_fronts_are_those_of_the_definition(points: list[tuple[float, float]]) -> None:
    left, expected = set(points), dict[tuple[float, float], int]()
    for rank in itertools.count():
        best = {p for p in left if not any(dominates(other, p) for other in left)}
        expected |= dict.fromkeys(best, rank)
        left -= best
        if not left:
            break
    assert ranks(points) == [expected[point] for point in points]


def test_the_front_has_the_first_of_equals_and_no_repetitions() -> None:
    trials = [
        bare_trial(0, accuracy=0.9, operations=100),
        bare_trial(1, accuracy=0.8, operations=10),
        bare_trial(2, accuracy=0.8, operations=10),
        bare_trial(3, accuracy=0.7, operations=20),
        bare_trial(4, accuracy=0.99, operations=5, repeats=0),
        bare_trial(5, accuracy=0.99, operations=None),
        bare_trial(6, "pruned", accuracy=0.99, operations=1),
        bare_trial(7, accuracy=0.9, operations=99),
    ]
    assert [t.number for t in front(trials, "val_accuracy", "operations")] == [1, 7]
    # Of a loss, lower is better: bare trials have 1 - accuracy.
    assert [t.number for t in front(trials, "val_loss", "operations")] == [1, 7]
