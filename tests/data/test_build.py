"""Preprocessing with real Spark: from files to a committed data directory."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.images import write_images

from cnn.core.commit import check_out
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError
from cnn.data.build import existing_dataset, make_dataset
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding, decode
from cnn.data.manifest import Manifest, Source, read_manifest
from cnn.data.rejects import read_rejects
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.hadoop import _HIDDEN, SparkSource

SETTINGS = DataSettings(image_size=16, max_rejects=5)


def make(spark: Any, root: Path, out: Path, settings: DataSettings = SETTINGS) -> Manifest:
    reader = FolderSource(root)
    listing = reader.find(settings)
    return make_dataset(spark, reader, Directory(out), settings, listing, source=Source(name="t"))


def rows(out: Path, split: str) -> list[dict[str, Any]]:
    return pq.read_table(out / split).to_pylist()


def test_the_sample_becomes_rows_of_pairs(spark: Any, sample_images: Path, tmp_path: Path) -> None:
    manifest = make(spark, sample_images, tmp_path / "data")
    train, test = rows(tmp_path / "data", "train"), rows(tmp_path / "data", "test")
    assert manifest.classes == ("faces", "comics")
    assert manifest.counts == {
        "train": {"faces": 16, "comics": 16},
        "test": {"faces": 4, "comics": 4},
    }
    assert manifest.groups == 20
    assert not {row["group"] for row in train} & {row["group"] for row in test}
    assert {row["fold"] for row in test} == {-1}
    assert {row["fold"] for row in train} == set(range(10))
    assert read_manifest(Directory(tmp_path / "data")) == manifest


def test_rows_hold_the_decoded_pixels(spark: Any, sample_images: Path, tmp_path: Path) -> None:
    make(spark, sample_images, tmp_path / "data")
    for row in rows(tmp_path / "data", "test"):
        expected = decode((sample_images / row["path"]).read_bytes(), Decoding(16, 1))
        stored = np.frombuffer(row["pixels"], np.uint8).reshape(16, 16, 1)
        np.testing.assert_array_equal(stored, expected)


def test_the_same_seed_gives_the_same_data_set_and_another_does_not(
    spark: Any, sample_images: Path, tmp_path: Path
) -> None:
    first = make(spark, sample_images, tmp_path / "a")
    again = make(spark, sample_images, tmp_path / "b")
    other = make(spark, sample_images, tmp_path / "c", SETTINGS.model_copy(update={"seed": 1}))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_the_fingerprint_does_not_depend_on_how_rows_are_cut_into_files(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_images(tmp_path / "images", {"a": 150, "b": 150})
    first = make(spark, root, tmp_path / "one")
    monkeypatch.setattr("cnn.data.parts._SHARE", 0.2)
    monkeypatch.setattr("cnn.data.parts._MIN_ROWS", 8)
    second = make(spark, root, tmp_path / "two")
    files = [len(list((tmp_path / name / "train").iterdir())) for name in ("one", "two")]
    assert files[0] < files[1]
    assert first.fingerprint == second.fingerprint


def test_damaged_files_are_rejects_with_reasons(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    (root / "a" / "empty.png").touch()
    (root / "b" / "page.jpg").write_text("<html>not found</html>")
    manifest = make(spark, root, tmp_path / "data")
    rejects = {row["path"]: row["reason"] for row in rows(tmp_path / "data", "rejects")}
    assert rejects == {
        "a/empty.png": "empty file",
        "b/page.jpg": "not an image in a supported format",
    }
    assert manifest.rejects == 2
    assert manifest.total("train") + manifest.total("test") == 40


def test_identical_bytes_share_a_group_or_are_rejected(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    same = (root / "a" / "a-0.png").read_bytes()
    (root / "a" / "copy.png").write_bytes(same)
    torn = (root / "b" / "b-1.png").read_bytes()
    (root / "a" / "torn.png").write_bytes(torn)
    manifest = make(spark, root, tmp_path / "data")
    every = [*rows(tmp_path / "data", "train"), *rows(tmp_path / "data", "test")]
    groups = {row["path"]: row["group"] for row in every}
    assert groups["a/a-0.png"] == groups["a/copy.png"]
    assert manifest.duplicates == 1
    rejects = {row["path"]: row["reason"] for row in rows(tmp_path / "data", "rejects")}
    assert set(rejects) == {"a/torn.png", "b/b-1.png"}
    assert set(rejects.values()) == {"identical bytes in a and b"}


def test_too_many_rejects_fail_the_job_and_leave_nothing(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    for number in range(6):
        (root / "a" / f"bad-{number}.png").write_bytes(b"no image")
    with pytest.raises(Error, match=r"--max-rejects .* at most 5 of 46 .* 6 were: 6 not an image"):
        make(spark, root, tmp_path / "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images"]


def test_a_data_set_is_replaced_only_when_the_new_one_is_complete(
    spark: Any, tmp_path: Path
) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    old = make(spark, root, tmp_path / "data")
    for number in range(6):
        (root / "a" / f"bad-{number}.png").write_bytes(b"no image")
    with pytest.raises(Error, match="--max-rejects"):
        make(spark, root, tmp_path / "data")
    assert read_manifest(Directory(tmp_path / "data")) == old


def test_existing_dataset_knows_its_inputs(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    manifest = make(spark, root, tmp_path / "data")
    out = Directory(tmp_path / "data")
    assert existing_dataset(out, FolderSource(root).find(SETTINGS).inputs) == manifest
    (root / "a" / "a-0.png").unlink()
    assert existing_dataset(out, FolderSource(root).find(SETTINGS).inputs) is None


DATA_SET = {"marker": "manifest.json", "kind": "a data set"}


def test_check_out_accepts_what_is_new_or_empty_and_refuses_the_rest(tmp_path: Path) -> None:
    check_out(Directory(tmp_path / "new"), overwrite=False, **DATA_SET)
    check_out(Directory(tmp_path), overwrite=False, **DATA_SET)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(InputError, match="is neither"):
        check_out(Directory(tmp_path), overwrite=True, **DATA_SET)
    with pytest.raises(InputError, match="is a file"):
        check_out(Directory(tmp_path / "thesis.txt"), overwrite=True, **DATA_SET)


def test_spark_reads_a_uri_and_gives_the_same_bytes(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 30, "b c%20é": 30})
    (root / "a" / "line\nbreak [1]{x}*?.png").write_bytes((root / "a" / "a-3.png").read_bytes())
    (root / "a" / "empty.png").touch()
    (root / "a" / "_hidden.png").write_bytes((root / "a" / "a-1.png").read_bytes())
    (root / "b c%20é" / "copy.png").write_bytes((root / "b c%20é" / "b c%20é-5.png").read_bytes())
    (root / "a" / "Thumbs.db").touch()
    (root / "a" / ".DS_Store").touch()
    (root / "notes.txt").touch()
    first = make(spark, root, tmp_path / "files", SETTINGS)
    reader = SparkSource(spark, root.as_uri())
    listing = reader.find(SETTINGS)
    assert listing.ignored == 3
    assert listing.rejects == [("a/_hidden.png", _HIDDEN), ("a/empty.png", "empty file")]
    out = Directory(tmp_path / "spark")
    second = make_dataset(spark, reader, out, SETTINGS, listing, source=Source(name="t"))
    by_path = [
        {row["path"]: row["pixels"] for split in ("train", "test") for row in rows(folder, split)}
        for folder in (tmp_path / "files", tmp_path / "spark")
    ]
    del by_path[0]["a/_hidden.png"]
    assert by_path[0] == by_path[1]
    assert first.duplicates == second.duplicates + 1 == 3
    assert ("a/empty.png", "empty file") in read_rejects(out)


def test_without_hidden_names_both_readers_give_one_fingerprint(
    spark: Any, sample_images: Path, tmp_path: Path
) -> None:
    first = make(spark, sample_images, tmp_path / "files")
    reader = SparkSource(spark, sample_images.as_uri())
    out = Directory(tmp_path / "spark")
    second = make_dataset(
        spark, reader, out, SETTINGS, reader.find(SETTINGS), source=Source(name="t")
    )
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("file:///no/such/folder", "--images must be a folder, but got file:///no/such/folder"),
        ("nosuch://bucket/images", "--images must be a path or a URI that Spark can read"),
    ],
)
def test_a_uri_that_spark_cannot_read_is_refused(spark: Any, uri: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        SparkSource(spark, uri).find(SETTINGS)
