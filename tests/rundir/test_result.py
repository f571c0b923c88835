"""result.json: one schema, and one line for what is of another."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Run as Submit
from support.jobs import one_line
from support.made_up import result, run_directory, settings_text, trial
from support.pages import refused

from cnn import Run
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.report.comparison import render_comparison
from cnn.report.page import render_report
from cnn.rundir.finished import read_run
from cnn.rundir.result import RESULT, RunResult, WinnerOutcome, read_result, write_result
from cnn.search.journal import Start, write_start
from cnn.start import RunRequest, resume_run
from cnn.train.final import TEST_OUTCOME, TestedWinner, read_tested

LAYER = {"name": "c", "kind": "Conv2D", "shape": [None, 62, 16], "parameters": 160}
SIMPLEST = {
    "number": 2,
    "params": {"filters": 8},
    "accuracy": 0.9,
    "parameters": 9,
    "standard_error": 0.1,
}
# What earlier versions left: another number, none, or keys that came later.
OLD: dict[str, Callable[[dict[str, Any]], Any]] = {
    "must have schema version 3, but has 1; use the version of this": lambda tree: (
        tree | {"schema_version": 1}
    ),
    "must have schema version 3, but has None": lambda tree: {"params": tree["params"]},
    "must have schema version 3, but has '2'": lambda tree: tree | {"schema_version": "2"},
    "must have schema version 3, but has True": lambda tree: tree | {"schema_version": True},
    "must match schema version 3, but does not: notes must be given": lambda tree: {
        key: value for key, value in tree.items() if key != "notes"
    },
    "does not: test.roc_auc must be given": lambda tree: (
        tree | {"test": {k: v for k, v in tree["test"].items() if k != "roc_auc"}}
    ),
    "does not: test.count must be greater than or equal to 1, but got -1": lambda tree: (
        tree | {"test": tree["test"] | {"count": -1}}
    ),
    "does not: test.accuracy must be a valid number": lambda tree: (
        tree | {"test": tree["test"] | {"accuracy": "much"}}
    ),
    "a row and a column for each of 2 classes": lambda tree: (
        tree | {"test": tree["test"] | {"confusion": [[1]]}}
    ),
    "test: confusion must have as many columns as rows": lambda tree: (
        tree | {"test": tree["test"] | {"confusion": [[1, 0], [1]]}}
    ),
    "does not: luck must be a known setting": lambda tree: tree | {"luck": 1},
    "must be a table, but got [1]": lambda tree: [1],
}


def finished(folder: Path, content: Any) -> Directory:
    """A run that could be resumed, were it not finished."""
    run = run_directory(folder, content, [trial(7)])
    write_start(run, Start(data="data", fingerprint="f", started=datetime.now(UTC)))
    return run


@pytest.mark.parametrize("message", OLD)
def test_a_result_of_another_schema_is_refused_by_all_who_read_it(
    tmp_path: Path, message: str
) -> None:
    run = finished(tmp_path, OLD[message](result()))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    readers: list[Callable[[], Any]] = [
        lambda: render_report(run),
        lambda: render_comparison([read_run(run)] * 2),
        lambda: Run.load(run.uri),
        lambda: resume_run(nullcontext(), run, RunRequest()),  # type: ignore[arg-type]
    ]
    for reader in readers:
        with pytest.raises(InputError) as raised:
            reader()
        assert str(raised.value).startswith(f"{run.uri}/result.json must ")
        assert message in str(raised.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_commands_refuse_an_old_run_in_one_line_with_exit_code_2(
    submit: Submit, tmp_path: Path
) -> None:
    old = finished(tmp_path / "old", result(schema_version=1))
    new = finished(tmp_path / "new", result())
    resumed = submit("jobs/tune.py", "--resume", old.uri)
    assert resumed.returncode == 2
    page = tmp_path / "page.html"
    said = [refused(old.uri), refused(new.uri, old.uri, "--out", page), one_line(resumed.stderr)]
    for line in said:
        assert f"{old.uri}/result.json must have schema version 3, but has 1" in line
    assert not page.exists()
    assert not old.exists("report.html")


@pytest.mark.parametrize("key", result())
def test_each_key_is_required(tmp_path: Path, key: str) -> None:
    for content in (
        {name: value for name, value in result().items() if name != key},
        result() | {key: None},
    ):
        with pytest.raises(InputError, match=key.replace("_", ".")):
            read_result(run_directory(tmp_path, content))


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result(layers=[LAYER], phases=[{"simplest": SIMPLEST}]))
    found = read_result(run)
    write_result(run, found)
    assert read_result(run) == found
    keys = json.loads((tmp_path / "run" / RESULT).read_text())
    assert list(keys) == list(RunResult.model_fields)
    assert keys["baseline"] == {"accuracy": 0.5, "class": "faces"}
    assert keys["test"]["interval"] == {"low": 0.9543, "high": 0.9985}
    assert keys["started"] == "2026-11-23T08:00:00Z"
    with pytest.raises(ValueError, match="frozen"):
        found.params = {}


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_null(tmp_path: Path, loss: float) -> None:
    made = RunResult.model_validate(result(params={"rate": loss}, test={"loss": loss}))
    assert made.test.loss is None
    run = Directory(tmp_path)
    write_result(run, made)
    tree = json.loads((tmp_path / RESULT).read_text(), parse_constant=pytest.fail)
    assert tree["test"]["loss"] is tree["params"]["rate"] is None
    with pytest.raises(ValueError, match=r"test\.accuracy"):
        RunResult.model_validate(result(test={"accuracy": loss, "interval": {"low": 0, "high": 1}}))


def test_a_run_in_python_has_its_result_by_name(tmp_path: Path) -> None:
    run = Run.load(run_directory(tmp_path, result()).uri)
    assert run.test_accuracy == run.result.test.accuracy == 119 / 120
    assert run.interval == (0.9543, 0.9985)
    assert run.params == run.result.params
    assert run.result.test.confusion == ((59, 1), (0, 60))
    assert run.result.baseline.class_name == "faces"
    html = run._repr_html_()
    assert "<b>Test accuracy 0.9917</b> on 120 images" in html
    assert "Always predicting faces gives 0.5000" in html


def test_a_report_needs_valid_settings_and_trials_of_their_phases(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result(), [trial(7)])
    run.write("settings.toml", settings_text("rate").encode())
    with pytest.raises(InputError, match="of the phases rate, but trial 7 is of 'search'"):
        render_report(run)
    for text, why in {
        b"[model\n\xff": "must be a TOML file",
        b'[[phases]]\nname = "search"\nspace = {}\nepoch = 3\n': "does not: phases.0.epoch must",
    }.items():
        run.write("settings.toml", text)
        with pytest.raises(InputError, match=f"{run.uri}/settings.toml .*{why}"):
            render_report(run)
    run.delete("settings.toml")
    with pytest.raises(InputError, match=r"has no settings\.toml"):
        render_report(run)


def test_what_a_driver_that_died_had_tested_is_not_tested_again(tmp_path: Path) -> None:
    made = RunResult.model_validate(result())
    outcome = WinnerOutcome(
        **{name: getattr(made, name) for name in WinnerOutcome.model_fields if name != "seconds"},
        seconds={"final": 1.0, "test": 0.5},
    )
    run, found = Directory(tmp_path), TestedWinner(number=7, outcome=outcome)
    assert read_tested(run, 7, classes=2) is None
    run.write(TEST_OUTCOME, found.model_dump_json().encode())
    assert read_tested(run, 7, classes=2) == outcome
    # Of another trial, of other data, or torn.
    assert read_tested(run, 6, classes=2) is None
    assert read_tested(run, 7, classes=3) is None
    run.write(TEST_OUTCOME, found.model_dump_json().encode()[:-9])
    assert read_tested(run, 7, classes=2) is None
