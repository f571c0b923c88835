"""Near-duplicates with real Spark: where they end, and what is said about them."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.images import copies, texture

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.build import make_dataset
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import Manifest, Source, read_manifest
from cnn.data.near.resolution import describe_near, read_near_duplicates
from cnn.data.rejects import read_rejects
from cnn.data.sources.given_split import GivenSplit, subsets
from cnn.data.sources.source import source_of

COUNT = 12
SETTINGS = DataSettings(image_size=32, group="none", max_rejects=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """{a,b}/N.png, and copies of a third of them in copies/{a,b}/N.png."""
    root = tmp_path_factory.mktemp("near") / "images"
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for part in (root / name, root / "copies" / name):
            part.mkdir(parents=True)
        for number in range(COUNT):
            image = texture(rng)
            image.save(root / name / f"{number}.png")
            if number % 3 == 0:
                half = image.resize((150, 100), Image.Resampling.BILINEAR)
                half.save(root / "copies" / name / f"{number}.png")
    return root


def make(spark: Any, root: Path | str, out: Path, **changes: Any) -> Manifest:
    settings = SETTINGS.model_copy(update=changes)
    place = source_of(str(root), spark)
    listing = place.find(settings)
    return make_dataset(spark, place, Directory(out), settings, listing, source=Source(name="t"))


def rows(out: Path) -> list[dict[str, Any]]:
    return [row for name in ("train", "test") for row in pq.read_table(out / name).to_pylist()]


def test_a_copy_is_in_the_group_and_the_split_of_its_original(
    spark: Any, folder: Path, tmp_path: Path
) -> None:
    grouped = make(spark, folder, tmp_path / "grouped")
    every = {row["path"]: row for row in rows(tmp_path / "grouped")}
    for name in ("a", "b"):
        for number in range(0, COUNT, 3):
            path = f"{name}/{number}.png"
            one, other = every[path], every[f"copies/{path}"]
            assert one["group"] == other["group"] == path
            assert one["fold"] == other["fold"]
    assert grouped.groups == 2 * COUNT
    assert (grouped.near_duplicates, grouped.near_contradictions) == (8, 0)
    near = read_near_duplicates(Directory(tmp_path / "grouped"))
    assert [pair.path for pair in near] == sorted(path for path in every if "copies" in path)
    assert {pair.resolved for pair in near} == {"grouped"}
    assert not list((tmp_path / "grouped").glob("hashes*"))
    # As if the groups had been given, and through Spark's own reader.
    regex = r"[ab]/\d+\.png"
    given = make(spark, folder, tmp_path / "given", group_regex=regex, near_duplicates="keep")
    assert given.fingerprint == grouped.fingerprint
    assert make(spark, folder.as_uri(), tmp_path / "uri").fingerprint == grouped.fingerprint
    kept = make(spark, folder, tmp_path / "kept", near_duplicates="keep")
    assert kept.fingerprint != grouped.fingerprint
    assert (kept.near_duplicates, kept.groups) == (8, len(every))


def test_the_later_one_is_dropped_unless_their_labels_differ(
    spark: Any, folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "images"
    shutil.copytree(folder, root)
    # A copy of a copy's bytes goes with it; of a/1.png there is one with another label.
    shutil.copy(root / "copies" / "a" / "0.png", root / "copies" / "a" / "zero.png")
    with Image.open(root / "a" / "1.png") as image:
        (root / "b" / "wrong.jpg").write_bytes(copies(image)["grey"])
    manifest = make(spark, root, tmp_path / "data", near_duplicates="drop")
    rejects = dict(read_rejects(Directory(tmp_path / "data")))
    gone = {f"copies/{name}/{n}.png" for name in ("a", "b") for n in range(0, COUNT, 3)}
    assert rejects.keys() == gone | {"copies/a/zero.png"}
    assert rejects["copies/a/3.png"] == "near-duplicate of (a/3.png)"
    assert manifest.reasons == {"near-duplicate of": 9}
    every = {row["path"]: row for row in rows(tmp_path / "data")}
    assert every["b/wrong.jpg"]["group"] == every["a/1.png"]["group"]
    near = read_near_duplicates(Directory(tmp_path / "data"))
    (pair,) = (pair for pair in near if pair.path == "b/wrong.jpg")
    assert pair[:2] + pair[3:] == ("b/wrong.jpg", "a/1.png", "b", "a", "grouped")
    assert manifest.near_contradictions == 1
    assert describe_near("DATA", near) == [
        "9 pairs of near-duplicates (1 grouped, 8 dropped); see DATA/near-duplicates.csv",
        "warning: 1 pair has different labels (such as 'b/wrong.jpg' and 'a/1.png'); which is "
        "right is not known",
    ]


def test_an_official_test_set_withholds_near_duplicates(
    spark: Any, folder: Path, tmp_path: Path
) -> None:
    tests = folder / "copies"
    settings = SETTINGS.model_copy(update={"test_images": str(tests)})
    one, other = subsets(str(folder), str(tests))
    both = GivenSplit(source_of(str(folder), spark, one), source_of(str(tests), spark, other))
    out = Directory(tmp_path / "data")
    manifest = make_dataset(
        spark, both, out, settings, both.find(settings), source=Source(name="t")
    )
    assert manifest.withheld == manifest.rejects == 8
    reason = dict(read_rejects(out))["a/3.png"]
    assert reason == "near-duplicate in the test images (copies/a/3.png)"
    assert manifest.total("test") == 8
    assert {pair.resolved for pair in read_near_duplicates(out)} == {"withheld"}


def test_a_class_of_one_picture_is_refused_with_the_way_out(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        same = texture(rng)
        for number in range(12):
            image = same.resize((200 + number, 150)) if name == "a" else texture(rng)
            image.save(tmp_path / "images" / name / f"{number}.png")
    rule = r"'a' has 1; near-duplicates share a group, unless --near-duplicates is keep"
    with pytest.raises(InputError, match=rule):
        make(spark, tmp_path / "images", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    kept = make(spark, tmp_path / "images", tmp_path / "data", near_duplicates="keep")
    # An earlier version's data set kept them, and did not know of any.
    text = (tmp_path / "data" / "manifest.json").read_text()
    old = "\n".join(line for line in text.splitlines() if "near_" not in line)
    (tmp_path / "data" / "manifest.json").write_text(old)
    found = read_manifest(Directory(tmp_path / "data"))
    assert kept.near_duplicates
    assert found.near_duplicates is None
    assert found.settings.near_duplicates == "keep"
