"""Limits on the size of networks refuse them before they are trained."""

from pathlib import Path
from typing import Any

import pytest
from support.made_up import bare_trial, manifest

from cnn import tune
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.data_set import DataSet
from cnn.model.backbone_card import Backbone
from cnn.rundir.trials import read_trials
from cnn.search.limits import too_large, unknown_costs
from cnn.search.space import SearchSpace
from cnn.settings.params import ModelParams
from cnn.settings.schema import PhaseSettings

DATA = manifest(32, {"a": 40, "b": 40})
BACKBONE = Backbone(
    name="net",
    sha256="0" * 64,
    side=32,
    features=8,
    parameters=5000,
    operations=10_000,
    weighted_layers=4,
    keras_version="3",
)
SMALL, LARGE = ModelParams(conv_layers=1, filters=1, dense_units=1), ModelParams(conv_layers=1)
ON_BACKBONE = ModelParams(backbone="net")


def limited(**limits: int) -> PhaseSettings:
    return PhaseSettings.model_validate({"name": "p", "space": {}, **limits})


@pytest.mark.parametrize(
    ("limits", "params", "reason"),
    [
        ({}, LARGE, None),
        ({"max_parameters": 4000}, SMALL, None),
        (
            {"max_parameters": 4000},
            LARGE,
            "230,818 parameters, but search.max_parameters allows 4,000",
        ),
        ({"max_parameters": 4000}, ON_BACKBONE, "5,034 parameters, but"),
        ({"max_operations": 10_000}, ON_BACKBONE, "10,032 operations, but search.max_operations"),
        ({"max_operations": 10_032}, ON_BACKBONE, None),
    ],
)
def test_too_large_networks_are_refused_with_the_numbers(
    limits: dict[str, int], params: ModelParams, reason: str | None
) -> None:
    found = too_large(limited(**limits), params, DATA, [BACKBONE])
    assert (found is None) if reason is None else (found is not None and reason in found)


def test_what_is_unknown_is_not_refused() -> None:
    uncounted = BACKBONE.model_copy(update={"operations": None})
    assert too_large(limited(max_operations=1), ON_BACKBONE, DATA, [uncounted]) is None
    assert too_large(limited(max_parameters=1), ON_BACKBONE, DATA, []) is None


def test_costs_that_could_not_be_counted_are_said_where_they_matter() -> None:
    trials = [
        bare_trial(0, accuracy=0.9, operations=None, parameters=10),
        bare_trial(1, accuracy=0.9, operations=10, parameters=10),
        bare_trial(2, status="crashed", operations=None, parameters=None),
    ]
    assert unknown_costs(limited(), trials) == []
    assert unknown_costs(limited(max_parameters=20), trials) == []
    (limit,) = unknown_costs(limited(max_operations=20), trials)
    assert limit == (
        "the operations of the networks of 1 of 2 trials of phase p could not be found: "
        "search.max_operations did not refuse any of them"
    )
    costs = {"name": "p", "space": {}, "objective": ["val_accuracy", "operations"]}
    (cost,) = unknown_costs(PhaseSettings.model_validate(costs), trials)
    assert cost.endswith(
        " of 1 of 2 trials of phase p could not be found: they come last in "
        "the second of search.objective"
    )
    costs["objective"] = ["val_accuracy", "parameters"]
    assert unknown_costs(PhaseSettings.model_validate(costs), trials) == []


def test_a_limit_that_no_configuration_keeps_is_refused_before_the_search() -> None:
    space: dict[str, Any] = {"filters": {"choices": [16, 32]}}
    phase = PhaseSettings.model_validate({"name": "p", "space": space, "max_parameters": 100})
    with pytest.raises(
        InputError, match=r"none can: .* parameters, but search\.max_parameters allows"
    ):
        SearchSpace(phase).check_possible(lambda params: too_large(phase, params, DATA, []))


def test_networks_of_ones_own_beyond_a_limit_are_no_failures(
    spark: Any, greys: DataSet, tmp_path: Path
) -> None:
    def build(params: Any, *, size: int, channels: int, classes: int) -> Any:
        from keras import Input, Model, layers

        pixels = Input((size, size, channels), dtype="uint8")
        x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(pixels))
        x = layers.Dense(params.width)(x)
        return Model(pixels, layers.Dense(classes, "softmax", dtype="float32")(x))

    tune(
        spark,
        greys,
        tmp_path / "run",
        search={
            **{"strategy": "grid", "epochs": 1, "min_steps": 0, "cross_validation": 1},
            **{"max_parameters": 100, "max_consecutive_failures": 1},
        },
        space={
            **{"width": {"choices": [64, 2]}, "augment": False},
            **{"learning_rate": 0.01, "batch_size": 16},
        },
        final={"epochs": 1, "attempts": 1, "suspects": "none"},
        build=build,
    )
    wide, narrow = read_trials(Directory(tmp_path / "run"))
    assert (wide.status, narrow.status) == ("invalid", "ok")
    assert "parameters, but search.max_parameters allows 100" in (wide.error or "")
    assert narrow.parameters is not None
    assert not wide.epochs
