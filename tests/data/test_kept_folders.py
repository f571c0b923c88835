"""A split that folders give (`--folders given`): what crosses its parts, and what a search does."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, rows
from support.images import write_images
from support.jobs import Run, one_line, tune
from support.made_up import manifest

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import read_manifest, write_manifest
from cnn.data.sources.store import StoreSource
from cnn.search.own_configs import own_configs
from cnn.settings.toml import CONF, load_settings, read_settings


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """ROOT/{train,val,test}/{a,b}, all unlike."""
    root = tmp_path / "images"
    for seed, (name, count) in enumerate({"train": 20, "val": 5, "test": 6}.items()):
        write_images(root / name, {"a": count, "b": count}, seed=seed)
    return root


@pytest.mark.slow
def test_what_crosses_the_parts_is_refused_with_a_command_that_leaves_it_out(
    submit: Run, parts: Path, tmp_path: Path
) -> None:
    shutil.copy(parts / "test/a/a-3.png", parts / "train/a/x.png")
    shutil.copy(parts / "test/a/a-4.png", parts / "val/b/wrong.png")
    shutil.copy(parts / "val/a/a-1.png", parts / "train/a/y.png")
    out = tmp_path / "data"
    words = ("--images", parts, "--out", out, "--image-size", "16", "--folders")
    done = submit("jobs/preprocess.py", *words, "given")
    assert done.returncode == 2
    line = one_line(done.stderr)
    assert "3 images are also in a part that is not trained on" in line
    assert "train/a/x.png: identical bytes in the test images (test/a/a-3.png)" in line
    assert "train/a/y.png: identical bytes in the validation images (val/a/a-1.png)" in line
    assert not out.exists()
    command = done.stderr.splitlines()[-1]
    assert command.endswith("--folders given,move-groups")
    done = submit(*command.split()[1:])
    assert done.returncode == 0, done.stderr
    train, test = rows(out, "train"), rows(out, "test")
    assert len(test) == 12
    assert sorted(row["path"].split("/")[0] for row in train) == ["train"] * 40 + ["val"] * 10
    assert read_manifest(Directory(out)).withheld == 3


def test_groups_that_cross_are_named_and_the_test_set_stays_as_it_is(
    spark: Any, parts: Path, tmp_path: Path
) -> None:
    # By number: 0 to 5 are in all three parts, or in two.
    regex = {"group_regex": r"-(\d+)\.png", "folders": "given"}
    with pytest.raises(InputError, match=r"22 images .*its group is in the test images \(0\)"):
        make(spark, parts, tmp_path / "data", **regex)
    made = make(spark, parts, tmp_path / "data", **{**regex, "folders": "given,move-groups"})
    assert made.manifest.counts == {"train": {"a": 14, "b": 14}, "test": {"a": 6, "b": 6}}
    assert made.manifest.withheld == 22
    # No validation image is left.
    assert made.manifest.validation is None
    assert {row["fold"] for row in rows(made.path, "train")} == set(range(10))


def test_the_parts_of_a_bucket(s3: Any, place: Directory) -> None:
    for part in ("train", "test"):
        for name in ("a/images", "b/images", "a/masks", "b/masks"):
            place.write(f"{part}/{name}/{part}.png", b"not read")
    settings = DataSettings(folders="given", class_level=2, exclude=("masks",))
    listing = StoreSource(place).find(settings)
    assert listing.classes == ("a", "b")
    assert {(file.path, file.part) for file in listing.files} == {
        (f"{part}/{name}/images/{part}.png", part) for part in ("train", "test") for name in "ab"
    }
    assert listing.ignored == 4


def test_a_search_validates_on_the_images_that_were_given(
    submit: Run, parts: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    words = ("--images", parts, "--out", data, "--image-size", "16", "--folders", "given")
    done = submit("jobs/preprocess.py", *words)
    assert done.returncode == 0, done.stderr
    done = submit(*tune(data, run))
    assert done.returncode == 0, done.stderr
    phase = read_settings((run / "settings.toml").read_text()).phases[0]
    assert (phase.validation_folds, phase.cross_validation) == ((0,), 1)


def test_few_images_do_not_make_a_given_validation_set_a_cross_validation(
    tmp_path: Path,
) -> None:
    """Without --config, small.toml asks for a cross-validation."""
    made = manifest(16, {"a": 20, "b": 20})
    given = made.model_copy(update={"validation": "given"})
    mine = [Path("mine.toml")]
    for one, named, expected in (
        (given, [], ["small.toml", "given.toml"]),
        (given, mine, ["given.toml", "mine.toml"]),
        (made, mine, ["mine.toml"]),
    ):
        write_manifest(Directory(tmp_path), one)
        assert [path.name for path in own_configs(Directory(tmp_path), named)] == expected
    settings = load_settings([CONF / "small.toml", CONF / "given.toml"])
    assert settings.phases[0].validation_folds == (0,)
    assert settings.phases[0].networks(smallest_class=20) == 1
    asked = ["search.validation_folds=[3]", "search.cross_validation=5"]
    settings = load_settings([CONF / "given.toml"], assignments=asked)
    assert settings.phases[0].validation_folds == (3,)
    assert settings.phases[0].networks(smallest_class=20) == 5
