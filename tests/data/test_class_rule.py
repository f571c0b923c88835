"""Which class a path gives, and which files are left out."""

from pathlib import Path
from typing import Any

import pytest
from support.images import write_images

from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.folders.class_rule import exclusion, glob_of
from cnn.data.sources.folder import FolderSource


@pytest.mark.parametrize(
    ("globs", "left_out", "kept"),
    [
        (["masks"], ["masks/1.png", "a/masks/1.png", "a/masks"], ["a/masks2/1.png", "a/xmasks"]),
        (["/masks"], ["masks/1.png"], ["a/masks/1.png"]),
        (["*/masks"], ["a/masks/1.png"], ["masks/1.png", "a/b/masks/1.png"]),
        (["**/x/*.png"], ["x/1.png", "a/b/x/1.png"], ["x/1.jpg", "y/1.png"]),
        (["test/**"], ["test", "test/1.png"], ["a/test/1.png"]),
        (["*_mask.png", "b"], ["a/1_mask.png", "b/1.png"], ["a/1.png"]),
        (["[!a-c]?.png"], ["x/d1.png"], ["x/a1.png", "x/dd1.png"]),
        (["a(1)+.png"], ["a(1)+.png"], ["a1.png", "a(1)1.png"]),
    ],
)
def test_globs_are_those_of_a_gitignore_file(
    globs: list[str], left_out: list[str], kept: list[str]
) -> None:
    pattern = exclusion(globs)
    assert pattern is not None
    assert [path for path in (*left_out, *kept) if pattern.fullmatch(path)] == left_out


@pytest.mark.parametrize("folder", ["a", "a/b", "[a]", "a*"])
def test_a_glob_for_a_folder_leaves_out_that_folder_alone(folder: str) -> None:
    others = ["x/a", "a b", "c/[a]", "x/a*", "ab"]
    pattern = exclusion([glob_of(folder, [folder, *others])])
    assert pattern is not None
    assert pattern.fullmatch(f"{folder}/1.png")
    assert not any(pattern.fullmatch(f"{other}/1.png") for other in others)


def listed(root: Path, **changes: Any) -> dict[str, str]:
    files = FolderSource(root).find(DataSettings(**changes)).files
    return {file.path: file.class_name for file in files}


def test_the_class_is_a_folder_above_or_a_part_of_the_path(tmp_path: Path) -> None:
    for kind in ("cat", "dog"):
        write_images(tmp_path / kind / "indoors", {f"{kind}1": 1})
    one = "cat/indoors/cat1/cat1-0.png"
    assert listed(tmp_path)[one] == "cat1"
    assert listed(tmp_path, class_level=3)[one] == "cat"
    assert listed(tmp_path, class_regex=r"/([a-z]+)\d-")[one] == "cat"
    assert listed(tmp_path, class_regex="cat1|dog")[one] == "cat1"


def test_a_path_without_a_class_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "x", {"a": 2, "b": 2})
    write_images(tmp_path, {"test1": 3})
    (tmp_path / "test1" / "notes.txt").touch()
    rule = r"--class-regex must match the path of every image, but .* for 3 of 7, such as 'test1/"
    with pytest.raises(InputError, match=rule):
        listed(tmp_path, class_regex="/([ab])-")
    with pytest.raises(InputError, match=r"--class-level must name a folder above .* for 7 of 7"):
        listed(tmp_path, class_level=4)
    with pytest.raises(InputError, match="cannot be combined"):
        DataSettings(class_level=2, class_regex="x")
    assert set(listed(tmp_path, class_regex="/([ab])-", exclude=["test1"]).values()) == {"a", "b"}


def test_what_is_left_out_is_ignored_and_counted(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3, "b": 3, "empty": 0})
    write_images(tmp_path / "masks", {"a": 3})
    write_images(tmp_path / "a", {"below": 1})
    settings = DataSettings(exclude=("masks", "empty", "a/below/*.png", "b-0.png"))
    listing = FolderSource(tmp_path).find(settings)
    assert listing.classes == ("a", "b")
    assert (len(listing.files), listing.ignored) == (5, 5)


def test_settings_of_later_versions_do_not_change_the_inputs_of_old_data_sets() -> None:
    old = (
        '{"image_size":128,"color_mode":"grayscale","classes":null,"test_fraction":0.2,'
        '"group":"auto","group_regex":null,"split":"exact","folders":"ask","fit":"stretch",'
        '"background":"auto","value_range":null,"seed":0,"max_rejects":0.01}'
    )
    before = DataSettings(near_duplicates="keep")
    assert before.identity(without=frozenset({"test_images"})) == old
    assert DataSettings().identity() != before.identity()
    assert '"exclude":["x"]' in DataSettings(exclude=("x",)).identity()


def test_a_malformed_glob_is_refused_in_one_line() -> None:
    for glob in ("[!]", "[z-a]"):
        with pytest.raises(InputError, match=r"--exclude must be globs, but got '\["):
            exclusion([glob])
    # Not a set, as in a .gitignore file.
    empty = exclusion(["a[]"])
    assert empty is not None
    assert empty.fullmatch("x/a[]/1.png")
