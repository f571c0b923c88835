"""Who is told that a pretrained network would probably be better, and how to try it."""

import ast
import shlex
from typing import Any

import pytest
from support.made_up import START, manifest
from support.paths import CONF_DIR

from cnn.search.backbones import backbone_hint
from cnn.search.journal import Start
from cnn.settings.toml import load_settings
from jobs.tune import parse


def hint(
    *assignments: str, size: int = 224, few: int = 90, command: str = "jobs/tune.py", **changes: Any
) -> str | None:
    settings = load_settings([CONF_DIR / "default.toml"], assignments=list(assignments))
    data = manifest(size, {"cats": 5000, "dogs": few}).model_copy(
        update={"channels": 3, "sample": False, **changes}
    )
    start = Start(data="/my photos", fingerprint="0" * 8, started=START, command=(command,))
    return backbone_hint(settings, data, start)


def test_the_command_of_the_hint_can_be_run() -> None:
    said = hint()
    assert said is not None
    reason, _, command = said.partition(": ")
    assert reason.startswith("with 90 training images of a class, ")
    script, *words = shlex.split(command)[1:]
    args = parse(words)
    assert (script, args.data, args.backbone) == (
        "jobs/tune.py",
        "/my photos",
        ["efficientnet_v2_b0"],
    )


def test_images_that_do_not_suit_it_are_to_be_stored_again() -> None:
    for said in (hint(size=128), hint(channels=1)):
        assert said is not None
        assert ": preprocess the images --for efficientnet_v2_b0 (224x224 RGB), then ./" in said


def test_a_notebook_gets_a_call() -> None:
    said = hint(command="cnn.tune")
    assert said is not None
    call = ast.parse(said.partition(": ")[2], mode="eval").body
    assert isinstance(call, ast.Call)
    assert ast.unparse(call) == "tune(spark, '/my photos', backbone='efficientnet_v2_b0')"


@pytest.mark.parametrize(
    ("assignments", "changes"),
    [
        ((), {"few": 3000}),
        ((), {"sample": True}),
        (("space.backbone={choices=['none','resnet50']}",), {}),
        (("model.builder=some.module:build",), {}),
    ],
    ids=["many images", "drawn images", "it has one", "own network"],
)
def test_others_get_none(assignments: tuple[str, ...], changes: dict[str, Any]) -> None:
    assert hint(*assignments, **changes) is None
