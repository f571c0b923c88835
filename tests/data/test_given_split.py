"""An official test set, what it takes from the training images, and the list of duplicates."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.data_sets import make, no_session, rows
from support.images import write_images
from support.jobs import Run, one_line
from support.s3_server import BUCKET, S3Server

import cnn
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.manifest import Manifest, read_manifest
from cnn.data.preprocess import Origin, data_settings, preprocess
from cnn.data.rejects import read_rejects
from cnn.data.sources.given_split import subsets
from cnn.data.sources.listing import Subset
from cnn.settings.schema import FOLDS


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--test-fraction", "0.2"], "--test-fraction cannot be combined with --test-images"),
        (["--split", "stable", "--group", "none"], "--split cannot be combined with --test-image"),
    ],
)
def test_flags_that_draw_a_test_split(
    submit: Run, official: Path, tmp_path: Path, flags: list[str], expected: str
) -> None:
    images = ("--images", official / "train", "--test-images", official / "test")
    done = submit("jobs/preprocess.py", *images, "--out", tmp_path / "data", *flags)
    assert done.returncode == 2
    assert expected in one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_test_images_that_cannot_be_used(official: Path, tmp_path: Path) -> None:
    train = official / "train"
    write_images(tmp_path / "more", {"cats": 3, "dogs": 3, "birds": 3})
    write_images(tmp_path / "fewer", {"cats": 3})
    (tmp_path / "file").touch()
    for tests, rule in {
        train: "--test-images must be a different folder from --images",
        official: "--test-images must not contain the folder of --images",
        tmp_path / "more": r"of the classes of --images \(cats, dogs\), but 'birds' is not one",
        tmp_path / "fewer": "--test-images must hold images of every class, but 'dogs' has none",
        tmp_path / "file": "--test-images must be a folder that holds .* is a file",
        tmp_path / "none": "--test-images must be a folder, but got",
        "s3a://me:secret@bucket/x": "a URI must not contain credentials",
    }.items():
        with pytest.raises(InputError, match=rule):
            make(no_session(), train, tmp_path / "data", test_images=str(tests))
    settings = data_settings({"test_images": str(train)})
    with pytest.raises(InputError, match="--test-images must be used with --images or --kaggle"):
        preprocess(no_session(), Origin(str), Directory(tmp_path / "data"), settings)


def test_classes_that_are_not_named_are_left_out_on_both_sides(spark: Any, tmp_path: Path) -> None:
    for seed, side in enumerate(("train", "test")):
        write_images(tmp_path / side, {"a": 12, "b": 12, "c": 12}, seed=seed)
    tests = str(tmp_path / "test")
    made = make(spark, tmp_path / "train", tmp_path / "data", classes=("c", "a"), test_images=tests)
    assert made.manifest.counts == {"train": {"c": 12, "a": 12}, "test": {"c": 12, "a": 12}}


def check_official(manifest: Manifest, data: str | Path, prefix: str) -> None:
    """All of the test images and nothing else are the test split."""
    train, test = rows(data, "train"), rows(data, "test")
    assert manifest.counts["test"] == {"cats": 10, "dogs": 10}
    assert {row["fold"] for row in test} == {-1}
    assert {row["path"] for row in test} == {
        f"{prefix}{name}/{name}-{number}.png" for name in ("cats", "dogs") for number in range(10)
    }
    assert not any(row["path"].startswith(prefix) for row in train)
    assert not {row["group"] for row in train} & {row["group"] for row in test}
    assert set(Counter(row["fold"] for row in train)) == set(range(FOLDS))


def test_an_official_test_set_beside_the_images(spark: Any, official: Path, tmp_path: Path) -> None:
    images, tests = official / "train", str(official / "test")
    made = make(spark, images, tmp_path / "data", test_images=tests)
    check_official(made.manifest, made.path, "../test/")
    assert made.manifest.counts["train"] == {"cats": 40, "dogs": 40}
    assert made.manifest.settings.test_images == tests
    assert made.manifest.source.name == f"{official.name}/train"
    # A rerun does nothing; another test set is another data set, wherever it lies.
    assert not make(no_session(), images, tmp_path / "data", test_images=tests).new
    shutil.copytree(official / "test", tmp_path / "elsewhere" / "test")
    moved = {"test_images": str(tmp_path / "elsewhere" / "test")}
    assert not make(no_session(), images, tmp_path / "data", **moved).new
    (tmp_path / "elsewhere" / "test" / "cats" / "cats-0.png").unlink()
    with pytest.raises(InputError, match="--overwrite"):
        make(no_session(), images, tmp_path / "data", **moved)


def test_an_official_test_set_below_the_images(spark: Any, official: Path, tmp_path: Path) -> None:
    made = make(spark, official, tmp_path / "data", test_images=str(official / "test"))
    check_official(made.manifest, made.path, "test/")
    assert made.manifest.counts["train"] == {"cats": 50, "dogs": 50}
    # The same by another name of the folder, and by Spark's own readers.
    (tmp_path / "link").symlink_to(official)
    again = make(
        spark, official, tmp_path / "link-data", test_images=str(tmp_path / "link" / "test")
    )
    assert again.manifest.fingerprint == made.manifest.fingerprint
    by_spark = make(
        spark,
        f"file://{official}",
        tmp_path / "spark-data",
        test_images=f"file://{official}/test",
    )
    assert by_spark.manifest.fingerprint == made.manifest.fingerprint


def test_spark_reads_one_of_two_places(spark: Any, official: Path, tmp_path: Path) -> None:
    copies = tmp_path / "train"
    shutil.copytree(official / "train", copies)
    shutil.copy(official / "test" / "cats" / "cats-3.png", copies / "dogs" / "copy.png")
    made = make(spark, copies, tmp_path / "data", test_images=f"file://{official}/test")
    check_official(made.manifest, made.path, "../test/")
    assert made.rejects() == [("dogs/copy.png", "identical bytes in cats and dogs")]


@pytest.mark.slow
def test_an_official_test_set_on_s3(submit: Run, s3: S3Server, official: Path) -> None:
    store, data = Directory(f"s3://{BUCKET}/official"), Directory(f"s3://{BUCKET}/data")
    for path in official.rglob("*.png"):
        store.write(path.relative_to(official).as_posix(), path.read_bytes())
    store.write("train/cats/copy.png", store.read("train/cats/cats-0.png"))
    store.write("train/cats/leak.png", store.read("test/cats/cats-7.png"))

    def does(images: str, tests: str | Path, *more: str) -> CompletedProcess[str]:
        words = ("--images", images, "--test-images", tests, "--out", data.uri)
        return submit("jobs/preprocess.py", *words, "--image-size", "16", *more, env=s3.env)

    done = does(f"{store.uri}/train", f"{store.uri}/test")
    assert done.returncode == 0, done.stderr
    assert f"1 duplicates, listed in {data.uri}/duplicates.csv" in done.stdout
    manifest = read_manifest(data)
    assert manifest.counts["train"] == {"cats": 41, "dogs": 40}
    assert manifest.counts["test"] == {"cats": 10, "dogs": 10}
    leak = "identical bytes in the test images (../test/cats/cats-7.png)"
    assert read_rejects(data) == [("cats/leak.png", leak)]
    listed = data.read("duplicates.csv").decode()
    expected = [["path", "same_as"], ["cats/copy.png", "cats/cats-0.png"]]
    assert list(csv.reader(listed.splitlines())) == expected
    # Below the images; and on a disk, whose reader compares files in another way.
    done = does(store.uri, f"{store.uri}/test/", "--overwrite")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(f"{BUCKET}/data/test", columns=["path"], filesystem=s3.files)
    assert Counter(path.split("/")[0] for path in table["path"].to_pylist()) == {"test": 20}
    assert read_manifest(data).counts["train"] == {"cats": 51, "dogs": 50}
    done = does(f"{store.uri}/train", official / "test", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert read_rejects(data) == [("cats/leak.png", leak)]


def test_what_the_test_images_have_too_is_no_training_image(spark: Any, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", {"a": 30, "b": 30}, seed=1)
    test = write_images(tmp_path / "test", {"a": 10, "b": 10}, seed=2)
    # Names by person, and the same image of person 3 under another name, b-4 with both labels.
    shutil.copy(test / "a" / "a-3.png", train / "a" / "a-3.png")
    shutil.copy(test / "a" / "a-5.png", train / "a" / "other.png")
    shutil.copy(test / "b" / "b-4.png", train / "a" / "wrong.png")
    # Two that contradict each other on one side alone: the official test set keeps its own.
    shutil.copy(test / "a" / "a-6.png", test / "b" / "b-10.png")
    shutil.copy(train / "a" / "a-20.png", train / "b" / "b-20.png")
    tests = str(test)
    with pytest.raises(cnn.Error, match="at most 1 of 83 files may be rejected, but 2 were"):
        make(spark, train, tmp_path / "data", max_rejects=1, test_images=tests)
    made = make(spark, train, tmp_path / "data", max_rejects=2, test_images=tests)
    expected = [
        ("a/a-20.png", "identical bytes in a and b"),
        ("a/a-3.png", "identical bytes in the test images (../test/a/a-3.png)"),
        ("a/other.png", "identical bytes in the test images (../test/a/a-5.png)"),
        ("a/wrong.png", "identical bytes in a and b"),
        ("b/b-20.png", "identical bytes in a and b"),
    ]
    assert made.rejects() == expected
    assert (made.manifest.rejects, made.manifest.withheld) == (5, 3)
    assert made.manifest.counts == {"train": {"a": 28, "b": 29}, "test": {"a": 10, "b": 11}}
    assert "2 identical bytes in the test images (such as 'a/a-3.png')" in str(made)

    regex = {"group_regex": r"\A[ab]/[a-z]+-?\d*", "max_rejects": 2, "test_images": tests}
    made = make(spark, train, tmp_path / "by-group", **regex)
    reasons = dict(made.rejects())
    assert reasons["a/a-7.png"] == "its group is in the test images (a/a-7)"
    assert made.manifest.counts["train"] == {"a": 19, "b": 18}
    assert made.manifest.counts["test"] == {"a": 10, "b": 11}


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_damaged_image_is_a_reject_on_either_side(spark: Any, tmp_path: Path, name: str) -> None:
    for seed, side in enumerate(("train", "test")):
        write_images(tmp_path / side, {"a": 12, "b": 12}, seed=seed)
    (tmp_path / name / "a" / "torn.png").write_bytes(b"\x89PNG\r\n")
    tests = str(tmp_path / "test")
    made = make(spark, tmp_path / "train", tmp_path / "data", max_rejects=1, test_images=tests)
    path = {"train": "a/torn.png", "test": "../test/a/torn.png"}[name]
    assert [reject[0] for reject in made.rejects()] == [path]
    assert made.manifest.withheld == 0


def test_too_few_groups_beside_the_test_images(spark: Any, tmp_path: Path) -> None:
    train = write_images(tmp_path / "train", {"a": 12, "b": 12})
    shutil.copytree(train / "b", tmp_path / "test" / "b")
    write_images(tmp_path / "test", {"a": 3}, seed=1)
    with pytest.raises(InputError, match=r"two folds to train on, in addition .* but 'b' has 0"):
        make(spark, train, tmp_path / "data", test_images=str(tmp_path / "test"))
    assert not (tmp_path / "data").exists()


def test_a_manifest_of_before_is_read(noise_data: Path) -> None:
    old = json.loads((noise_data / "manifest.json").read_text())
    for table, key in (
        (old["settings"], "folders"),
        (old["settings"], "test_images"),
        (old, "withheld"),
    ):
        del table[key]
    manifest = Manifest.model_validate(old)
    assert manifest.withheld == 0
    assert (manifest.settings.folders, manifest.settings.test_images) == ("ask", None)


def test_how_two_folders_lie_to_each_other(tmp_path: Path) -> None:
    outside = Subset(tested=True, prefix="../test/")
    assert subsets("x/train", "x/test") == subsets("x/train/", "y/../test/") == (Subset(), outside)
    assert subsets("s3://b/train", "test") == (Subset(), outside)
    below = (Subset(without="c/test"), Subset(tested=True, prefix="c/test/"))
    assert subsets("x", "x/c/test") == subsets("s3://b/x/", "s3://b/x/c/test/") == below
    assert subsets("file:///x", "/x/c/test") == subsets("/", "/c/test") == below
    (tmp_path / "link").symlink_to(tmp_path / "x")
    assert subsets(str(tmp_path / "x"), str(tmp_path / "link" / "c" / "test")) == below
    # A name that only begins alike is another folder.
    assert subsets("x/te", "x/test") == (Subset(), outside)


def test_a_reader_finds_test_images_whose_folder_holds_one_of_its_name(
    spark: Any, tmp_path: Path
) -> None:
    for seed, place in enumerate(("", "test", "test/test")):
        write_images(tmp_path / "images" / place, {"a": 12, "b": 12}, seed=seed)
    root = tmp_path / "images"
    by_path = make(spark, root, tmp_path / "1", test_images=str(root / "test"))
    by_uri = make(spark, f"file://{root}", tmp_path / "2", test_images=f"file://{root}/test")
    assert by_path.manifest.counts["test"] == {"a": 24, "b": 24}
    assert by_path.manifest.fingerprint == by_uri.manifest.fingerprint
    assert read_rejects(Directory(by_uri.path)) == []
    assert Image.open(root / "test" / "test" / "a" / "a-0.png").size == (24, 24)


@pytest.mark.parametrize("names", [("a-0.png", 'a "q", comma.png', "a=1+1\nline\r.png")])
def test_duplicates_are_listed(spark: Any, tmp_path: Path, names: tuple[str, str, str]) -> None:
    root = write_images(tmp_path / "images", {"a": 30, "b": 30})
    made = make(spark, root, tmp_path / "none")
    assert (tmp_path / "none" / "duplicates.csv").read_text() == '"path","same_as"\n'
    assert "0 duplicates" in str(made)
    assert "listed in" not in str(made)
    original, *copies = names
    for copy in copies:
        shutil.copy(root / "a" / original, root / "a" / copy)
    shutil.copy(root / "b" / "b-3.png", root / "b" / "a.png")
    made = make(spark, root, tmp_path / "data")
    assert f"3 duplicates, listed in {made.path}/duplicates.csv" in str(made)
    with (tmp_path / "data" / "duplicates.csv").open(newline="") as file:
        found = list(csv.reader(file))
    first = min(f"a/{name}" for name in names)
    others = sorted({f"a/{name}" for name in names} - {first})
    expected = [*([path, first] for path in others), ["b/b-3.png", "b/a.png"]]
    assert found == [["path", "same_as"], *expected]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_deep_images_on_one_side_alone(spark: Any, tmp_path: Path, scheme: str) -> None:
    """Those of the one side are written again for their range, and none of the other."""
    for side, kind in (("train", np.uint16), ("test", np.uint8)):
        for label, name in enumerate("ab"):
            folder = tmp_path / side / name
            folder.mkdir(parents=True)
            for n in range(8):
                rng = np.random.default_rng([n, label, kind(0).itemsize])
                values = rng.integers(0, 200, (20, 20)).astype(kind)
                Image.fromarray(values).save(folder / f"{n}.png")
    train, tests = (f"{scheme}{tmp_path / side}" for side in ("train", "test"))
    made = make(spark, train, tmp_path / "data", test_images=tests)
    assert made.manifest.counts == {"train": {"a": 8, "b": 8}, "test": {"a": 8, "b": 8}}
    assert made.manifest.value_range == (0, 255)
    assert made.manifest.rejects == 0
