"""Labels that a person has corrected, in a table of suspects."""

from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, no_session, rows
from support.images import write_images

import cnn
from cnn.core.errors import InputError
from cnn.data.data_set import DataSet


def labels(made: DataSet) -> dict[str, int]:
    return {row["path"]: row["label"] for s in ("train", "test") for row in rows(made.path, s)}


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["path,label,suggested,probability", *lines]))
    return str(path)


def test_labels_are_corrected(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "images", {"a": 12, "b": 12})
    before = make(spark, root, tmp_path / "data")
    lines = ["a/a-1.png,b,b,0.99", "b/b-2.png,b,a,0.8", "b/b-3.png,,a,0.5", "gone.png,a,b,0.7"]
    file = write(tmp_path / "suspects.csv", *lines)
    made = make(spark, root, tmp_path / "corrected", relabel=file, max_rejects=1)
    said = capsys.readouterr().out
    assert "suspects.csv: 2 labels corrected; 1 of its paths are no images of this" in said
    expected = labels(before) | {"a/a-1.png": 1}
    del expected["b/b-3.png"]
    assert labels(made) == expected
    assert made.rejects() == [("b/b-3.png", "no label in --relabel")]
    assert not make(spark, root, tmp_path / "corrected", relabel=file, max_rejects=1).new
    # Other corrections are other data, also of labels in a table.
    write(tmp_path / "suspects.csv", "a/a-1.png,b,,")
    with pytest.raises(InputError, match="--out must not exist without --overwrite"):
        make(spark, root, tmp_path / "corrected", relabel=file, max_rejects=1)
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *(f"{c}-{n},{c}" for c in "ab" for n in range(12))]))
    made = make(spark, root, tmp_path / "table", relabel=file, labels=str(table))
    assert labels(made) == labels(before) | {"a/a-1.png": 1}


def test_corrections_that_cannot_be_used(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 3, "b": 3})
    for lines, rule in (
        (
            ["a/a-1.png,c,,"],
            r"--relabel must give labels that are classes \(a, b\), .* 'c' for a/a",
        ),
        (["x.png,a,,"], r"by the paths of the data set, such as 'a/a-0.png', but \S+ has 'x.png'"),
        (["a/a-1.png,a,,", "a/a-1.png,b,,"], "gives two to a/a-1.png"),
        (["a/a-1.png"], "--relabel must be a table, but .* Expected 4 columns, got 1"),
        ([], "--relabel must have a header and rows"),
    ):
        file = write(tmp_path / "suspects.csv", *lines)
        with pytest.raises(InputError, match=rule):
            make(no_session(), root, tmp_path / "data", relabel=file)
    (tmp_path / "suspects.csv").write_text("path,suggested\na/a-1.png,b")
    with pytest.raises(InputError, match=r"must have the columns path and label, but .* suggested"):
        make(no_session(), root, tmp_path / "data", relabel=str(tmp_path / "suspects.csv"))
    with pytest.raises(InputError, match="--relabel must be a CSV, TSV or Parquet file"):
        make(no_session(), root, tmp_path / "data", relabel=str(tmp_path))
    assert not (tmp_path / "data").exists()


def test_labels_of_the_sample_are_corrected(spark: Any, tmp_path: Path) -> None:
    how: dict[str, Any] = {"sample": 12, "image_size": 16}
    before = labels(cnn.preprocess(spark, None, tmp_path / "before", **how))
    path = min(before)
    other = ("faces", "comics")[1 - before[path]]
    file = write(tmp_path / "suspects.csv", f"{path},{other},,")
    made = cnn.preprocess(spark, None, tmp_path / "data", relabel=file, **how)
    assert labels(made) == before | {path: 1 - before[path]}
    assert not cnn.preprocess(spark, None, tmp_path / "data", relabel=file, **how).new
