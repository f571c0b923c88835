"""Search spaces and strategies, with the real Hyperopt."""

import re
from typing import Any

import numpy as np
import pytest
from hyperopt import base

from cnn.core.errors import InputError
from cnn.search.grid import GRID, grid_values
from cnn.search.hyperopt_documents import point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.settings.dimension import Dimension
from cnn.settings.params import ModelParams
from cnn.settings.schema import PhaseSettings


def phase(strategy: str, space: dict[str, Any], **changes: Any) -> PhaseSettings:
    return PhaseSettings.model_validate(
        {"name": "p", "strategy": strategy, "space": space, **changes}
    )


def proposals(
    search: SearchSpace, numbers: list[int], first: int = 0, points: Any = None
) -> list[dict[str, Any]]:
    """What the strategy proposes for these numbers, as parameters that the space names."""
    domain = base.Domain(lambda _: 0.0, search.expression())
    trials, suggest, found = base.Trials(), strategy(search, first, points), []
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
    assert params == [ModelParams(conv_layers=4, filters=8, dropout=d) for d in (0.5, 0.7)]


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
    found = grid_values(dimension)
    assert found == pytest.approx(values)
    assert [type(value) for value in found] == [type(value) for value in values]


SPACE = {
    "conv_layers": {"low": 1, "high": 4},
    "filters": {"choices": [8, 16, 32], "per_layer": "conv_layers"},
    "dropout": {"low": 0.0, "high": 0.5},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "dense_units": {"same_as": "filters"},
    "batch_size": {"low": 8, "high": 64, "log": True},
}


@pytest.mark.parametrize("strategy", ["grid", "random", "tpe"])
def test_a_layer_has_a_width_only_where_it_is_there(strategy: str) -> None:
    space = SPACE | {"dropout": 0.0, "learning_rate": 0.001, "batch_size": 16}
    search = SearchSpace(phase(strategy, space))
    found = proposals(search, list(range(40)))
    assert {len(params["filters"]) for params in found} == {1, 2, 3, 4}
    for params in found:
        assert len(params["filters"]) == params["conv_layers"]
        assert params["dense_units"] == params["filters"][-1]


def test_a_grid_has_every_width_of_every_depth() -> None:
    space = {
        "conv_layers": {"low": 1, "high": 3},
        "filters": {"choices": [8, 16], "per_layer": "conv_layers"},
    }
    search = SearchSpace(phase("grid", space))
    found = proposals(search, list(range(20)))
    assert search.grid_size() == len(found) == 2 + 4 + 8
    assert len({str(params) for params in found}) == 14


def test_widths_that_are_not_there_are_no_variables_of_a_proposal() -> None:
    search = SearchSpace(phase("tpe", SPACE))
    domain = base.Domain(lambda _: 0.0, search.expression())
    for number in range(10):
        (document,) = strategy(search, 0)([number], domain, base.Trials(), 0)
        depth = search.params(point_of(domain, document)).model_dump()["conv_layers"]
        drawn = [name for name, v in document["misc"]["vals"].items() if "filters" in name and v]
        assert len(drawn) == depth


@pytest.mark.parametrize("name", ["grid", "random", "tpe"])
def test_a_configuration_goes_into_hyperopts_encoding_and_back(name: str) -> None:
    space = {n: d for n, d in SPACE.items() if name != "grid" or n not in {"learning_rate"}}
    if name == "grid":
        space["dropout"] = {"low": 0.0, "high": 0.5, "steps": 3}
        space["batch_size"] = {"choices": [8, 64]}
    search = SearchSpace(phase(name, space))
    domain = base.Domain(lambda _: 0.0, search.expression())
    for number in range(30):
        (document,) = strategy(search, 0)([number], domain, base.Trials(), 0)
        params = search.params(point_of(domain, document))
        vals = search.encode(params.model_dump())
        again = {**document, "misc": {**document["misc"], "vals": vals}}
        again["misc"]["idxs"] = {key: [number] if value else [] for key, value in vals.items()}
        assert search.params(point_of(domain, again)) == params
        assert {key for key, value in vals.items() if value} == {
            key for key, value in document["misc"]["vals"].items() if len(value)
        }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dropout": 0.9}, "dropout must be from 0.0 to 0.5, but got 0.9"),
        ({"dropout": [0.1, 0.2]}, "dropout must be from 0.0 to 0.5, but got [0.1, 0.2]"),
        ({"dropout": "much"}, "dropout must be from 0.0 to 0.5, but got much"),
        ({"filters": (8, 9)}, "filters must be one of [8, 16, 32], but got 9"),
        ({"conv_layers": 9, "filters": (8,) * 9}, "conv_layers must be one of [1, 2, 3, 4]"),
        ({"batch_size": 9.5}, "batch_size"),
    ],
)
def test_what_the_space_does_not_hold_is_refused_by_name(
    params: dict[str, Any], message: str
) -> None:
    known = {"conv_layers": 2, "filters": (8, 16), "dropout": 0.1}
    known |= {"learning_rate": 0.001, "batch_size": 16, "dense_units": 16}
    with pytest.raises(InputError, match=re.escape(message)):
        SearchSpace(phase("tpe", SPACE)).encode(known | params)


@pytest.mark.parametrize("name", ["grid", "random", "tpe"])
def test_points_come_first_and_the_rest_as_without_them(name: str) -> None:
    space = {"filters": {"choices": [4, 8, 16, 32]}, "batch_size": {"choices": [8, 16]}}
    search = SearchSpace(phase(name, space))
    points = [{"filters": 32, "batch_size": 8}, {"filters": 8, "batch_size": 16}]
    places = {place: search.encode(point) for place, point in enumerate(points)}
    without = proposals(search, list(range(8)))
    found = proposals(search, list(range(8)), points=places)
    assert found[:2] == points
    if name == "grid":
        # No point twice, none missing, the order kept.
        assert found[2:] == [params for params in without if params not in points]
    else:
        assert found[2:] == without[2:]
