"""Search spaces and strategies, with the real Hyperopt."""

from typing import Any

import numpy as np
import pytest
from hyperopt import base

from cnn.settings import Dimension, InputError, ModelParams, PhaseSettings
from cnn.space import GRID, SearchSpace, grid_values, point_of
from cnn.strategies import strategy


def phase(strategy: str, space: dict[str, Any], **changes: Any) -> PhaseSettings:
    return PhaseSettings.model_validate(
        {"name": "p", "strategy": strategy, "space": space, **changes}
    )


def proposals(search: SearchSpace, numbers: list[int], first: int = 0) -> list[dict[str, Any]]:
    """What the strategy proposes for these numbers, as parameters that the space names."""
    domain = base.Domain(lambda _: 0.0, search.expression())
    trials, suggest, found = base.Trials(), strategy(search, first), []
    for number in numbers:
        for document in suggest([number], domain, trials, 12345):
            params = search.params(point_of(domain, document)).model_dump()
            found.append({name: params[name] for name in search.phase.space})
    return found


def test_a_grid_has_every_point_once_in_order_and_then_ends() -> None:
    search = SearchSpace(
        phase("grid", {"conv_layers": {"choices": [2, 3]}, "filters": {"choices": [8, 16]}})
    )
    found = proposals(search, list(range(5, 11)), first=5)
    assert found == [
        {"conv_layers": layers, "filters": filters} for layers in (2, 3) for filters in (8, 16)
    ]
    assert search.grid_size() == 4


def test_random_proposals_follow_from_their_numbers_alone() -> None:
    space = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "conv_layers": 2}
    search = SearchSpace(phase("random", space))
    forwards = proposals(search, [0, 1, 2, 3])
    backwards = proposals(search, [3, 2, 1, 0])
    assert forwards == backwards[::-1]
    assert len({point["learning_rate"] for point in forwards}) == 4
    other = SearchSpace(phase("random", space, seed=1))
    assert proposals(other, [0]) != forwards[:1]


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_values_stay_inside_their_ranges(strategy: str) -> None:
    search = SearchSpace(
        phase(
            strategy,
            {
                "conv_layers": {"low": 1, "high": 3},
                "batch_size": {"low": 4, "high": 64, "log": True},
                "dropout": {"low": 0.1, "high": 0.3},
                "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
            },
        )
    )
    found = proposals(search, list(range(200)))
    assert {point["conv_layers"] for point in found} == {1, 2, 3}
    batches = [point["batch_size"] for point in found]
    assert all(isinstance(size, int) and 4 <= size <= 64 for size in batches)
    assert np.median(batches) < 30
    assert all(0.1 <= point["dropout"] <= 0.3 for point in found)
    assert all(1e-4 <= point["learning_rate"] <= 1e-2 for point in found)


def test_a_parameter_may_be_the_same_as_another() -> None:
    space = {"filters": {"choices": [8, [8, 16]]}, "dense_units": {"same_as": "filters"}}
    found = proposals(SearchSpace(phase("grid", {**space, "conv_layers": 2})), [0, 1])
    assert [point["dense_units"] for point in found] == [8, 16]


def test_what_an_earlier_phase_found_holds_for_all_that_is_not_named() -> None:
    earlier = ModelParams(conv_layers=4, filters=8, dropout=0.1).model_dump()
    search = SearchSpace(phase("grid", {"dropout": {"choices": [0.5, 0.7]}}), earlier)
    params = [search.params({GRID: index}) for index in (0, 1)]
    assert [p.dropout for p in params] == [0.5, 0.7]
    assert {(p.conv_layers, p.filters) for p in params} == {(4, 8)}


def test_a_space_in_which_nothing_varies_is_one_point() -> None:
    search = SearchSpace(phase("tpe", {"conv_layers": 4, "filters": 8}))
    assert search.grid_size() == 1
    assert proposals(search, [0, 1]) == [{"conv_layers": 4, "filters": 8}]


def test_a_space_without_a_possible_configuration_is_refused_with_the_reason() -> None:
    search = SearchSpace(phase("random", {"conv_layers": {"low": 6, "high": 9}}))
    with pytest.raises(InputError, match="none can: layer 6 of"):
        search.check_possible(lambda params: params.impossible(128))
    search.check_possible(lambda params: params.impossible(1024))


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (Dimension(choices=("a", "b")), ("a", "b")),
        (Dimension(low=2, high=5), (2, 3, 4, 5)),
        (Dimension(low=0.0, high=1.0, steps=3), (0.0, 0.5, 1.0)),
        (Dimension(low=1, high=100, log=True, steps=3), (1, 10, 100)),
    ],
)
def test_grid_values(dimension: Dimension, values: tuple[Any, ...]) -> None:
    assert grid_values(dimension) == pytest.approx(values) if values[0] != "a" else values
