"""Axes of plots: of the search space where it is known, else guessed from the values."""

from pathlib import Path
from typing import Any

import pytest
from support.made_up import result, run_directory, trial

from cnn.report.axes import axis
from cnn.report.page import render_report
from cnn.settings.dimension import Dimension


def test_parameters_of_every_kind_have_a_place() -> None:
    values: list[Any] = [None, True, "flatten", [32, 64], 3, float("nan"), {"a": 1}, 1e300, 10**400]
    trials = [trial(number, params={"odd": value}) for number, value in enumerate(values)]
    found = axis("odd", trials)
    assert sorted(found.values) == list(range(len(values)))
    rates = [10 ** (-4 + number / 10) for number in range(20)]
    found = axis("rate", [trial(n, params={"rate": rate}) for n, rate in enumerate(rates)])
    assert not found.choices
    assert [text for _, text in found.ticks][::3] == ["0.0001", "0.0079"]


LINEAR = {"low": 0.0, "high": 1.0}
LOG = {"low": 1e-4, "high": 1e-1, "log": True}


@pytest.mark.parametrize(
    ("dimension", "values", "ticks"),
    [
        # The values drawn would have it the other way round.
        (LINEAR, [0.0001, 0.001, 0.01, 0.1, 0.5], ["0", "0.33", "0.67", "1"]),
        (LOG, [0.02, 0.04, 0.05, 0.06, 0.08], ["0.0001", "0.001", "0.01", "0.1"]),
        (LOG, [0.03, 0.03, 0.04], ["0.0001", "0.001", "0.01", "0.1"]),
        ({"low": 2, "high": 5}, [2, 3, 3], ["2", "3", "4", "5"]),
        ({"low": 1, "high": 1000, "log": True}, [3, 4, 700], ["1", "10", "100", "1000"]),
        ({"choices": [64, 16, 32]}, [16, 16, 64], ["16", "32", "64"]),
        ({"choices": [0, 0.5]}, [0.0, 0.5, 0.0], ["0", "0.5"]),
        # What does not fit the space is drawn all the same.
        (LINEAR, [0.5, 2.0, 0.7], ["0", "0.67", "1.3", "2"]),
        (LINEAR, ["none", 0.5, 0.7], ["0.5", "0.7", "none"]),
        (LOG, [0.0, 0.001, 0.01], ["0", "0.0033", "0.0067", "0.01"]),
    ],
)
def test_axes_are_those_of_the_search_space(
    dimension: dict[str, Any], values: list[Any], ticks: list[str]
) -> None:
    space = {"rate": Dimension.model_validate(dimension)}
    trials = [trial(number, params={"rate": value}) for number, value in enumerate(values)]
    found = axis("rate", trials, space)
    assert [text for _, text in found.ticks] == ticks
    assert len(found.values) == len(values)
    assert all(found.ends[0] <= place <= found.ends[1] for place in found.values)


def test_the_space_of_a_parameter_like_another_is_that_one() -> None:
    space = {"a": Dimension.model_validate(LOG), "b": Dimension(same_as="a")}
    found = axis("b", [trial(n, params={"b": 0.04 + 0.01 * n}) for n in range(4)], space)
    assert [text for _, text in found.ticks] == ["0.0001", "0.001", "0.01", "0.1"]


def test_plots_take_the_space_from_the_runs_settings(tmp_path: Path) -> None:
    rates = [0.011, 0.02, 0.03, 0.041, 0.052, 0.063, 0.074, 0.082]
    trials = [trial(n, params={"learning_rate": rate}) for n, rate in enumerate(rates)]
    run = run_directory(tmp_path, result(), trials)
    assert ">0.082</text>" in render_report(run)
    run.write(
        "settings.toml",
        b'[unknown]\n[[phases]]\nname = "search"\n[phases.space]\nbad = {low = 1}\n'
        b"learning_rate = {low = 1e-5, high = 1e-1, log = true}\n",
    )
    html = render_report(run)
    # In parallel coordinates, and against the accuracy.
    assert html.count(">1e-05</text>") == 2
    assert ">0.082</text>" not in html
