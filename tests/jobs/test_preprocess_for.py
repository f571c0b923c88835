"""preprocess --for: images as a backbone takes them."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.backbones import SIDE, save_backbone
from support.images import write_images
from support.jobs import Run

import cnn
from cnn.core.errors import InputError


def test_the_job_stores_what_a_backbone_takes(submit: Run, tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"cats": 6, "dogs": 6})
    path = save_backbone(tmp_path / "it's own.keras")
    arguments = ["--images", tmp_path / "images", "--out", tmp_path / "data", "--for", path]
    done = submit("jobs/preprocess.py", *arguments)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert (manifest["size"], manifest["channels"]) == (SIDE, 3)
    assert manifest["settings"]["color_mode"] == "rgb"


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ("resnet51", "but got 'resnet51'; did you mean resnet50, resnet152 or resnet101?"),
        ("none.keras", "or a .keras file, but none.keras does not exist"),
        ("net.h5", "in snake case or the path of a .keras file, but got 'net.h5'; docs/backbones"),
    ],
)
def test_what_is_no_backbone_is_one_line(
    submit: Run, tmp_path: Path, named: str, line: str
) -> None:
    done = submit("jobs/preprocess.py", "--out", tmp_path / "data", "--for", named)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert line in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_call_in_a_notebook_does_the_same(spark: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_images(images, {"cats": 6, "dogs": 6})
    path = save_backbone(tmp_path / "own.keras")
    made = cnn.preprocess(spark, images, tmp_path / "one", backbone=path)
    assert (made.manifest.size, made.manifest.channels) == (SIDE, 3)
    # What is given wins.
    made = cnn.preprocess(spark, images, tmp_path / "two", backbone="mobilenet_v2", image_size=24)
    assert (made.manifest.size, made.manifest.channels) == (24, 3)
    with pytest.raises(InputError, match="did you mean mobilenet_v2, mobilenet"):
        cnn.preprocess(spark, images, tmp_path / "three", backbone="mobilenetv22")
    # A command that an error suggests names the backbone too.
    for split in ("train", "test"):
        write_images(tmp_path / "split" / split, {"cats": 2, "dogs": 2})
    with pytest.raises(InputError, match=r"preprocess\(spark, .*backbone='mobilenet_v2', .*\)"):
        cnn.preprocess(spark, tmp_path / "split", tmp_path / "three", backbone="mobilenet_v2")
    assert not (tmp_path / "three").exists()
