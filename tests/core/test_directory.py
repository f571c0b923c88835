"""Files of a run directory are whole or absent."""

import pickle
import resource
from pathlib import Path

import pytest

from cnn.core.directory import Directory
from cnn.core.errors import InputError


def test_a_file_is_read_as_it_was_written_and_replaced(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "run")
    directory.write("sub/file", b"one")
    directory.write("sub/file", b"two")
    assert directory.read("sub/file") == b"two"
    assert directory.names("sub") == ["file"]
    assert [path.name for path in (tmp_path / "run" / "sub").iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.write("file", b"old")
    with pytest.raises(TypeError):
        directory.write("file", object())  # type: ignore[arg-type]
    assert directory.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_there_is_no_room_the_file_is_named(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.write("file", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            directory.write("file", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(tmp_path / "file")
    assert directory.read("file") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_dropped(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.write("sub/.mine", b"")
    half = directory.writer("sub/part-00000.parquet")
    half.__enter__().write(b"half")  # and never more
    assert len(list((tmp_path / "sub").iterdir())) == 2
    directory.drop_unfinished()
    assert [path.name for path in (tmp_path / "sub").iterdir()] == [".mine"]


def test_what_is_missing_is_missing(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "none")
    assert not directory.exists()
    assert directory.names() == []
    directory.remove()
    with pytest.raises(FileNotFoundError):
        directory.read("file")


def test_a_directory_travels_as_its_uri(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.write("file", b"data")
    assert pickle.loads(pickle.dumps(directory)).read("file") == b"data"


def test_a_file_uri_is_the_path(tmp_path: Path) -> None:
    Directory(f"file://{tmp_path}").write("file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"


def test_directories_are_renamed_and_removed(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "a")
    directory.write("sub/file", b"data")
    directory.rename(Directory(tmp_path / "b"))
    assert Directory(tmp_path / "b").read("sub/file") == b"data"
    Directory(tmp_path / "b").remove()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_scheme_is_said() -> None:
    with pytest.raises(InputError, match="a directory must be a path or a URI"):
        Directory("gopher://host/run").exists()
