"""A network of the user's own: what its function must return, and a search over its parameters."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from support import own_networks
from support.paths import CONF_DIR
from support.unfinished import assert_others_kept, unfinished_copy

import cnn
from cnn import InputError, Run
from cnn.core.directory import Directory
from cnn.model.contract import Broken, Contract
from cnn.report.comparison import render_comparison
from cnn.report.page import render_report
from cnn.rundir.finished import read_run
from cnn.rundir.trials import TrialResult, read_trials
from cnn.settings.params import TrainingParams

CONTRACT = Contract("own_networks:NAME", size=8, channels=1, classes=2)
NETWORKS = str(Path(own_networks.__file__))
QUICK_CONFIG = CONF_DIR / "test.toml"
SOFTMAX = 'Dense(2, activation="softmax")'
COMPILED = (
    "a network that is not compiled, because the search compiles it: learning_rate of [space] is "
    "the rate that is searched, final.cooldown lowers it at the end, model.class_weights weights "
    "the classes, but own_networks:NAME returned one compiled with "
)


def check(name: str) -> None:
    params = TrainingParams()
    model = getattr(own_networks, name)(params, size=8, channels=1, classes=2)
    CONTRACT.check_structure(model)
    CONTRACT.check_readable(model)
    CONTRACT.check_values(model)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("with_schedule", f"{COMPILED}SGD and mse"),
        ("with_loss_object", f"{COMPILED}RMSprop and categorical_crossentropy"),
        ("logits", f"probabilities of the classes, from 0 to 1, but .* from -.*: end .* {SOFTMAX}"),
        ("one_sigmoid", f"output (batch, 1): end it with {SOFTMAX} instead of one output"),
        (
            "sigmoids",
            "which add up to 1, but .* for an image add up to .*, not with a sigmoid for each",
        ),
        (
            "of_a_thousand",
            f"output (batch, 2), a probability .* output (batch, 1000): .* {SOFTMAX}",
        ),
        ("not_finite", "outputs are not finite numbers"),
        ("map_of_classes", "output (batch, 8, 8, 2): end it with GlobalAveragePooling2D"),
        ("other_size", "one input, keras.Input((8, 8, 1)), but .* input (batch, 224, 224, 3)"),
        ("two_inputs", "one input, keras.Input((8, 8, 1)), but .* one with 2 inputs"),
        ("two_outputs", "but own_networks:NAME returned one with 2 outputs"),
        ("not_built", "keras.Input((8, 8, 1)), but .* one without a defined input"),
        ("with_lambda", "of Keras's own layers, .* it has a function's code (Lambda)"),
        ("of_own_class", "of Keras's own layers, .* it has 'Own' of 'support.own_networks'"),
        ("nothing", "return a keras.Model, but own_networks:NAME returned None"),
        ("a_layer", "return a keras.Model, but .* returned an object of keras.*Dense"),
    ],
)
def test_what_breaks_the_contract_is_one_line_with_the_rule(name: str, line: str) -> None:
    with pytest.raises(Broken) as raised:
        check(name)
    pattern = ".*".join(map(re.escape, line.split(".*")))
    assert re.search(pattern, str(raised.value)), raised.value
    assert str(raised.value).startswith("model.builder must ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["softmax", "any_size"])
def test_what_keeps_the_contract_is_taken(name: str) -> None:
    check(name)


def test_a_parameter_that_the_space_does_not_name_is_said_with_those_it_names() -> None:
    params = TrainingParams.model_validate({"learning_rate": 0.1, "alpha": 0.5})
    assert params.model_dump() == {"learning_rate": 0.1, "batch_size": 32, "alpha": 0.5}
    assert getattr(params, "augment") is False  # noqa: B009
    assert getattr(params, "filters", None) is None
    with pytest.raises(AttributeError) as raised:
        params.filters  # type: ignore[attr-defined]  # noqa: B018
    assert str(raised.value) == (
        "params.filters must be named in [space], but that has learning_rate, batch_size, alpha"
    )


@pytest.fixture(scope="module")
def session(spark: Any, noise_data: Path) -> Any:
    """A session whose executors have own_networks."""
    spark.sparkContext.addPyFile(NETWORKS)
    return spark


def tune(session: Any, data: Path, out: Path, name: str, **options: Any) -> Run:
    """As `--set model.builder=own_networks:NAME` has it."""
    search = {"epochs": 1, **options.pop("search", {})}
    tables: dict[str, Any] = {"model": {"builder": name}, "final": {"epochs": 1, "attempts": 1}}
    return cnn.tune(session, data, out, config=QUICK_CONFIG, search=search, **tables, **options)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("own_networks:with_schedule", "not compiled, .*:with_schedule returned .* SGD and mse"),
        ("own_networks:logits", 'range from -.* to .*: end it with Dense(2, activation="softmax")'),
        ("own_networks:with_lambda", "Keras's own layers"),
        ("own_networks:biuld", "own_networks has no biuld; did you mean build?"),
        ("own_networks:NUMBER", "must name a function, but own_networks:NUMBER is of type int"),
        ("own_networks:of_two", "(params, *, size, channels, classes), but .* has (params: "),
        (
            "own_networks:fails",
            "own_networks:fails raised KeyError: 'a key' (own_networks.py, line .*, in fails: ",
        ),
        (
            "own_networks:unnamed",
            "AttributeError: params.filters must be named in [space], but that has "
            "learning_rate, batch_size (own_networks.py",
        ),
        (
            "no_such_module:build",
            "executors can import, but got no_such_module:build: ModuleNotFoundError: No module "
            "named 'no_such_module'; executors look .*--py-files",
        ),
    ],
)
def test_it_is_refused_before_the_first_trial_and_leaves_nothing(
    session: Any, noise_data: Path, tmp_path: Path, name: str, line: str
) -> None:
    with pytest.raises(InputError) as raised:
        tune(session, noise_data, tmp_path / "run", name)
    pattern = ".*".join(map(re.escape, line.split(".*")))
    assert re.search(pattern, str(raised.value)), raised.value
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


SPACE = {
    "depth": {"choices": [1, 2]},
    "units": {"choices": [1, 2], "per_layer": "depth"},
    # Names and values that our own network would refuse.
    "width": {"choices": ["small", "large", "none"]},
    "filters": {"choices": ["small", "large"]},
    "head": {"choices": ["softmax", "linear"]},
}
POINT = {"learning_rate": 0.001, "batch_size": 16, "depth": 2, "units": [1, 2], "filters": "large"}
POINTS = [
    {**POINT, "width": "none", "head": "softmax"},
    {**POINT, "width": "large", "head": "softmax"},
    {**POINT, "width": "large", "head": "linear"},
]
NAMES = {"learning_rate", "batch_size", *SPACE}


@pytest.fixture(scope="module")
def found(
    session: Any, noise_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, str]:
    """A search of two phases over an own network, and what the terminal showed."""
    out = tmp_path_factory.mktemp("own") / "run"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        run = tune(
            session,
            noise_data,
            out,
            "own_networks:build",
            search={"max_trials": 2, "points": POINTS},
            phases=[
                {"name": "first", "space": SPACE},
                {
                    "name": "second",
                    "fix": "first",
                    "space": {"augment": True},
                    "confirm": {"top": 1, "seeds": 1},
                },
            ],
        )
    return run, "\n".join(lines)


def by_number(run: Run) -> dict[int, TrialResult]:
    return {trial.number: trial for trial in read_trials(Directory(run.path))}


def test_trials_have_the_spaces_parameters_and_no_others(found: tuple[Run, str]) -> None:
    run, _ = found
    trials = by_number(run)
    assert [trial.phase for trial in trials.values()][-3:] == ["first", "second", "second"]
    for trial in trials.values():
        assert set(trial.params) == NAMES | ({"augment"} if trial.phase == "second" else set())
    assert set(run.params) == set(run.result.params) == {*NAMES, "augment"}
    simplest = run.result.phases[0].simplest
    assert simplest is not None
    assert set(simplest.params) == NAMES
    card = json.loads((Path(run.path) / "model.json").read_text())
    assert card["params"] == run.params
    assert {f"params.{name}" for name in NAMES} <= set(run.trials().columns)


def test_a_value_error_says_that_there_is_no_such_network(found: tuple[Run, str]) -> None:
    first = by_number(found[0])[0]
    assert first.status == "invalid"
    assert first.cause() == "ValueError: a network must have a width"


def test_a_configuration_that_breaks_the_contract_is_invalid(found: tuple[Run, str]) -> None:
    trials = by_number(found[0])
    assert trials[1].status == "ok"
    assert trials[2].status == "invalid"
    assert trials[2].error is not None
    assert "must give probabilities of the classes" in trials[2].error
    assert "\n" not in trials[2].error


def test_a_run_whose_trials_are_gone_is_resumed(
    session: Any, found: tuple[Run, str], tmp_path: Path
) -> None:
    whole, run = Path(found[0].path), tmp_path / "run"
    last = unfinished_copy(whole, run)
    again = cnn.tune(session, out=run, resume=True)
    assert again.params == found[0].params
    assert_others_kept(whole, run, last)
    assert json.loads(last.read_text())["params"] == found[0].params


def test_what_is_shown_has_the_networks_own_names(found: tuple[Run, str]) -> None:
    run, terminal = found
    pages = [
        terminal,
        run._repr_html_(),
        render_report(Directory(run.path)),
        render_comparison([read_run(Directory(run.path))] * 2),
    ]
    for page in pages:
        text = unescape(re.sub(r"<svg.*?</svg>|<style.*?</style>|<pre.*?</pre>|<[^>]+>", " ", page))
        assert "large" in text
        assert not re.search(r"conv.layers|dense.units|batch.norm|dropout", text)
