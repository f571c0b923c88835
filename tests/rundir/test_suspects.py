"""RUN/suspects.csv: what is written comes back, whatever names there are."""

from pathlib import Path

import pytest
from support.made_up import result, run_directory

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.run import Run
from cnn.rundir.suspects import SUSPECTS, Suspect, read_suspects, write_suspects

HOSTILE = [
    Suspect('=HYPERLINK("x")/1.jpg', "NA", "1", 0.9, 0.05, "train"),
    Suspect('a "b",\n c/é.jpg', "", "null", 0.875, 0.125, "test"),
    Suspect("../official/%ff.jpg", "001", "true", 0.5, 0.25, "test"),
]


def test_names_come_back_unchanged(tmp_path: Path) -> None:
    write_suspects(Directory(tmp_path), HOSTILE)
    found = [Suspect(**row) for row in read_suspects(Directory(tmp_path)).to_pylist()]
    assert found == HOSTILE


def test_without_suspects_the_file_has_its_columns(tmp_path: Path) -> None:
    write_suspects(Directory(tmp_path), [])
    table = read_suspects(Directory(tmp_path))
    assert table.column_names == list(Suspect._fields)
    assert table.num_rows == 0


def test_a_run_shows_them_and_says_how_many(tmp_path: Path) -> None:
    content = result(labels={"suspects": 3, "judged": {"train": 1000, "test": 120}})
    run = run_directory(tmp_path, content)
    write_suspects(run, HOSTILE)
    loaded = Run.load(run.uri)
    assert loaded.suspects()["path"].tolist() == [one.path for one in HOSTILE]
    assert f"3 images of 1,120 may be labelled wrongly: {run.uri}/{SUSPECTS}" in loaded.summary()
    assert "3 of 1,120" in loaded._repr_html_()


def test_a_run_without_suspects_says_nothing(tmp_path: Path) -> None:
    content = result(labels={"suspects": 0, "judged": {"train": 1000, "test": 120}})
    loaded = Run.load(run_directory(tmp_path, content).uri)
    assert "wrong" not in loaded.summary() + loaded._repr_html_()


def test_an_older_run_and_a_damaged_file_are_one_line(tmp_path: Path) -> None:
    run = run_directory(tmp_path, result())
    loaded = Run.load(run.uri)
    assert loaded.result.labels is None
    with pytest.raises(InputError, match=r"must have a suspects\.csv, but .* has none"):
        loaded.suspects()
    run.write(SUSPECTS, b'"path","probability"\n"a","much"\n')
    with pytest.raises(InputError, match=r"suspects\.csv must be a table"):
        loaded.suspects()
