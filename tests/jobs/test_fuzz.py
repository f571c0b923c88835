"""Each parser of ours on anything: a valid result or the one error that it documents.

Never another exception, a hang or a huge allocation. With --all each is tried on many more.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import made_up
from support.fuzzing import fuzz, is_short
from support.made_up import default_trial
from support.paths import CONF_DIR

from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError
from cnn.data.manifest import read_manifest
from cnn.model.card import read_card
from cnn.rundir.heartbeat import read_host_progress, read_progress
from cnn.rundir.result import RunResult, read_result
from cnn.rundir.trials import read_trials, write_trial
from cnn.search.journal import read_start, recover_trials
from cnn.settings.schema import Settings
from cnn.settings.toml import dump_settings, load_settings, read_settings
from cnn.train.halving import Rungs

texts = st.text(max_size=30) | st.sampled_from(["", "..", "../x", "\x1b[31m", "train", "NaN", "1"])
numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 10**400, 1e308])
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
DEEP = "[" * 100_000


def wrong(valid: Any) -> st.SearchStrategy[Any]:
    """A JSON value in which a few values are others, missing or too many."""

    @st.composite
    def changed(draw: Callable[[Any], Any]) -> Any:
        tree = json.loads(json.dumps(valid))
        for _ in range(draw(st.integers(1, 3))):
            node = tree
            while isinstance(node, dict | list) and node:
                keys = sorted(node) if isinstance(node, dict) else range(len(node))
                key = draw(st.sampled_from(list(keys)))
                if not isinstance(node[key], dict | list) or draw(st.booleans()):
                    action = draw(st.sampled_from(["replace", "remove", "add"]))
                    if action == "replace":
                        node[key] = draw(anything)
                    elif action == "remove":
                        del node[key]
                    elif isinstance(node, dict):
                        node[draw(texts)] = draw(anything)
                    break
                node = node[key]
        return tree

    return changed()


def documents(valid: Any) -> st.SearchStrategy[bytes]:
    """What may stand in a file of JSON: nearly valid, torn, any JSON, any bytes."""
    whole = json.dumps(valid).encode()
    near = wrong(valid).map(lambda tree: json.dumps(tree).encode())
    torn = st.integers(0, len(whole)).map(lambda length: whole[:length])
    any_json = anything.map(lambda tree: json.dumps(tree).encode())
    return near | torn | any_json | st.binary(max_size=100)


MANIFEST = made_up.manifest(16, {"a": 8, "b": 8}).model_dump(mode="json")
CARD = made_up.CARD


@fuzz
@given(documents(MANIFEST))
@example(DEEP.encode())
def test_a_manifest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    try:
        found = read_manifest(Directory(tmp_path))
    except InputError as error:
        is_short(error)
    else:
        assert found.total("train") >= found.smallest_class("train") >= 0
        found.total("test")
        found.model_dump_json()


@fuzz
@given(documents(CARD))
@example(DEEP.encode())
def test_a_models_description(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.json").write_bytes(content)
    try:
        card = read_card(Directory(tmp_path))
    except InputError as error:
        is_short(error)
    else:
        assert 8 <= card.size <= 2048
        assert card.batch_size <= 4096


@fuzz
@given(documents(default_trial(3).model_dump(mode="json")))
@example(DEEP.encode())
def test_trials(tmp_path: Path, content: bytes) -> None:
    run, said = Directory(tmp_path), list[str]()
    write_trial(run, default_trial(2))
    (tmp_path / "trials" / "00003.json").write_bytes(content)
    try:
        read_trials(run)
    except Error as error:
        is_short(error)
    found = recover_trials(run, load_settings(), said.append)
    numbers = [one.number for one in found]
    assert numbers == [2, 3] if not said else numbers == [2]
    assert all(len(line) < 2000 for line in said)
    read_trials(run)


START = {"data": "d", "fingerprint": "f", "started": "2026-01-01T00:00:00Z"}


@fuzz
@given(documents(START))
@example(DEEP.encode())
def test_a_runs_start(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    try:
        read_start(Directory(tmp_path)).model_dump_json()
    except InputError as error:
        is_short(error)


def test_what_is_unspoilt_is_read(tmp_path: Path) -> None:
    for name, content in (
        ("manifest", MANIFEST),
        ("model", CARD),
        ("run", START),
        ("result", made_up.result()),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    place = Directory(tmp_path)
    assert read_manifest(place).total("train") == 16
    assert read_card(place).classes == ("a", "b")
    assert read_start(place).fingerprint == "f"
    assert read_result(place).test.correct == 119


@fuzz
@given(documents(made_up.result()))
@example(DEEP.encode())
def test_a_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    try:
        found = read_result(Directory(tmp_path))
    except InputError as error:
        is_short(error)
    else:
        assert 0 <= found.test.correct <= found.test.count
        assert RunResult.model_validate_json(found.model_dump_json()) == found


REACHED = {"number": 1, "epoch": 2.5, "max_epochs": 6, "accuracy": 0.5}
BROUGHT = {"share": 0.5}


@fuzz
@given(documents(REACHED), documents(BROUGHT))
@example(json.dumps(REACHED).encode(), json.dumps(BROUGHT).encode())
@example(DEEP.encode(), DEEP.encode())
def test_what_running_trials_tell(tmp_path: Path, reached: bytes, brought: bytes) -> None:
    run = Directory(tmp_path)
    # What others tell is read, whatever stands beside it.
    run.write("running/00001.json", reached)
    run.write("running/00002.json", json.dumps(REACHED | {"number": 2}).encode())
    run.write("running/host-a.json", brought)
    run.write("running/host-b.json", json.dumps(BROUGHT).encode())
    told = read_progress(run, [1, 2])
    assert told[2].epochs() == "2.5/6"
    assert set(told) <= {1, 2}
    assert 1 in told or reached != json.dumps(REACHED).encode()
    assert all(reach.number == number and reach.epochs() for number, reach in told.items())
    shares = read_host_progress(run)
    assert 0.5 in shares
    assert len(shares) <= 2
    assert all(0 <= share <= 1 for share in shares)


@fuzz
@given(st.from_regex(r"\A[0-9]{5}_[-+.e0-9inf]{1,9}_[-+.e0-9inf]{1,9}\Z") | st.text(max_size=20))
@example("00007_1.2.3_-")
def test_names_of_rungs(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = tmp_path_factory.mktemp("rungs")
    planted = folder / "rungs" / "search" / "0" / (name.replace("/", "").replace("\0", "") or "x")
    planted.parent.mkdir(parents=True)
    try:
        planted.touch()
    except (OSError, UnicodeEncodeError):
        return
    assert Rungs(Directory(folder), "search", 3).report(0, 1, (-math.inf, 0.0))


TOMLS = [path.read_text() for path in sorted(CONF_DIR.glob("*.toml"))]
tomls = st.one_of(
    st.text(max_size=60),
    st.builds(
        lambda text, start, length, put: text[:start] + put + text[start + length :],
        st.sampled_from(TOMLS),
        st.integers(0, 3000),
        st.integers(0, 40),
        st.text(max_size=5)
        | st.sampled_from(["[", "]", "=", "{", "}", "nan", "inf", "-1", "9" * 99]),
    ),
    anything.map(lambda tree: f"phases = {json.dumps(tree)}\n"),
    st.tuples(st.sampled_from(["search", "space", "final", "model", "cache"]), anything).map(
        lambda pair: f"{pair[0]} = {json.dumps(pair[1])}"
    ),
)


@fuzz
@given(tomls)
@example("a = " + DEEP)
@example(".".join(["a"] * 100_000) + " = 1")
@example("[search]\nepochs = 0x" + "f" * 9000)
@example("[space]\nfilters = {choices = " + "[" * 300 + "]" * 300 + "}")
def test_settings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "some.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    check(lambda: load_settings([path]))


KEYS = ["search.epochs", "space.filters", "space.dropout.low", "phases.0.epochs", "model.builder"]
keys = st.sampled_from([*KEYS, "search.points", "cache.dir", "final", "space", "phases", ""])


@fuzz
@given(keys | st.text(max_size=20), anything.map(json.dumps) | st.text(max_size=20))
@example("search.epochs", "9" * 5000)
@example("space.filters", DEEP)
@example("search.points", '[{filters = {"' + "a" * 300 + '" = 1}}]')
def test_assignments(key: str, value: str) -> None:
    check(lambda: load_settings(assignments=[f"{key}={value}"]))


def check(load: Callable[[], Settings]) -> None:
    """Settings that are taken can be written and read again."""
    try:
        found = load()
    except InputError as error:
        is_short(error)
        return
    assert read_settings(dump_settings(found)) == found
