"""Files of labels: formats, separators, stores, and how they reach the executors."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.data_sets import make, no_session, rows
from support.jobs import Run
from support.label_tables import ALL, flat, label, labels_of, table
from support.s3_server import BUCKET, S3Server

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.labels.table import open_table


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return flat(tmp_path_factory.mktemp("flat") / "images")


def write_semicolons(path: Path) -> str:
    lines = ["Image Path ;Label", *(f"{n}.png;{label(n)} " for n in range(24))]
    return table(path.with_suffix(".csv"), lines, "\r\n")


def write_bom(path: Path) -> str:
    lines = ["\ufeffimage_path,text,CLASS"]
    lines += [f'{n}.png,"a, ""quoted""\nline",{label(n)}' for n in range(24)]
    return table(path.with_suffix(".csv"), lines)


def write_tsv(path: Path) -> str:
    lines = ["id\ttarget\ta,b", *(f"{n}\t{label(n)}\t" for n in range(24)), ""]
    return table(path.with_suffix(".tsv"), lines)


def write_gzip(path: Path) -> str:
    text = "\n".join(["user.id,file,label", *(f"x,{n}.png,{label(n)}" for n in range(24))])
    path = path.with_suffix(".csv.gz")
    path.write_bytes(gzip.compress(text.encode()))
    return str(path)


def write_parquet(path: Path) -> str:
    names = pa.array([f"{n}.png" for n in range(24)]).dictionary_encode()
    found = pa.table({"file.name": names, "label": [label(n) for n in range(24)]})
    path.mkdir()
    pq.write_table(found.slice(0, 10), path / "part-0.parquet")
    pq.write_table(found.slice(10), path / "part-1.parquet")
    return str(path)


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize(
    "write", [write_semicolons, write_bom, write_tsv, write_gzip, write_parquet]
)
def test_kinds_of_tables(
    spark: Any, images: Path, tmp_path: Path, write: Callable[[Path], str], scheme: str
) -> None:
    place = scheme + write(tmp_path / "labels")
    options = {"group_column": "none"} if "gz" in place else {}
    made = make(spark, images, tmp_path / "data", labels=place, **options)
    assert labels_of(made) == ALL
    # Nothing has changed, and then the table has.
    assert not make(spark, images, tmp_path / "data", labels=place, **options).new
    assert made.rejects() == []


def test_a_small_table_is_sent_to_the_executors(spark: Any, tmp_path: Path) -> None:
    """They need not see the path that the driver has read it from."""
    place = table(tmp_path / "labels.csv", ["image,label", "1.png,a"])
    opened = open_table(place)
    Path(place).unlink()
    frame = opened.frame(spark, ["label"], lambda batch: batch, "label string")
    assert [tuple(row) for row in frame.collect()] == [("a",)]


@pytest.mark.slow
def test_a_table_on_s3(submit: Run, s3: S3Server, images: Path, tmp_path: Path) -> None:
    store = Directory(f"s3://{BUCKET}/pets")
    lines = ["image,label", *(f"images/{n}.png,{label(n)}" for n in range(24))]
    store.write("labels.csv", "\n".join(lines).encode())
    for path in images.iterdir():
        store.write(f"images/{path.name}", path.read_bytes())
    table = (
        "--labels",
        f"{store.uri}/labels.csv",
        "--image-size",
        "16",
        "--out",
        tmp_path / "data",
    )
    for place in (f"{store.uri}/images", images):
        done = submit("jobs/preprocess.py", "--images", place, *table, "--overwrite", env=s3.env)
        assert done.returncode == 0, done.stderr
        assert "24 rows of labels, 0 files not in the table" in done.stdout
        assert {row["path"] for row in rows(tmp_path / "data", "train")} < set(ALL)


def test_what_folders_would_say_is_left_out_or_refused(
    spark: Any, images: Path, tmp_path: Path
) -> None:
    lines = [f"{n}.png,{label(n)}" for n in range(24)]
    place = table(tmp_path / "labels.csv", ["image,label", *lines])
    made = make(spark, images, tmp_path / "data", labels=place, exclude=("1?.png",), max_rejects=10)
    left_out = {f"{n}.png" for n in range(10, 20)}
    assert labels_of(made) == {path: ALL[path] for path in ALL.keys() - left_out}
    assert made.manifest.reasons == {"no such file": 10}
    refused: list[tuple[dict[str, Any], str]] = [
        ({"class_level": 2}, "--class-level cannot be combined with --labels"),
        ({"class_regex": "(a)"}, "--class-regex cannot be combined with --labels"),
        ({"folders": "given"}, "--folders given cannot be combined with --labels: name the column"),
        ({"classes": ("a",)}, "--classes must name at least two different classes, but got a"),
    ]
    for given, rule in refused:
        with pytest.raises(InputError, match=rule):
            make(no_session(), images, tmp_path / "refused", labels=place, **given)


def test_an_evaluation_set_beside_a_test_set_is_for_validation(
    spark: Any, images: Path, tmp_path: Path
) -> None:
    part = {0: "test", 1: "evaluation"}
    lines = [f"{n}.png,{label(n // 6)},{part.get(n % 6, 'training')}" for n in range(24)]
    place = table(tmp_path / "labels.csv", ["image,label,split", *lines])
    made = make(spark, images, tmp_path / "data", labels=place)
    assert {row["path"] for row in rows(made.path, "test")} == {f"{n}.png" for n in range(0, 24, 6)}
    validated = {row["path"] for row in rows(made.path, "train") if row["fold"] == 0}
    assert validated == {f"{n}.png" for n in range(1, 24, 6)}
    with pytest.raises(InputError, match="--test-fraction cannot be combined with test images"):
        make(spark, images, tmp_path / "more", labels=place, test_fraction=0.3)
