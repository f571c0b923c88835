"""Names of classes that mean the same, and the two ways to merge them."""

from pathlib import Path
from typing import Any

import pytest
from support.data_sets import make, no_session
from support.images import write_images
from support.jobs import Run

import cnn
from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.folders.class_names import alike, check_map, lowered, merger, read_map
from cnn.data.sources.folder import FolderSource

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def test_names_that_are_alike() -> None:
    names = ["Cats", "cats", "dogs", COMPOSED, DECOMPOSED, "hot dog", " Hot  dog", "hotdog"]
    assert alike(names) == [[" Hot  dog", "hot dog"], ["Cats", "cats"], [DECOMPOSED, COMPOSED]]
    assert lowered(DECOMPOSED.upper()) == COMPOSED
    # Case and Unicode form together: a letter that decomposes when it becomes lower case.
    assert lowered("\u0130") == lowered("I\u0307")


def table(path: Path, *rows: str) -> str:
    path.write_text("\n".join(["from,to", *rows]), encoding="utf-8-sig")
    return str(path)


def test_a_table_renames_first_and_lower_labels_then(tmp_path: Path) -> None:
    place = table(tmp_path / "map.csv", "HAPPY,Happiness", '"so, so",Neutral')
    merge = merger(DataSettings(map_labels=place, lower_labels=True))
    assert [merge(name) for name in ("HAPPY", "so, so", "SAD")] == ["happiness", "neutral", "sad"]
    assert merger(DataSettings(map_labels=f"file://{place}"))("HAPPY") == "Happiness"


@pytest.mark.parametrize(
    ("rows", "rule"),
    [
        (["a,b", "a,c"], "must give each name one new name, .* maps 'a' to 'b' and 'c'"),
        (["a,"], "must have the columns from and to and a name in both, but row 1"),
        ([], "must have a row"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, rows: list[str], rule: str) -> None:
    with pytest.raises(InputError, match=rf"--map-labels {rule}"):
        read_map(table(tmp_path / "map.csv", *rows))


def test_a_table_is_a_file_with_two_columns_and_names_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--map-labels must be a file, but got .*No such file"):
        read_map(str(tmp_path / "none.csv"))
    (tmp_path / "other.csv").write_text("old,new\na,b\n")
    with pytest.raises(InputError, match="must have the columns from and to"):
        read_map(str(tmp_path / "other.csv"))
    settings = DataSettings(map_labels=table(tmp_path / "map.csv", "Cats,cats"))
    check_map(settings, ["Cats", "dogs"])
    with pytest.raises(InputError, match="'Cats' is none; found: cat, dogs"):
        check_map(settings, ["cat", "dogs"])


@pytest.mark.slow
def test_classes_that_are_alike_are_one_line_of_warning_with_a_command(
    submit: Run, tmp_path: Path
) -> None:
    root = write_images(tmp_path / "images", {"Cats": 15, "cats": 15, "dogs": 15})
    out = tmp_path / "data"
    words = ("--images", root, "--out", out, "--image-size", "16")
    done = submit("jobs/preprocess.py", *words)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert "'Cats' and 'cats' are different classes, but differ only in case" in line
    assert "--lower-labels" in line
    done = submit(*line.rpartition("./spark-submit.sh ")[2].split())
    assert done.returncode == 0, done.stderr
    assert "45 files of cats, dogs" in done.stdout
    assert "warning: 'Cats'" not in done.stdout


def test_two_unicode_forms_of_one_name(
    spark: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_images(tmp_path / "images", {COMPOSED: 15, DECOMPOSED: 15, "tea": 15})
    make(spark, root, tmp_path / "1")
    assert r"'cafe\u0301' and 'caf\xe9' are different classes" in capsys.readouterr().out
    made = cnn.preprocess(spark, root, tmp_path / "2", image_size=16, lower_labels=True)
    counts = made.manifest.counts
    assert {name: counts["train"][name] + counts["test"][name] for name in counts["train"]} == {
        COMPOSED: 30,
        "tea": 15,
    }


def test_merged_names_are_those_of_classes_and_of_the_inputs(tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"A": 2, "B": 2, "c": 2})
    place = table(tmp_path / "map.csv", "B,A")

    def listing(**changes: Any) -> Any:
        return FolderSource(root).find(DataSettings(**changes))

    assert listing(map_labels=place).classes == ("A", "c")
    assert listing(map_labels=place, classes=("c", "A")).classes == ("c", "A")
    first = listing(map_labels=place).inputs
    assert listing(map_labels=table(tmp_path / "moved.csv", "B,A")).inputs == first
    assert listing(map_labels=table(tmp_path / "map.csv", "B,c")).inputs != first
    with pytest.raises(InputError, match="--map-labels must name classes"):
        make(no_session(), root, tmp_path / "data", map_labels=table(tmp_path / "x.csv", "D,A"))
