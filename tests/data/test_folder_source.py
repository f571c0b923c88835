"""The files and classes under a folder."""

import os
from collections import Counter
from pathlib import Path

import pytest
from support.images import write_images

from cnn.data.data_settings import DataSettings
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.paths import real_path


def test_classes_are_the_folders_that_hold_images_at_any_depth(tmp_path: Path) -> None:
    write_images(tmp_path / "deep" / "er", {"cats": 2, "dogs": 1})
    write_images(tmp_path / "val", {"cats": 1}, seed=1)
    listing = FolderSource(tmp_path).find(DataSettings())
    assert listing.classes == ("cats", "dogs")
    assert Counter(file.class_name for file in listing.files) == {"cats": 3, "dogs": 1}
    assert {file.path for file in listing.files if file.class_name == "dogs"} == {
        "deep/er/dogs/dogs-0.png"
    }


def test_faces_come_before_comics_and_others_by_name(tmp_path: Path) -> None:
    write_images(tmp_path / "known", {"comics": 1, "faces": 1})
    write_images(tmp_path / "other", {"b": 1, "a": 1})
    assert FolderSource(tmp_path / "known").find(DataSettings()).classes == ("faces", "comics")
    assert FolderSource(tmp_path / "other").find(DataSettings()).classes == ("a", "b")
    chosen = DataSettings(classes=("b", "a"))
    assert FolderSource(tmp_path / "other").find(chosen).classes == ("b", "a")


def test_classes_that_are_not_named_are_left_out(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 2, "b": 2, "c": 2})
    listing = FolderSource(tmp_path).find(DataSettings(classes=("a", "c")))
    assert {file.class_name for file in listing.files} == {"a", "c"}


def test_rubbish_is_ignored_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 1, "b": 1})
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "a" / name).touch()
    write_images(tmp_path / "__MACOSX", {"a": 1})
    (tmp_path / "notes.txt").touch()
    listing = FolderSource(tmp_path).find(DataSettings())
    assert len(listing.files) == 2
    assert listing.ignored == 4


def test_what_else_lies_in_a_class_folder_is_listed(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    listing = FolderSource(tmp_path).find(DataSettings())
    assert "a/notes.txt" in [file.path for file in listing.files]
    assert listing.rejects == [
        ("a/gone.png", "unreadable: No such file or directory"),
        ("a/pipe.png", "not a regular file"),
    ]


def test_links_to_folders_are_followed_but_not_round_and_round(tmp_path: Path) -> None:
    write_images(tmp_path / "elsewhere", {"a": 2})
    root = write_images(tmp_path / "images", {"b": 2})
    (root / "a").symlink_to(tmp_path / "elsewhere" / "a")
    (root / "b" / "up").symlink_to(root)
    paths = [file.path for file in FolderSource(root).find(DataSettings()).files]
    assert paths == ["a/a-0.png", "a/a-1.png", "b/b-0.png", "b/b-1.png"]


@pytest.mark.parametrize("name", ["a b", "100%", "%41", "größe", "zwei\nzeilen", "\udcff\udc80"])
def test_any_file_name_is_listed_and_found_again(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, {"a": 1, "b": 1})
    odd = tmp_path / "a" / f"{name}.png"
    (tmp_path / "a" / "a-0.png").rename(odd)
    listed = next(
        f for f in FolderSource(tmp_path).find(DataSettings()).files if f.class_name == "a"
    )
    listed.path.encode()
    assert real_path(tmp_path, listed.path).read_bytes() == odd.read_bytes()


def test_inputs_change_with_files_and_settings(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 2, "b": 2})
    first = FolderSource(tmp_path).find(DataSettings()).inputs
    assert FolderSource(tmp_path).find(DataSettings()).inputs == first
    assert FolderSource(tmp_path).find(DataSettings(seed=1)).inputs != first
    (tmp_path / "a" / "a-0.png").unlink()
    assert FolderSource(tmp_path).find(DataSettings()).inputs != first
