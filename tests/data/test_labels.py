"""A table of labels: what its rows may look like, and what becomes of each."""

import re
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.data_sets import make, rows
from support.label_tables import flat, label, labels_of, table

import cnn
from cnn.core.directory import Directory
from cnn.core.errors import Error, InputError
from cnn.data.arrays import open_pixels, read_paths
from cnn.data.data_set import DataSet
from cnn.data.screening import Crossing
from cnn.settings.schema import CacheSettings


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat(tmp_path_factory.mktemp("flat") / "images")


def test_every_row_is_an_image_or_a_reject(spark: Any, tmp_path: Path) -> None:
    root = flat(tmp_path / "pets" / "images")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "other").mkdir()
    names = {
        1: "./1.png",
        2: " 2.png ",
        3: "3",
        4: "images/4.png",
        5: f"{root}/5.png",
        6: ".\\6.png",
        7: f"file://{root}/7.png",
        8: "pets/images/8",
    }
    (root / "9.png").rename(root / "deep" / "er" / "nine.png")
    (root / "10.png").rename(root / "deep" / "er" / "ten.png")
    (root / "11.png").rename(root / unicodedata.normalize("NFD", "élan.png"))
    names |= {9: "nine.png", 10: "er/ten", 11: unicodedata.normalize("NFC", "élan.png")}
    # Two files of that name, and one name of two files.
    (root / "12.png").rename(root / "deep" / "twin.png")
    (root / "13.png").rename(root / "other" / "twin.png")
    names |= {12: "twin.png", 13: "other/twin.png"}
    (root / "14.png").rename(root / "same.png")
    (root / "15.png").rename(root / "same.jpg")
    names |= {14: "same", 15: "same.jpg"}
    (root / "folder.png").mkdir()
    (root / "torn.png").symlink_to(root / "nowhere")
    lines = [f'"{names.get(n, f"{n}.png")}",{label(n)}' for n in range(23)]
    lines += ["20.png,a", "21.png,a", "0.png, ", "none.png,a", ",b", "val/22.png,a", "torn.png,a"]
    place = table(tmp_path / "pets" / "labels.csv", ["image,label", *lines])
    made = make(spark, root, tmp_path / "data", labels=place, max_rejects=9)
    assert made.rejects() == [
        ("", "no path in the table"),
        ("0.png", "no label"),
        ("21.png", "named twice with different labels (a and b)"),
        ("none.png", "no such file"),
        ("same", "ambiguous path (2 files end with it)"),
        ("torn.png", "unreadable: No such file or directory"),
        ("twin.png", "ambiguous path (2 files end with it)"),
        ("val/22.png", "no such file"),
    ]
    found = labels_of(made)
    assert len(found) == 19
    assert found["deep/er/ten.png"] == "a"
    assert found["deep/er/nine.png"] == found["other/twin.png"] == found["same.jpg"] == "b"
    # 23.png, deep/twin.png and same.png.
    assert made.manifest.table is not None
    assert made.manifest.table.model_dump() == {"rows": 30, "other_labels": 0, "not_named": 3}
    assert made.manifest.listed == 27
    assert "2 no such file (such as 'none.png')" in str(made)
    assert "30 rows of labels, 3 files not in the table" in str(made)
    with pytest.raises(Error, match=r"at most 7 of 27 files may be rejected, but 8 were: 2 ambig"):
        make(spark, root, tmp_path / "more", labels=place, max_rejects=7)
    assert not (tmp_path / "more").exists()


def test_numbers_are_labels(spark: Any, images: Path, tmp_path: Path) -> None:
    """Also those that a gap has made floating-point numbers; they are in the order of numbers."""
    marks = [None if n == 23 else (2, 10)[n % 2] for n in range(24)]
    found = pa.table({"id": range(24), "diagnosis": pa.array(marks, pa.float64())})
    pq.write_table(found, tmp_path / "labels.parquet")
    place = str(tmp_path / "labels.parquet")
    made = make(spark, images, tmp_path / "data", labels=place, max_rejects=1)
    assert made.manifest.classes == ("2", "10")
    assert made.rejects() == [("23.png", "no label")]
    again = {"labels": place, "max_rejects": 1, "classes": ("10", "7")}
    with pytest.raises(InputError, match=r"--classes must name labels of images, but .* has '7'"):
        make(spark, images, tmp_path / "other", **again)


def test_one_hot_columns(spark: Any, images: Path, tmp_path: Path) -> None:
    def bits(n: int) -> str:
        return "1.0,0.0," if n % 2 else "0,1,False"

    lines = [f"{n}.png,{bits(n)}" for n in range(20)]
    lines += ["20.png,1,1,0", "21.png,0,0,0", "22.png,2,0,0", "23.png,0,1,0"]
    place = table(tmp_path / "labels.csv", ["image,mel,nv,bcc", *lines])
    given = {"label_columns": ("mel", "nv", "bcc"), "max_rejects": 3}
    made = make(spark, images, tmp_path / "data", labels=place, **given)
    assert made.manifest.classes == ("mel", "nv")
    assert labels_of(made)["1.png"] == "mel"
    assert made.rejects() == [
        ("20.png", "not one 1 in its one-hot columns (2)"),
        ("21.png", "not one 1 in its one-hot columns (0)"),
        ("22.png", "its one-hot columns hold more than 0 and 1"),
    ]


def test_groups_and_a_split_of_the_table(spark: Any, images: Path, tmp_path: Path) -> None:
    lines = ["image,label,patient id,split"]
    parts = ["train"] * 16 + ["Val"] * 4 + ["test set"] * 4
    lines += [f"{n}.png,{label(n)},p{n // 4},{parts[n]}" for n in range(24)]
    place = table(tmp_path / "labels.csv", lines)
    made = make(spark, images, tmp_path / "data", labels=place)
    assert made.manifest.settings.group_column == "patient id"
    train, test = rows(made.path, "train"), rows(made.path, "test")
    assert {row["path"] for row in test} == {f"{n}.png" for n in range(20, 24)}
    validated = {row["path"] for row in train if row["fold"] == 0}
    assert validated == {f"{n}.png" for n in range(16, 20)}
    assert {row["fold"] for row in train} <= set(range(10))
    by_group: dict[str, set[int]] = {}
    for row in train + test:
        by_group.setdefault(row["group"], set()).add(row["fold"])
    assert set(by_group) == {f"p{n}" for n in range(6)}
    assert all(len(folds) == 1 for folds in by_group.values())
    # Without a test part one is drawn, and not from the validation images.
    some = table(tmp_path / "some.csv", [line for line in lines if "test" not in line])
    made = make(spark, images, tmp_path / "some", labels=some, group_column="none")
    train, test = rows(made.path, "train"), rows(made.path, "test")
    assert {row["path"] for row in train if row["fold"] == 0} == validated
    assert len(test) == 4
    # A part that no word names is a reject.
    odd = table(tmp_path / "odd.csv", [*lines[:-1], "23.png,b,p5,extra", "22.png,a,p5,"])
    made = make(spark, images, tmp_path / "odd", labels=odd, max_rejects=2)
    expected = [("22.png", "no part of the split"), ("23.png", "not a part of a split (extra)")]
    assert made.rejects() == expected


def test_groups_that_cross_the_split_of_a_table_are_refused_or_left_out(
    spark: Any, images: Path, tmp_path: Path
) -> None:
    part = {0: "test", 1: "val", 2: "val", 3: "test"}
    lines = [f"{n}.png,{label(n)},p{n // 2},{part.get(n % 6, 'train')}" for n in range(24)]
    place = table(tmp_path / "labels.csv", ["image,label,patient,split", *lines])
    rule = r"--split-column must find each group .* but 8 images are also .*1.png"
    with pytest.raises(Crossing, match=rule) as caught:
        make(spark, images, tmp_path / "data", labels=place)
    assert caught.value.__notes__ == ["again {'folders': 'given,move-groups'}"]
    assert list(tmp_path.iterdir()) == [tmp_path / "labels.csv"]
    made = make(spark, images, tmp_path / "data", labels=place, folders="given,move-groups")
    assert {row["path"] for row in rows(made.path, "test")} == {f"{n}.png" for n in range(0, 24, 3)}
    assert made.manifest.withheld == made.manifest.rejects == 8


def test_weights_of_the_table(spark: Any, images: Path, tmp_path: Path) -> None:
    lines = [f"{n}.png,{label(n)},{n / 4 + 1}" for n in range(20)]
    lines += ["20.png,a,0", "21.png,b,inf", "22.png,a,heavy", "23.png,b,"]
    place = table(tmp_path / "labels.csv", ["image,label,Sample Weight", *lines])
    made = make(spark, images, tmp_path / "data", labels=place, max_rejects=4)
    by_uri = make(spark, f"file://{images}", tmp_path / "uri", labels=place, max_rejects=4)
    assert made.rejects() == [
        ("20.png", "not a weight above 0 (0)"),
        ("21.png", "not a weight above 0 (inf)"),
        ("22.png", "not a weight above 0 (heavy)"),
        ("23.png", "no weight"),
    ]
    assert made.manifest.fingerprint == by_uri.manifest.fingerprint
    for one in (made, by_uri):
        split = open_pixels(
            Directory(one.path), one.manifest, "train", CacheSettings(dir=str(tmp_path / one.path))
        )
        paths = read_paths(Directory(one.path), "train")
        assert split.weights is not None
        found = dict(zip(paths, split.weights.tolist(), strict=True))
        assert found == {path: int(path.removesuffix(".png")) / 4 + 1 for path in paths}
    assert pq.read_schema(tmp_path / "data/test/part-00000.parquet").names[-2:] == [
        "weight",
        "pixels",
    ]
    # A data set without them is what it was before there were any, and another one.
    plain = make(
        spark, images, tmp_path / "plain", labels=place, weight_column="none", max_rejects=4
    )
    assert "weight" not in pq.read_schema(tmp_path / "plain/test/part-00000.parquet").names
    assert plain.manifest.fingerprint != made.manifest.fingerprint


def test_numbered_folds_are_refused_with_what_to_do(
    spark: Any, images: Path, tmp_path: Path
) -> None:
    lines = [f"{n}.png,{label(n)},{n % 5}" for n in range(24)]
    place = table(tmp_path / "labels.csv", ["image,label,fold", *lines])
    with pytest.raises(InputError) as caught:
        make(spark, images, tmp_path / "data", labels=place)
    text = str(caught.value)
    assert "--split-column must be a column that says train, validation or test, but fold" in text
    assert "says 0, 1, 2, 3, 4; to draw a new split: again {'split_column': 'none'}" in text
    given = {"split_column": "none", "group_column": "fold"}
    made = make(spark, images, tmp_path / "data", labels=place, **given)
    assert made.manifest.groups == 5


def test_labels_alike_and_rare(
    spark: Any, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of faces in small: two spellings of one label, and one with a single image."""
    names = {n: ("happiness" if n % 2 else "anger") for n in range(24)}
    names |= dict.fromkeys(range(1, 12, 2), "HAPPINESS") | {22: "contempt"}
    lines = [f"ann,{n}.png,{name}" for n, name in names.items()]
    place = table(tmp_path / "legend.csv", ["user.id,image,emotion", *lines])
    with pytest.raises(InputError) as caught:
        make(spark, images, tmp_path / "data", labels=place)
    assert "user.id: again {'group_column': 'none'}" in str(caught.value)
    said = capsys.readouterr().out
    assert "warning: 'HAPPINESS' and 'happiness' are different classes" in said
    assert "to merge them: again {'lower_labels': True, 'overwrite': True}" in said
    given: dict[str, Any] = {"labels": place, "group_column": "none"}
    with pytest.raises(InputError) as caught:
        make(spark, images, tmp_path / "data", **given)
    command = "again {'classes': 'HAPPINESS,anger,happiness'}"
    assert f"'contempt' has 1; with the other classes only: {command}" in str(caught.value)
    given |= {"lower_labels": True, "classes": ("happiness", "anger")}
    made = make(spark, images, tmp_path / "data", **given)
    assert "differ in case" not in capsys.readouterr().out.partition("path = image")[2]
    assert made.manifest.classes == ("happiness", "anger")
    assert made.manifest.table is not None
    assert made.manifest.table.other_labels == 1
    assert made.manifest.rejects == 0
    assert sum(made.manifest.counts[s]["happiness"] for s in ("train", "test")) == 12
    (tmp_path / "map.csv").write_text("from,to\ncontempt,anger\nHAPPINESS,joy\nhappiness,joy\n")
    given = {"labels": place, "group_column": "none", "map_labels": str(tmp_path / "map.csv")}
    assert make(spark, images, tmp_path / "mapped", **given).manifest.classes == ("anger", "joy")


def test_from_raw_files_to_a_data_set_by_the_printed_commands(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faces with a table of who judged them, of which some labels have two spellings."""
    root = flat(tmp_path / "faces", 40)
    names = ["anger", "happiness", "happiness", "HAPPINESS"] * 9 + ["Neutral"] * 3 + ["contempt"]
    lines = [f'628,"{n}.png",{name}' for n, name in enumerate(names)]
    place = table(tmp_path / "legend.csv", ["user.id,image,emotion", *lines], "\r\n")

    def run(call: str) -> DataSet:
        made = eval(call, {"preprocess": cnn.preprocess, "spark": spark})
        assert isinstance(made, DataSet)
        return made

    def command(after: str, text: str) -> str:
        """The call that the text says after these words."""
        found = re.search(re.escape(after) + r"(preprocess\(spark, .*?\))(?:;|\n|$)", text)
        assert found, text
        return found[1]

    out = tmp_path / "data"
    call = f"preprocess(spark, images={str(root)!r}, out={str(out)!r}, labels={place!r})"
    with pytest.raises(InputError) as caught:
        run(call)
    call = command("without the groups of the column user.id: ", str(caught.value))
    capsys.readouterr()
    with pytest.raises(InputError, match="but 'contempt' has 1"):
        run(call)
    call = command("to merge them: ", capsys.readouterr().out)
    with pytest.raises(InputError, match="but 'contempt' has 1") as caught:
        run(call)
    made = run(command("with the other classes only: ", str(caught.value)))
    assert made.manifest.classes == ("anger", "happiness", "neutral")
    assert made.manifest.total("train") + made.manifest.total("test") == 39
    assert made.manifest.table is not None
    assert made.manifest.table.other_labels == 1
