"""What a data set was made with is found, recorded, and done again to new images."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.deep_images import png, tiff
from support.images import drawing, photograph
from support.jobs import Run

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.blank_images import BLANK, read_blank
from cnn.data.build import make_dataset
from cnn.data.data_set import DataSet
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding, Unreadable
from cnn.data.manifest import Manifest, Source, read_manifest
from cnn.data.rejects import read_rejects
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.given_split import Images
from cnn.data.sources.hadoop import SparkSource
from cnn.data.sources.store import StoreSource
from cnn.data.splits import assign
from cnn.model.card import MODEL_CARD, ModelCard, read_card
from cnn.model.classifier import Classifier
from cnn.search.make_result import model_card

SIZE = 16
SETTINGS = DataSettings(image_size=SIZE, group="none", max_rejects=0)


def deep(seed: int, high: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, high, (20, 20, 1))
    values[:5, :5] = high - 1
    return values.astype(np.uint16)


def the_tested(reader: Images, settings: DataSettings = SETTINGS) -> set[str]:
    """Paths of the test images, which follow from all images' names."""
    listing = reader.find(settings)
    keys = [file.path for file in listing.files]
    return {row.path for row in assign(listing.files, keys, listing.classes, settings)["test"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 8-bit, 12-bit and floating-point images, drawings, and a large photograph."""
    root = tmp_path_factory.mktemp("images")
    for label, name in enumerate(("a", "b")):
        folder = root / name
        folder.mkdir()
        for n in range(12):
            seed = 100 * label + n
            # Of some of them alone a suffix says what they are.
            (folder / f"deep-{n}.{('png', 'jpg')[n % 2]}").write_bytes(png(deep(seed, 3000)))
            low = deep(seed + 50, 2000).astype(np.float32) + 0.25
            (folder / f"float-{n}.tif").write_bytes(tiff(low))
            plain = np.random.default_rng(seed).integers(0, 99, (20, 20), np.uint8)
            Image.fromarray(plain).save(folder / f"plain-{n}.png")
            if n < 8:
                drawing(255 - n // 2, 255 - n, 255 - label).save(folder / f"white-{n}.png")
        for n in range(3):
            Image.new("L", (20, 20), 50 * n + label).save(folder / f"blank-{n}.png")
    photograph(root / "a" / "large.jpg", (12_000, 9_000))
    # Test images must not count: theirs are values that no training image has.
    for number, path in enumerate(the_tested(FolderSource(root))):
        if "deep" in path:
            (root / path).write_bytes(png(deep(900 + number, 60_000)))
    return root


def make(spark: Any, reader: Images, out: Path, settings: DataSettings = SETTINGS) -> Manifest:
    listing = reader.find(settings)
    return make_dataset(spark, reader, Directory(out), settings, listing, source=Source(name="t"))


@pytest.fixture(scope="module")
def data(spark: Any, images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "data"
    make(spark, FolderSource(images), out)
    return out


def stored(data: Path) -> dict[str, np.ndarray]:
    tables = [pq.read_table(data / split).to_pylist() for split in ("train", "test")]
    return {
        row["path"]: np.frombuffer(row["pixels"], np.uint8).reshape(SIZE, SIZE, 1)
        for row in [*tables[0], *tables[1]]
    }


def classifier(manifest: Manifest, folder: Path) -> Classifier:
    """A classifier that has read its description from a run's folder; it has no network."""
    builder = SimpleNamespace(builder="cnn.model:build")
    made: Any = SimpleNamespace(params={}, model=builder, backbone=None, versions={})
    card = model_card(manifest, made, made, made)
    folder.mkdir()
    (folder / MODEL_CARD).write_text(card.model_dump_json())
    nothing: Any = None
    return Classifier(nothing, read_card(Directory(folder)))


def test_the_range_is_that_of_the_training_images_and_is_said(data: Path, images: Path) -> None:
    manifest = read_manifest(Directory(data))
    assert (manifest.schema_version, manifest.value_range) == (2, (0, 4095))
    assert manifest.rejects == 0
    said = str(DataSet(str(data), manifest))
    assert (
        "16-bit and floating-point images: values 0 to 4095 become 0 to 255 (the range of the "
        "training images; --value-range LOW,HIGH sets another)"
    ) in said
    # As bright as they are of 12 bits, and clipped in the test images.
    pixels = stored(data)
    tests = the_tested(FolderSource(images))
    deeps = {path for path in pixels if "deep" in path}
    assert deeps & tests
    assert deeps - tests
    for path in deeps:
        assert pixels[path][0, 0, 0] == (255 if path in tests else round(2999 * 255 / 4095))
    plain = [pixels[path].max() for path in pixels if "plain" in path]
    assert 0 < max(plain) < 99


def test_a_new_image_becomes_the_very_same_pixels(data: Path, images: Path, tmp_path: Path) -> None:
    found = classifier(read_manifest(Directory(data)), tmp_path / "run")
    pixels = stored(data)
    assert len(pixels) == 2 * (3 * 12 + 8 + 3) + 1
    for path, expected in pixels.items():
        np.testing.assert_array_equal(found.pixels(images / path), expected, err_msg=path)
        np.testing.assert_array_equal(found.pixels((images / path).read_bytes()), expected)
    assert {pixels[path][0, 0, 0] for path in pixels if "white" in path} == {0}


def test_however_the_images_are_read_the_data_set_is_the_same(
    spark: Any, data: Path, images: Path, tmp_path: Path
) -> None:
    first = read_manifest(Directory(data))
    readers: list[Images] = [
        StoreSource(Directory(images)),
        SparkSource(spark, images.as_uri()),
    ]
    for number, reader in enumerate(readers):
        manifest = make(spark, reader, tmp_path / str(number))
        assert manifest.fingerprint == first.fingerprint
        assert manifest.value_range == first.value_range
        assert (tmp_path / str(number) / BLANK).read_bytes() == (data / BLANK).read_bytes()


def test_blank_images_stay_and_are_named(data: Path, images: Path) -> None:
    manifest, found = read_manifest(Directory(data)), read_blank(Directory(data))
    assert manifest.blank == len(found) == 6
    tests = the_tested(FolderSource(images))
    assert found == sorted(
        (f"{name}/blank-{n}.png", "test" if f"{name}/blank-{n}.png" in tests else "train", name)
        for name in "ab"
        for n in range(3)
    )
    made = DataSet(str(data), manifest)
    assert made.blank() == found
    line = f"6 images are blank or nearly blank (such as 'a/blank-0.png'); see {data}"
    assert line in str(made)
    assert "mostly blank" not in str(made)
    few = manifest.model_copy(
        update={"counts": {"train": {"a": 3, "b": 90}, "test": {"a": 2, "b": 1}}}
    )
    assert "\nwarning: class 'a' is mostly blank: 3 of its 5 images" in str(DataSet(str(data), few))


def test_a_range_that_is_given_is_taken(spark: Any, images: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"value_range": (0.0, 2999.0), "background": "white"})
    manifest = make(spark, FolderSource(images), tmp_path / "data", settings)
    assert manifest.value_range == (0, 2999)
    pixels = stored(tmp_path / "data")
    assert {found[0, 0, 0] for path, found in pixels.items() if "deep" in path} == {255}
    # White on white: as asked for, and said.
    blank = {path for path, _, _ in read_blank(Directory(tmp_path / "data"))}
    white = {path for path in pixels if "white" in path}
    assert white
    assert white <= blank
    assert "(as --value-range says)" in str(DataSet(str(tmp_path / "data"), manifest))
    assert FolderSource(images).find(settings).inputs != FolderSource(images).find(SETTINGS).inputs


def test_deep_images_in_the_test_part_alone_are_rejects(spark: Any, tmp_path: Path) -> None:
    root = tmp_path / "images"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for n in range(20):
            plain = np.random.default_rng(n).integers(0, 256, (20, 20), np.uint8)
            plain[0, 0] = "ab".index(name)
            Image.fromarray(plain).save(root / name / f"{n}.png")
    settings = SETTINGS.model_copy(update={"max_rejects": 1.0})
    path = min(the_tested(FolderSource(root), settings))
    (root / path).write_bytes(png(deep(0, 4096)))
    manifest = make(spark, FolderSource(root), tmp_path / "data", settings)
    assert (manifest.value_range, manifest.blank) == (None, 0)
    [(rejected, reason)] = read_rejects(Directory(tmp_path / "data"))
    assert rejected == path
    assert reason == "more than 8 bits per channel, but no known value range"
    assert len(stored(tmp_path / "data")) == 39
    with pytest.raises(Unreadable, match="no known value range"):
        classifier(manifest, tmp_path / "run").pixels(root / path)


def test_a_data_set_of_version_1_means_what_it_meant(data: Path, tmp_path: Path) -> None:
    tree = json.loads((data / "manifest.json").read_text())
    tree["schema_version"] = 1
    for key in ("blank", "value_range"):
        del tree[key]
        tree["settings"].pop(key, None)
    del tree["settings"]["background"]
    (tmp_path / "manifest.json").write_text(json.dumps(tree))
    manifest = read_manifest(Directory(tmp_path))
    assert (manifest.settings.background, manifest.blank) == ("white", None)
    assert DataSet(str(tmp_path), manifest).blank() == read_blank(Directory(tmp_path)) == []
    old = Decoding(SIZE, 1, "stretch", "white", None, version_1=True)
    found = classifier(manifest, tmp_path / "run")
    assert (found.card.schema_version, found.card.decoding) == (1, old)
    # As a run has it that was made before.
    card = found.card.model_dump(exclude={"background", "value_range"})
    assert ModelCard.model_validate_json(json.dumps(card)).decoding == old
    assert ModelCard.model_validate({**card, "schema_version": 2}).decoding != old
    values = deep(0, 3000)
    (tmp_path / "deep.png").write_bytes(png(values))
    assert found.pixels(tmp_path / "deep.png").max() == round(2999 * 255 / 65535)
    (tmp_path / "manifest.json").write_text(json.dumps({**tree, "schema_version": 3}))
    with pytest.raises(InputError, match="schema version 1 or 2, but"):
        read_manifest(Directory(tmp_path))


def test_the_flags_reach_the_data_set(submit: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for n in range(20):
            values = deep(n + 20 * (name == "b"), 3000)[:10].astype(np.int16) - 1024
            (tmp_path / "images" / name / f"{n}.tif").write_bytes(tiff(values))
    words = ("--images", tmp_path / "images", "--out", tmp_path / "data", "--image-size", "16")
    flags = ("--background", "9,9,9", "--value-range=-1024,3071", "--fit", "pad")
    done = submit("jobs/preprocess.py", *words, *flags)
    assert done.returncode == 0, done.stderr
    assert "values -1024 to 3071 become 0 to 255 (as --value-range says)" in done.stdout
    manifest = read_manifest(Directory(tmp_path / "data"))
    assert manifest.settings.background == (9, 9, 9)
    assert manifest.settings.value_range == manifest.value_range == (-1024, 3071)
    pixels = stored(tmp_path / "data").values()
    assert len(pixels) == 40
    assert {found[0, 0, 0] for found in pixels} == {9}
    assert {found.max() for found in pixels} == {187}
