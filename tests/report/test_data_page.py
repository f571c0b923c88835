"""DATA/data.html: what is in it, that it is the same everywhere, and `check`."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.data_sets import rows
from support.images import copies, texture, write_images
from support.jobs import Run
from support.pages import Page

import cnn
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.build import make_dataset
from cnn.data.checked import Checked
from cnn.data.data_set import DataSet
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import Source
from cnn.data.overview import SAMPLES, Overview
from cnn.data.preprocess import Origin, data_settings, preprocess
from cnn.data.sources.folder import FolderSource
from cnn.report.data_page import render_data_page

EVIL = "<script>alert('é')< script> \u202egnp"


def make(spark: Any, images: Path | str, out: Path, **given: Any) -> DataSet:
    check = given.pop("check", False)
    settings = data_settings({"image_size": 16, "max_rejects": 0.5, **given})
    origin = Origin(lambda changes: "", str(images))
    session = nullcontext(spark)
    return preprocess(session, origin, Directory(out), settings, page=render_data_page, check=check)


def text_of(data: DataSet) -> str:
    assert data.page is not None
    return Path(data.page).read_text()


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 images with everything that a page has a section for."""
    root = write_images(tmp_path_factory.mktemp("messy") / "images", {"a": 20, EVIL: 20})
    for number in range(3):
        Image.new("L", (60, 60), number).save(root / "a" / f"black-{number}.png")
    wide = Image.linear_gradient("L").resize((900, 30)).convert("RGB")
    wide.save(root / "a" / "wide.png")
    copy = (root / "a" / "a-1.png").read_bytes()
    (root / "a" / "copy.png").write_bytes(copy)
    (root / "a" / "torn.png").write_bytes((root / EVIL / f"{EVIL}-1.png").read_bytes())
    (root / "a" / "cut.png").write_bytes(copy[:200])
    for number in range(4):
        (root / f"{number}.dcm").touch()
    return root


@pytest.fixture(scope="module")
def data(spark: Any, messy: Path, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make(spark, messy, tmp_path_factory.mktemp("page") / "data")


def test_the_page_says_what_there_is_and_loads_nothing(data: DataSet) -> None:
    html = text_of(data)
    page = Page(html)
    assert all(ref.startswith(("data:image/", "#")) for ref in page.references)
    assert page.tags.count("script") == 1
    assert len(page.ids) == len(set(page.ids))
    assert "<script>alert(&#39;é&#39;)&lt; script&gt; \ufffdgnp" not in html
    assert "&lt;script&gt;alert(&#39;é&#39;)&lt; script&gt; \ufffdgnp" in html
    for text in (
        "3 of 47 files did not become images: see Rejects.",
        "Not looked at, because they are in folders without images: 4 .dcm files.",
        "Files with the same bytes as another: 1.",
        "3 images are blank or nearly blank.",
        "900 × 30",
        "a/a-1.png = a/copy.png",
        "identical bytes in",
        "damaged image",
        "PNG colour 1",
        "PNG grey 43",
        "max rejects 0.5",
    ):
        assert text in page.text, text
    # A contradictory file is still an image, which its section shows; a cut one is not.
    rejects = html[html.index('id="rejects"') : html.index('id="split"')]
    assert rejects.count("<img") == 2
    assert html.count("data:image/png") > 30


def test_the_page_is_the_same_for_other_parts_and_through_spark(
    spark: Any, messy: Path, data: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn.data.parts._SHARE", 0.2)
    monkeypatch.setattr("cnn.data.parts._MIN_ROWS", 3)
    cut = make(spark, messy, tmp_path / "cut")
    assert len(list((tmp_path / "cut" / "train").iterdir())) > 2
    assert text_of(cut) == text_of(data)
    assert cut.manifest.fingerprint == data.manifest.fingerprint
    uri = make(spark, messy.as_uri(), tmp_path / "uri")
    # Only the name of the source differs.
    named = text_of(uri).replace(messy.as_uri(), "images")
    assert named == text_of(data)


def test_a_check_finds_the_same_and_writes_only_its_page(
    spark: Any, messy: Path, data: DataSet, tmp_path: Path
) -> None:
    kept = make(spark, write_images(tmp_path / "x", {"a": 20, "b": 20}), tmp_path / "data")
    checked = make(spark, messy, tmp_path / "data", check=True)
    assert isinstance(checked, Checked)
    assert checked.page == f"{tmp_path}/data.check.html"
    assert text_of(checked) == text_of(data)
    assert str(checked) == re.sub(r"(, listed in|; see) \S+", "", str(data))
    assert checked.problem is None
    assert {path.name for path in tmp_path.iterdir()} == {"x", "data", "data.check.html"}
    assert make(spark, tmp_path / "x", tmp_path / "data").manifest == kept.manifest
    # What would fail is shown with its reason.
    failing = make(spark, messy, tmp_path / "new", check=True, max_rejects=0)
    assert isinstance(failing, Checked)
    assert "--max-rejects must not be exceeded: at most 0 of 47" in str(failing.problem)
    assert "This would not become a data set." in text_of(failing)
    assert not (tmp_path / "new").exists()


def test_a_notebook_names_the_page_and_does_not_train_on_a_check(
    spark: Any, sample_images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    made = cnn.preprocess(spark, sample_images, out, image_size=16)
    assert f"{out}/data.html" in made._repr_html_()
    (out / "data.html").unlink()
    assert made.page is None
    assert "data.html" not in made._repr_html_()
    checked = cnn.preprocess(spark, sample_images, out, image_size=16, check=True)
    assert f"{out}.check.html" in checked._repr_html_()
    with pytest.raises(InputError, match="data must be a data set"):
        cnn.tune(spark, checked, tmp_path / "run")


def test_pairs_that_look_alike_stand_side_by_side(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", EVIL):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            texture(rng).save(tmp_path / "images" / name / f"{number}.png")
    with Image.open(tmp_path / "images" / "a" / "0.png") as image:
        (tmp_path / "images" / "a" / "copy.jpg").write_bytes(copies(image)["grey"])
    with Image.open(tmp_path / "images" / "a" / "1.png") as image:
        (tmp_path / "images" / EVIL / "wrong.jpg").write_bytes(copies(image)["grey"])
    data = make(
        spark, tmp_path / "images", tmp_path / "data", image_size=32, near_duplicates="drop"
    )
    html = text_of(data)
    page = Page(html)
    assert "Pairs of images that look alike: 2. With different labels: 1." in page.text
    differ, same = (part.split("</figure>")[0] for part in html.split('<figure class="pair')[1:])
    assert differ.startswith(" differ")
    assert not same.startswith(" differ")
    # Also of an image that was dropped.
    assert differ.count("<img") == same.count("<img") == 2


def test_what_is_shown_of_a_class_is_in_the_data_set(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(12):
            picture = texture(rng)
            for copy in range(3):
                # The same picture at three sizes.
                smaller = picture.resize([side - 16 * copy for side in picture.size])
                smaller.save(tmp_path / "images" / name / f"{number}-{copy}.png")
    seen: list[Overview] = []
    out = Directory(tmp_path / "data")
    settings = DataSettings(image_size=32, near_duplicates="drop", group="none")
    source = FolderSource(tmp_path / "images")
    listing = source.find(settings)

    def page(overview: Overview) -> str:
        seen.append(overview)
        return render_data_page(overview)

    make_dataset(spark, source, out, settings, listing, source=Source(name="t"), page=page)
    (overview,) = seen
    train = {row["path"] for row in rows(out.uri, "train")}
    every = train | {row["path"] for row in rows(out.uri, "test")}
    assert len(every) == 24
    for paths in overview.samples.values():
        assert len(paths) == SAMPLES
        assert set(paths) <= train
    # The originals are all 72 images.
    assert overview.extremes["smallest"][0].original.width == 268
    light = overview.originals.light[0] / 256 / overview.originals.images[0]
    assert overview.originals.images[0] == 36
    assert 0 < light < 256
    assert f"<td>{light:.0f}</td>" in text_of(DataSet(out.uri, overview.manifest))


def test_the_page_stays_small(spark: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in range(30):
        folder = tmp_path / "images" / f"class {label:02d} {'x' * 60}"
        folder.mkdir(parents=True)
        for number in range(16):
            # Noise is what compresses least.
            pixels = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png", compress_level=0)
    data = make(spark, tmp_path / "images", tmp_path / "data", image_size=96, color_mode="rgb")
    html = text_of(data)
    assert len(html) < 2_000_000
    shown = html[html.index('id="classes"') : html.index('id="originals"')]
    # Every one of the first twenty classes has some pictures.
    assert all(strip.count("<img") >= 2 for strip in shown.split('<div class="class">')[1:])
    assert shown.count('<div class="class">') == 20


def test_the_job_says_where_the_page_is(submit: Run, messy: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "data", "--image-size", "16")
    done = submit("jobs/preprocess.py", "--images", messy, *out, "--check")
    assert done.returncode == 0, done.stderr
    *_, warning, last = done.stdout.splitlines()
    assert warning.startswith("warning: this would not become a data set: --max-rejects must not")
    page = tmp_path / "data.check.html"
    assert last == f"no data set was written; open {page} in a browser"
    assert "4 .dcm files were passed over, in folders without images" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["data.check.html"]


def test_an_image_that_was_held_back_for_the_test_set_is_shown(spark: Any, tmp_path: Path) -> None:
    train = write_images(tmp_path / "set" / "train", {"a": 20, "b": 20})
    tests = write_images(tmp_path / "set" / "test", {"a": 5, "b": 5}, seed=1)
    (tests / "a" / "copy.png").write_bytes((train / "a" / "a-3.png").read_bytes())
    html = text_of(make(spark, train, tmp_path / "data", test_images=str(tests)))
    page = Page(html)
    assert "held back because of the test set: 1" in page.text
    assert "The test images are those of …/set/test , and no others." in page.text
    rejects = html[html.index('id="rejects"') : html.index('id="split"')]
    assert rejects.count("<img") == 1


def test_a_split_that_folders_give_is_said(spark: Any, tmp_path: Path) -> None:
    for part, count in (("train", 20), ("val", 5), ("test", 5)):
        write_images(tmp_path / "images" / part, {"a": count, "b": count}, seed=count + len(part))
    data = make(spark, tmp_path / "images", tmp_path / "data", folders="given")
    page = Page(text_of(data))
    assert "The split is that of the folders" in page.text
    assert "The validation images are fold 0" in page.text
    assert "The split of the folders is kept: 10 test, 40 train, 10 validation images." in page.text
    assert "were chosen by group;" not in page.text
