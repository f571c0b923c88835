"""Layouts that people download: what is understood, what is asked, what each answer does."""

import ast
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, no_session, rows
from support.jobs import Run, clean_environment, one_line
from support.layouts import (
    GIVEN,
    IGNORE,
    LAYOUTS,
    chest_xray,
    covid,
    dogs_vs_cats,
    variants,
    write_layout,
    yolo,
)
from support.paths import REPOSITORY

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import write_manifest
from cnn.data.sources.folder import FolderSource


def answers_of(notes: list[str]) -> list[dict[str, Any]]:
    commands = [note.strip() for note in notes if note.strip().startswith("again ")]
    return [ast.literal_eval(command.removeprefix("again ")) for command in commands]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_what_is_asked_and_what_each_answer_does(spark: Any, tmp_path: Path, layout: Any) -> None:
    files, reason, tree, answers = layout()
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=f"must be folders with one clear meaning.*{reason}") as e:
        make(no_session(), root, tmp_path / "data")
    assert "\n" not in str(e.value)
    notes = e.value.__notes__
    for line in tree:
        assert any(line in note for note in notes), notes
    assert sum("images" in note and "/" in note for note in notes) <= 20
    asked = answers_of(notes)
    for number, (changes, classes) in enumerate(answers):
        assert changes in asked
        given = {key: value for key, value in changes.items() if value is not None}
        made = make(spark, root, tmp_path / f"data-{number}", **given)
        counts = Counter(made.manifest.counts["train"])
        counts.update(made.manifest.counts["test"])
        assert counts == classes
        # Nothing is lost without a word.
        pictures = sum(name.endswith(".png") for name in files)
        ignored = made.manifest.ignored - (len(files) - pictures)
        assert made.manifest.listed + ignored == pictures


def test_a_kept_split_is_kept_to_the_image(spark: Any, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "images", chest_xray().files)
    made = make(spark, root, tmp_path / "data", folders="given")
    train, test = rows(made.path, "train"), rows(made.path, "test")
    assert {row["path"].split("/")[1] for row in test} == {"test"}
    assert len(test) == 12
    validation = {row["path"] for row in train if row["fold"] == 0}
    assert validation == {row["path"] for row in train if "/val/" in row["path"]}
    assert len(validation) == 8
    assert {row["fold"] for row in train} == set(range(10))
    assert made.manifest.validation == "given"
    assert "8 validation" in made.manifest.assumptions[0]
    # The answer is part of the data set: the same command does nothing.
    assert not make(no_session(), root, tmp_path / "data", folders="given").new


def test_without_test_images_a_test_split_is_drawn_from_the_training_images(
    spark: Any, tmp_path: Path
) -> None:
    files = [name for name in chest_xray().files if "/test/" not in name]
    root = write_layout(tmp_path / "images", files)
    made = make(spark, root, tmp_path / "data", folders="given", test_fraction=0.25)
    assert made.manifest.counts["test"] == {"NORMAL": 6, "PNEUMONIA": 6}
    assert {row["path"].split("/")[1] for row in rows(made.path, "test")} == {"train"}
    folds = Counter(
        (row["fold"] == 0, row["path"].split("/")[1]) for row in rows(made.path, "train")
    )
    assert folds == {(True, "val"): 8, (False, "train"): 36}


@pytest.mark.parametrize(
    ("files", "changes", "rule"),
    [
        (chest_xray().files, {"test_fraction": 0.3}, "--test-fraction cannot be combined with"),
        (["a/1.png", "b/1.png"], {}, "--folders given must find folders such as train/ and test/"),
        (
            ["train/a/1.png", "train/b/1.png", "train/c/1.png", "test/a/2.png", "test/b/2.png"],
            {},
            "of every class in the test images, but 'c' has none",
        ),
        (chest_xray().files, {"test_images": "x"}, "--folders given cannot be combined with"),
    ],
)
def test_a_split_that_cannot_be_kept(
    tmp_path: Path, files: list[str], changes: dict[str, Any], rule: str
) -> None:
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=rule):
        make(no_session(), root, tmp_path / "data", folders="given", **changes)


def test_a_class_that_the_test_set_lacks_is_left_out_by_the_printed_command(
    tmp_path: Path,
) -> None:
    files = [f"{part}/{name}/{part}.png" for part in ("train", "test") for name in "ab"]
    root = write_layout(tmp_path / "images", [*files, "train/c/1.png", "test/unknown/1.png"])
    with pytest.raises(InputError) as caught:
        make(no_session(), root, tmp_path / "data")
    kept, _ = answers_of(caught.value.__notes__)
    assert kept == GIVEN | {"classes": "a,b"}


def test_a_split_is_kept_whichever_folder_is_the_class(tmp_path: Path) -> None:
    files = [f"{p}/{v}/{c}/{p}.png" for p in ("train", "test") for v in ("x", "y") for c in "ab"]
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=r"look like a split.*a, b lie in each of several") as e:
        make(no_session(), root, tmp_path / "data")
    asked = answers_of(e.value.__notes__)
    level, named = {"class_level": 2}, {"classes": "a,b"}
    assert asked[:2] == [level | GIVEN, level | IGNORE]
    assert named | GIVEN in asked


@pytest.mark.parametrize(
    "files",
    [
        ["a/1.png", "b/1.png"],
        ["x/y/a/1.png", "x/y/b/1.png"],
        # Classes at different depths, and numbered classes in one folder.
        ["x/a/1.png", "b/1.png"],
        [f"set/{digit}/{n}.png" for digit in range(10) for n in range(2)],
        # People who wear masks, and who do not.
        ["mask/1.png", "no_mask/1.png"],
        ["photo/1.png", "sketch/1.png"],
        ["real_images/1.png", "fake_images/1.png"],
    ],
)
def test_plain_layouts_ask_nothing(tmp_path: Path, files: list[str]) -> None:
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(AssertionError, match="Spark was started"):
        make(no_session(), root, tmp_path / "data")


@pytest.mark.parametrize("layout", [dogs_vs_cats, yolo, covid, variants])
def test_folders_whose_names_are_given_as_classes_are_classes(tmp_path: Path, layout: Any) -> None:
    files = layout().files
    root = write_layout(tmp_path / "images", files)
    classes = sorted({Path(name).parent.name for name in files if name.endswith(".png")})
    with pytest.raises(AssertionError, match="Spark was started"):
        make(no_session(), root, tmp_path / "data", classes=tuple(classes))


def test_a_data_set_of_before_is_found_without_a_question(spark: Any, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "images", variants().files)
    made = make(spark, root, tmp_path / "data", folders="ignore")
    # As an earlier version made it, which merged such folders.
    before = FolderSource(root).find(DataSettings(image_size=16)).inputs
    manifest = made.manifest.model_copy(update={"inputs": before})
    write_manifest(Directory(made.path), manifest)
    assert not make(no_session(), root, tmp_path / "data").new
    with pytest.raises(InputError, match="one clear meaning"):
        make(no_session(), root, tmp_path / "data", seed=1)


def test_folders_of_one_name_are_merged_where_what_holds_them_is_numbered(
    spark: Any, tmp_path: Path
) -> None:
    files = [f"site{s}/{c}/{c}{s}-{n}.png" for s in (1, 2) for c in "ab" for n in range(14)]
    made = make(spark, write_layout(tmp_path / "images", files), tmp_path / "data")
    assert made.manifest.classes == ("a", "b")
    assert made.manifest.assumptions == (
        "folders of the same name are one class: a, b; a lies in site1, site2",
    )


@pytest.mark.slow
def test_the_job_prints_commands_that_work(submit: Run, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "it's", dogs_vs_cats().files)
    out = tmp_path / "data"
    done = submit("jobs/preprocess.py", "--images", root, "--out", out, "--image-size", "16")
    assert done.returncode == 2
    assert "named like the parts of a split" in one_line(done.stderr)
    assert not out.exists()
    lines = done.stderr.splitlines()
    command = next(line for line in lines if "--class-regex" in line).strip()
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "28 files of cat, dog" in run.stdout
