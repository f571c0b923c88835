"""Parameters that exist only with others: what is drawn, encoded and counted."""

from typing import Any

import pytest
from hyperopt import base

from cnn.core.errors import InputError
from cnn.search.hyperopt_documents import point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.settings.schema import PhaseSettings, Settings
from cnn.settings.validation import validate

SPACE: dict[str, Any] = {
    "backbone": {"choices": ["none", "a", "b"]},
    "conv_layers": {"choices": [1, 2]},
    "filters": {"choices": [4, 8], "per_layer": "conv_layers"},
    "head_units": {"choices": [0, 16]},
    "fine_tune": {"choices": [0.0, 0.3, 1.0]},
    "backbone_rate": {"low": 0.01, "high": 0.5, "log": True},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
SCRATCH = {"backbone", "conv_layers", "filters", "learning_rate"}
FROZEN = {"backbone", "head_units", "fine_tune", "learning_rate"}
FINE_TUNED = {*FROZEN, "backbone_rate"}


def phase(strategy: str, **space: Any) -> PhaseSettings:
    fields = {"name": "p", "strategy": strategy, "space": {**SPACE, **space}}
    return PhaseSettings.model_validate(fields)


def names_of(params: dict[str, Any]) -> set[str]:
    return {name for name in params if name in SPACE}


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_a_configuration_has_the_parameters_of_its_kind_of_network(kind: str) -> None:
    space = SearchSpace(phase(kind))
    domain = base.Domain(lambda _: 0.0, space.expression())
    suggest, seen = strategy(space, 0), set()
    trials = base.Trials()
    for number in range(60):
        (document,) = suggest([number], domain, trials, 7)
        params = space.params(point_of(domain, document)).model_dump()
        expected = SCRATCH
        if params["backbone"] != "none":
            expected = FINE_TUNED if params["fine_tune"] else FROZEN
        assert names_of(params) == expected
        seen.add((params["backbone"], params.get("fine_tune")))
        # What is not drawn has no value in Hyperopt's document either, so TPE cannot learn it.
        drawn = {label: values for label, values in document["misc"]["vals"].items() if values}
        assert ("backbone_rate" in drawn) == ("backbone_rate" in params)
        assert ("conv_layers" in drawn) == ("conv_layers" in params)
        vals = space.encode(params)
        for label, (value,) in drawn.items():
            assert vals[label] == [pytest.approx(value)]
        assert vals.keys() == document["misc"]["vals"].keys()
    assert len(seen) == 7


def test_a_grid_has_each_configuration_of_each_kind_once() -> None:
    space = SearchSpace(phase("grid", learning_rate=0.001, backbone_rate={"choices": [0.1, 0.2]}))
    points = [space.params({"grid_point": i}).model_dump() for i in range(space.grid_size())]
    # From scratch 2 + 4 combinations of widths; for each backbone 2 heads x (frozen + 2 x 2 rates).
    assert len(points) == space.grid_size() == 6 + 2 * 2 * (1 + 2 * 2)
    assert len({repr(sorted(point.items())) for point in points}) == len(points)
    for index, point in enumerate(points):
        assert space.encode(point) == {"grid_point": [index]}


def test_what_no_network_of_the_space_has_is_left_out_of_it() -> None:
    space = SearchSpace(phase("random", backbone="a", fine_tune=0.0))
    assert set(space.varying) == {"head_units", "learning_rate"}
    space = SearchSpace(phase("random", backbone="none"))
    assert set(space.varying) == {"conv_layers", "filters", "learning_rate"}


def test_a_point_with_a_parameter_that_its_network_lacks_is_refused() -> None:
    space = SearchSpace(phase("random"))
    point = {"backbone": "a", "head_units": 0, "fine_tune": 0.0, "learning_rate": 0.001}
    assert space.encode(point)["backbone"] == [1]
    with pytest.raises(InputError, match=r"conv_layers must be left out"):
        space.encode({**point, "conv_layers": 1})
    with pytest.raises(InputError, match=r"backbone_rate must be given"):
        space.encode({**point, "fine_tune": 0.3})


def settings(**second: Any) -> Settings:
    first = {"name": "one", "space": SPACE, "cross_validation": 5}
    return validate(
        Settings, {"phases": [first, {"name": "two", "space": {}, "start": "one", **second}]}
    )


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"cross_validation": 1}, "must have that phase's cross_validation, 5.*but got 1"),
        ({"cross_validation": 5, "train_images": 9}, "must have that phase's train_images"),
        ({"cross_validation": 5, "start": "two"}, "start must name an earlier phase"),
        ({"cross_validation": 5, "fix": "two"}, "fix must name the phase of start"),
        (
            {"cross_validation": 5, "space": {"filters": 8}},
            "must not vary the network, but its space has filters",
        ),
    ],
)
def test_a_phase_that_trains_networks_on_must_have_their_images(
    second: dict[str, Any], message: str
) -> None:
    assert settings(cross_validation=5, space={"fine_tune": 1.0}).phases[1].origin == "one"
    with pytest.raises(InputError, match=message):
        settings(**second)


@pytest.mark.parametrize("name", ["fine_tune", "head_units", "backbone_rate", "l2"])
def test_a_parameter_of_a_backbone_needs_one(name: str) -> None:
    space = {"backbone": "none", name: {"fine_tune": 0.5, "backbone_rate": 0.5}.get(name, 1)}
    with pytest.raises(InputError, match=f"space.{name} must be used with a backbone"):
        validate(Settings, {"phases": [{"name": "one", "space": space}]})
