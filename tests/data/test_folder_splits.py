"""Folders that are a split already: what is refused, and the commands that are named."""

import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.data_sets import images_of, make, no_session, rows
from support.images import write_images
from support.jobs import Run, clean_environment, one_line
from support.paths import REPOSITORY

import cnn
from cnn.core.cli import quoted
from cnn.core.errors import InputError
from cnn.data.folder_splits import Split, find_split, refuse_split, split_word


def split_of(*folders: str) -> Split | None:
    return find_split(images_of(*folders))


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


def test_the_split_nearest_to_the_root_is_named_and_others_counted() -> None:
    split = split_of("c/c/train/a", "c/c/test/a", "c/train/a", "c/test/a", "d/train/a", "d/val/a")
    assert split is not None
    assert (split.parent, split.parts, split.more) == ("c", {"train": 3, "test": 3}, 2)


def test_words_in_names() -> None:
    names = ["TrainSet", "test-images", "eval_2", "my.test", "invalid", "retest", "contest"]
    assert [split_word(name) for name in names] == ["train", "test", "eval", "test", *[None] * 3]


def test_a_split_of_a_downloaded_data_set_is_kept_by_naming_its_test_images() -> None:
    def again(changes: Mapping[str, str | None]) -> str:
        return str(dict(changes))

    files = images_of("x/train/a", "x/train/b", "x/test/a", "x/test/b")
    with pytest.raises(InputError) as caught:
        refuse_split(files, ("a", "b"), "downloads/me--pets", again, own=False)
    assert "{'test_images': 'downloads/me--pets/x/test', 'test_fraction': None" in str(caught.value)
    assert "{'folders': 'ignore'}" in str(caught.value)
    assert "'images'" not in str(caught.value)


def test_a_split_is_refused_before_spark_starts(official: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train \(80 images\) and val \(20 images\) and test"):
        make(no_session(), official, tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_spark_lists_is_refused(spark: Any, official: Path, tmp_path: Path) -> None:
    uri = f"file://{official}"
    with pytest.raises(InputError, match="look like a split") as caught:
        make(spark, uri, tmp_path / "data")
    assert f"'test_images': \"{uri}/test\"" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def printed(line: str) -> list[str]:
    """The commands in a line of error."""
    return re.findall(r"(\./spark-submit\.sh .*?)(?:; to |$)", line)


def test_the_commands_of_a_refusal_work_as_printed(
    submit: Run, official: Path, tmp_path: Path
) -> None:
    arguments = ("--image-size", "16", "--out", tmp_path / "data", "--images", official)
    # A fraction has no meaning where the test set is kept.
    done = submit("jobs/preprocess.py", *arguments, "--test-fraction", "0.25")
    assert done.returncode == 2
    assert "train on train and val and keep test as the test set" in one_line(done.stderr)
    kept, merged = printed(one_line(done.stderr))
    for command, counts in ((kept, (100, 20)), (f"{merged} --overwrite", (90, 30))):
        words = [str(REPOSITORY / "spark-submit.sh")]
        script = command.replace("./spark-submit.sh", shlex.quote(words[0]))
        run = subprocess.run(
            ["bash", "-c", script],
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


def test_folders_without_classes_are_taken_for_classes_only_when_they_are_named(
    spark: Any, tmp_path: Path
) -> None:
    root = write_images(tmp_path / "images", {"train": 30, "test": 30})
    with pytest.raises(InputError, match=r"named like the parts of a split.*again .*test,train"):
        make(no_session(), root, tmp_path / "data")
    made = make(spark, root, tmp_path / "data", classes=("train", "test"))
    assert made.manifest.classes == ("train", "test")


def test_the_notebook_s_arguments(spark: Any, official: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        cnn.preprocess(spark, official, tmp_path / "data", image_size=16)
    text = str(caught.value)
    assert text.startswith("images holds folders that look like a split")
    assert "--" not in text
    kept, merged = re.findall(r"preprocess\(.*?\)(?=; to |$)", text)
    for call, test in ((kept, 20), (merged.replace("data'", "merged'"), 24)):
        data = eval(call, {"spark": spark, "preprocess": cnn.preprocess})
        assert data.manifest.total("test") == test
    with pytest.raises(InputError, match=r"\Atest_fraction cannot be combined with test_images"):
        cnn.preprocess(spark, official, test_images=official / "test", test_fraction=0.5)
    with pytest.raises(InputError, match="folders must be 'ask' or 'ignore', but got 'merge'"):
        cnn.preprocess(spark, official, folders="merge")


@pytest.mark.parametrize("word", ["a b", "a  b   c", "it's", "é\n'x\\", "\udcff'", "$HOME", " "])
def test_a_quoted_word_is_one_line_and_itself_for_a_shell(word: str) -> None:
    text = quoted(word)
    assert " ".join(text.split(" ")) == text
    assert text.isprintable()
    assert "  " not in text
    said = subprocess.run(["bash", "-c", f"printf %s {text}"], capture_output=True, check=True)
    assert said.stdout == word.encode("utf-8", "surrogateescape")
