"""Folders that are a split already: what is asked, and what the printed commands do."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, no_session, rows
from support.jobs import Run, clean_environment, one_line
from support.paths import REPOSITORY

import cnn
from cnn.core.cli import quoted
from cnn.core.errors import InputError
from cnn.data.folders.folder_splits import Split, find_splits, places_of, split_word


def split_of(*folders: str) -> Split | None:
    return next(iter(splits_of(*folders)), None)


def splits_of(*folders: str) -> list[Split]:
    return find_splits(places_of({folder: {folder.rpartition("/")[2]: 3} for folder in folders}))


@pytest.mark.parametrize(
    ("folders", "parent", "parts", "classes"),
    [
        ("train/a train/b test/a test/b", "", ["train", "test"], "ab"),
        ("x/Train/a x/VAL/a x/VAL/b x/test/a x/test/b", "x", ["Train", "VAL", "test"], "ab"),
        ("a/b/train/c/a a/b/test/c/a", "a/b", ["train", "test"], "a"),
        ("training_set/a validation-set/a", "", ["training_set", "validation-set"], "a"),
        ("train2017/a val2017/a", "", ["train2017", "val2017"], "a"),
        ("seg_train/seg_train/a seg_test/seg_test/a", "", ["seg_train", "seg_test"], "a"),
        ("train/a train/b val/a val/b test/unknown", "", ["train", "val"], "ab"),
        # A class may have such a name itself.
        ("train/car train/train test/car test/train", "", ["train", "test"], ["car", "train"]),
        ("a b test/a test/b", "", ["test"], "ab"),
        ("train test", "", ["train", "test"], ""),
        ("train/a train/b test", "", ["train", "test"], ""),
        ("cats/train cats/test dogs/train dogs/test", "cats", ["train", "test"], ""),
    ],
)
def test_folders_that_look_like_a_split(
    folders: str, parent: str, parts: list[str], classes: str | list[str]
) -> None:
    split = split_of(*folders.split())
    assert split is not None
    assert (split.parent, list(split.parts), split.classes) == (parent, parts, tuple(classes))


@pytest.mark.parametrize(
    "folders",
    [
        "site1/a site1/b site2/a site2/b",
        "a b",
        "train/a train/b",
        "train/a training/a",
        "train car bus",
        "train test car",
        "retest/a latest/a",
        "invalid valid",
    ],
)
def test_folders_that_do_not(folders: str) -> None:
    assert split_of(*folders.split()) is None


def test_splits_are_named_from_the_root() -> None:
    folders = ("c/c/train/a", "c/c/test/a", "c/train/a", "c/test/a", "d/train/a", "d/val/a")
    assert splits_of(*folders) == [
        Split("c", {"train": 3, "test": 3}, ("a",)),
        Split("d", {"train": 3, "val": 3}, ("a",)),
        Split("c/c", {"train": 3, "test": 3}, ("a",)),
    ]


def test_words_in_names() -> None:
    names = ["TrainSet", "test-images", "eval_2", "my.test", "invalid", "retest", "contest"]
    assert [split_word(name) for name in names] == ["train", "test", "eval", "test", *[None] * 3]


def asked(caught: pytest.ExceptionInfo[InputError]) -> list[str]:
    """The commands below an error."""
    return [note.strip() for note in caught.value.__notes__ if "again" in note]


def test_a_split_is_asked_about_before_spark_starts(official: Path, tmp_path: Path) -> None:
    look = r"train \(80 images\) and val \(20 images\) and test \(20 images\) look like a split"
    with pytest.raises(InputError, match=look) as caught:
        make(no_session(), official, tmp_path / "data")
    kept, merged = asked(caught)
    assert "'folders': 'given'" in kept
    assert merged == "again {'folders': 'ignore'}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_split_that_spark_lists_is_asked_about(
    spark: Any, official: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="look like a split"):
        make(spark, f"file://{official}", tmp_path / "data")
    by_path = make(spark, official, tmp_path / "1", folders="given")
    by_uri = make(spark, f"file://{official}", tmp_path / "2", folders="given")
    assert by_path.manifest.fingerprint == by_uri.manifest.fingerprint


def test_the_commands_below_the_error_work_as_printed(
    submit: Run, official: Path, tmp_path: Path
) -> None:
    arguments = ("--image-size", "16", "--out", tmp_path / "data", "--images", official)
    # A fraction has no meaning where the test set is kept.
    done = submit("jobs/preprocess.py", *arguments, "--test-fraction", "0.25")
    assert done.returncode == 2
    assert "look like a split" in one_line(done.stderr)
    printed = [line.strip() for line in done.stderr.splitlines() if "./spark-submit.sh" in line]
    for command, counts in zip(printed, ((100, 20), (90, 30)), strict=True):
        words = [str(REPOSITORY / "spark-submit.sh")]
        script = command.replace("./spark-submit.sh", shlex.quote(words[0]))
        run = subprocess.run(
            ["bash", "-c", f"{script} --overwrite"],
            cwd=REPOSITORY,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        found = tuple(len(rows(tmp_path / "data", split)) for split in ("train", "test"))
        assert found == counts
    assert {row["path"].split("/")[0] for row in rows(tmp_path / "data", "test")} > {"train"}


def test_the_notebook_s_arguments(spark: Any, official: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        cnn.preprocess(spark, official, tmp_path / "data", image_size=16)
    shown = caught.value._render_traceback_()
    assert shown[0].startswith("InputError: images must be folders with one clear meaning")
    assert "--" not in "".join(shown)
    kept, merged = (line for line in shown if "preprocess(" in line)
    for call, test in ((kept, 20), (merged.replace("data'", "merged'"), 24)):
        data = eval(call, {"spark": spark, "preprocess": cnn.preprocess})
        assert data.manifest.total("test") == test
    with pytest.raises(InputError, match=r"\Atest_fraction cannot be combined with test_images"):
        cnn.preprocess(spark, official, test_images=official / "test", test_fraction=0.5)
    with pytest.raises(InputError, match=r"folders must be .ask., .ignore., .* but got .merge."):
        cnn.preprocess(spark, official, folders="merge")


@pytest.mark.parametrize("word", ["a b", "a  b   c", "it's", "é\n'x\\", "\udcff'", "$HOME", " "])
def test_a_quoted_word_is_one_line_and_itself_for_a_shell(word: str) -> None:
    text = quoted(word)
    assert " ".join(text.split(" ")) == text
    assert text.isprintable()
    assert "  " not in text
    said = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True)
    assert said.stdout == word.encode("utf-8", "surrogateescape")
