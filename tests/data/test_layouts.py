"""Layouts that people download: what is understood, what is asked, what each answer does."""

import ast
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from support.data_sets import make, no_session, rows
from support.jobs import Run, clean_environment, one_line
from support.paths import REPOSITORY

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.data_settings import DataSettings
from cnn.data.manifest import write_manifest
from cnn.data.sources.folder import FolderSource


def named(pattern: str, count: int, first: int = 0) -> list[str]:
    return [pattern.format(number) for number in range(first, first + count)]


def write_layout(root: Path, files: list[str]) -> Path:
    """Writes small images that are all different, and text into all other files."""
    for number, name in enumerate(files):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".png":
            pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        else:
            path.write_text(name)
    return root


class Layout(NamedTuple):
    files: list[str]
    # What the first line says, and what lines of the tree say.
    reason: str
    tree: list[str]
    # Each command's settings, and the number of images of each class that it gives.
    answers: list[tuple[dict[str, Any], dict[str, int]]]


GIVEN = {"folders": "given", "test_fraction": None, "split": None}
IGNORE = {"folders": "ignore"}


def chest_xray() -> Layout:
    sizes = {"train": 24, "val": 4, "test": 6}
    files = [
        name
        for part, count in sizes.items()
        for kind in ("NORMAL", "PNEUMONIA")
        for name in named(f"chest_xray/{part}/{kind}/{part}-{kind}-{{}}.png", count)
    ]
    both = {"NORMAL": 34, "PNEUMONIA": 34}
    return Layout(
        files,
        r"train \(48 images\) and val \(8 images\) and test \(12 images\) in chest_xray look like",
        ["  chest_xray/  68 images", "    val/  8 images", "4 images  -> class 'NORMAL'"],
        [(GIVEN, both), (IGNORE, both)],
    )


def intel() -> Layout:
    files = [
        name
        for part, count in (("train", 24), ("test", 6))
        for kind in ("forest", "sea")
        for name in named(f"seg_{part}/seg_{part}/{kind}/{part}-{{}}.png", count)
    ]
    files += named("seg_pred/seg_pred/{}.png", 5)
    both, without = {"forest": 30, "sea": 30}, {"exclude": ["seg_pred"]}
    return Layout(
        files,
        r"seg_test \(12 images\) look like a split.*seg_pred \(5 images\) seems to hold images",
        ["  seg_pred/seg_pred/  5 images  -> class 'seg_pred'"],
        [(without | GIVEN, both), (without | IGNORE, both), (IGNORE, both | {"seg_pred": 5})],
    )


def asl() -> Layout:
    files = [
        name
        for letter in "AB"
        for name in named(f"asl_alphabet_train/asl_alphabet_train/{letter}/{letter}{{}}.png", 14)
    ]
    files += [f"asl_alphabet_test/asl_alphabet_test/{letter}_test.png" for letter in "AB"]
    return Layout(
        files,
        r"asl_alphabet_test \(2 images\) seems to hold images without a class",
        ["    A/  14 images  -> class 'A'"],
        [({"exclude": ["asl_alphabet_test"]}, {"A": 14, "B": 14})],
    )


def covid() -> Layout:
    files = [
        name
        for kind in ("COVID", "Normal")
        for folder in ("images", "masks")
        for name in named(f"{kind}/{folder}/{kind}-{{}}.png", 14)
    ]
    return Layout(
        [*files, "README.txt"],
        "COVID/masks, Normal/masks seem to hold masks; .* are called images, which names no class",
        ["  COVID/  28 images", "    masks/  14 images  -> class 'masks'"],
        [
            ({"exclude": ["masks"], "class_level": 2}, {"COVID": 14, "Normal": 14}),
            (IGNORE, {"images": 28, "masks": 28}),
        ],
    )


def break_his() -> Layout:
    root = "BreaKHis_v1/histology_slides/breast"
    tumours = (
        ("benign", "adenosis", "B_A"),
        ("benign", "fibroadenoma", "B_F"),
        ("malignant", "ductal_carcinoma", "M_DC"),
    )
    files = [
        name
        for side, tumour, code in tumours
        for patient in range(12)
        for zoom in (40, 100)
        for name in named(
            f"{root}/{side}/SOB/{tumour}/SOB_{code}_14-{patient:05d}AB/{zoom}X/"
            f"{code}-{patient}-{zoom}-{{}}.png",
            2,
        )
    ]
    tied = {"group_regex": "([^/]+)(?:/[^/]+){2}$"}
    patients = {f"SOB_{code}_14-{n:05d}AB": 4 for _, _, code in tumours for n in range(12)}
    return Layout(
        files,
        "100X, 40X lie in each of several folders, such as SOB_B_A_14-00000AB, ",
        [f"  {root}/  144 images", "    malignant/SOB/ductal_carcinoma/  48 images"],
        [
            (
                {"class_level": 3, **tied},
                {"adenosis": 48, "ductal_carcinoma": 48, "fibroadenoma": 48},
            ),
            ({"class_level": 5, **tied}, {"benign": 96, "malignant": 48}),
            ({"class_level": 2}, patients),
            (IGNORE, {"100X": 72, "40X": 72}),
        ],
    )


def dogs_vs_cats() -> Layout:
    files = [name for kind in ("cat", "dog") for name in named(f"train/{kind}.{{}}.png", 14)]
    return Layout(
        [*files, *named("test1/{}.png", 6, 1)],
        "test1, train are named like the parts of a split, and hold images directly",
        ["  train/  28 images  -> class 'train'"],
        [
            (
                {"exclude": ["test1"], "class_regex": r"([a-z]+)\.\d+\.\w+$"},
                {"cat": 14, "dog": 14},
            ),
            (IGNORE, {"test1": 6, "train": 28}),
        ],
    )


def yolo() -> Layout:
    files = [
        name
        for part, count, first in (("train", 14, 0), ("val", 6, 14))
        for folder, kind in (("images", "png"), ("labels", "txt"))
        for name in named(f"{folder}/{part}/{{}}.{kind}", count, first)
    ]
    return Layout(
        files,
        "train, val are named like the parts of a split",
        [
            "  labels/  no images, 20 other files",
            "a table can name the class of each image instead",
        ],
        [(IGNORE, {"train": 14, "val": 6})],
    )


def numbered_patients() -> Layout:
    files = [
        name
        for kind, first in (("benign", 0), ("malignant", 20))
        for patient in range(first, first + 12)
        for name in named(f"{kind}/patient{patient:03d}/{{}}.png", 2)
    ]
    return Layout(
        files,
        r"are numbered \(patient000, patient001, patient002, ...\)",
        ["    patient020/  2 images  -> class 'patient020'", "more with"],
        [
            (
                {"class_level": 2, "group_regex": "([^/]+)/[^/]+$"},
                {"benign": 24, "malignant": 24},
            )
        ],
    )


def variants() -> Layout:
    files = [
        name
        for variant, count in (("color", 15), ("grayscale", 14))
        for kind in ("Apple scab", "healthy")
        for name in named(f"{variant}/{kind}/{variant}-{kind}-{{}}.png", count)
    ]
    return Layout(
        files,
        "Apple scab, healthy lie in each of several folders, such as color, grayscale",
        ["    Apple scab/  15 images  -> class 'Apple scab'"],
        [
            ({"class_level": 2}, {"color": 30, "grayscale": 28}),
            ({"exclude": ["grayscale"]}, {"Apple scab": 15, "healthy": 15}),
            (IGNORE, {"Apple scab": 29, "healthy": 29}),
        ],
    )


def numbered_parts() -> Layout:
    files = [
        name for part in (1, 2) for name in named(f"HAM_images_part_{part}/ISIC_{part}0{{}}.png", 5)
    ]
    return Layout(
        files,
        "are called HAM_images_part_1, HAM_images_part_2, which names no class",
        ["a table can name the class of each image instead"],
        [],
    )


def split_below_classes() -> Layout:
    files = [
        name
        for kind in ("cats", "dogs")
        for part, count in (("train", 14), ("test", 6))
        for name in named(f"{kind}/{part}/{kind}-{part}-{{}}.png", count)
    ]
    both = {"cats": 20, "dogs": 20}
    return Layout(
        files,
        "test, train are named like the parts of a split",
        ["  cats/  20 images"],
        [({"class_level": 2, **GIVEN}, both), ({"class_level": 2, **IGNORE}, both)],
    )


LAYOUTS = [
    chest_xray,
    intel,
    asl,
    covid,
    break_his,
    dogs_vs_cats,
    yolo,
    numbered_patients,
    variants,
    numbered_parts,
    split_below_classes,
]


def answers_of(notes: list[str]) -> list[dict[str, Any]]:
    commands = [note.strip() for note in notes if note.strip().startswith("again ")]
    return [ast.literal_eval(command.removeprefix("again ")) for command in commands]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_what_is_asked_and_what_each_answer_does(spark: Any, tmp_path: Path, layout: Any) -> None:
    files, reason, tree, answers = layout()
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=f"must be folders with one clear meaning.*{reason}") as e:
        make(no_session(), root, tmp_path / "data")
    assert "\n" not in str(e.value)
    notes = e.value.__notes__
    for line in tree:
        assert any(line in note for note in notes), notes
    assert sum("images" in note and "/" in note for note in notes) <= 20
    asked = answers_of(notes)
    for number, (changes, classes) in enumerate(answers):
        assert changes in asked
        given = {key: value for key, value in changes.items() if value is not None}
        made = make(spark, root, tmp_path / f"data-{number}", **given)
        counts = Counter(made.manifest.counts["train"])
        counts.update(made.manifest.counts["test"])
        assert counts == classes
        # Nothing is lost without a word.
        pictures = sum(name.endswith(".png") for name in files)
        ignored = made.manifest.ignored - (len(files) - pictures)
        assert made.manifest.listed + ignored == pictures


def test_a_kept_split_is_kept_to_the_image(spark: Any, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "images", chest_xray().files)
    made = make(spark, root, tmp_path / "data", folders="given")
    train, test = rows(made.path, "train"), rows(made.path, "test")
    assert {row["path"].split("/")[1] for row in test} == {"test"}
    assert len(test) == 12
    validation = {row["path"] for row in train if row["fold"] == 0}
    assert validation == {row["path"] for row in train if "/val/" in row["path"]}
    assert len(validation) == 8
    assert {row["fold"] for row in train} == set(range(10))
    assert made.manifest.validation == "given"
    assert "8 validation" in made.manifest.assumptions[0]
    # The answer is part of the data set: the same command does nothing.
    assert not make(no_session(), root, tmp_path / "data", folders="given").new


def test_without_test_images_a_test_split_is_drawn_from_the_training_images(
    spark: Any, tmp_path: Path
) -> None:
    files = [name for name in chest_xray().files if "/test/" not in name]
    root = write_layout(tmp_path / "images", files)
    made = make(spark, root, tmp_path / "data", folders="given", test_fraction=0.25)
    assert made.manifest.counts["test"] == {"NORMAL": 6, "PNEUMONIA": 6}
    assert {row["path"].split("/")[1] for row in rows(made.path, "test")} == {"train"}
    folds = Counter(
        (row["fold"] == 0, row["path"].split("/")[1]) for row in rows(made.path, "train")
    )
    assert folds == {(True, "val"): 8, (False, "train"): 36}


@pytest.mark.parametrize(
    ("files", "changes", "rule"),
    [
        (chest_xray().files, {"test_fraction": 0.3}, "--test-fraction cannot be combined with"),
        (["a/1.png", "b/1.png"], {}, "--folders given must find folders such as train/ and test/"),
        (
            ["train/a/1.png", "train/b/1.png", "train/c/1.png", "test/a/2.png", "test/b/2.png"],
            {},
            "of every class in the test images, but 'c' has none",
        ),
        (chest_xray().files, {"test_images": "x"}, "--folders given cannot be combined with"),
    ],
)
def test_a_split_that_cannot_be_kept(
    tmp_path: Path, files: list[str], changes: dict[str, Any], rule: str
) -> None:
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=rule):
        make(no_session(), root, tmp_path / "data", folders="given", **changes)


def test_a_class_that_the_test_set_lacks_is_left_out_by_the_printed_command(
    tmp_path: Path,
) -> None:
    files = [f"{part}/{name}/{part}.png" for part in ("train", "test") for name in "ab"]
    root = write_layout(tmp_path / "images", [*files, "train/c/1.png", "test/unknown/1.png"])
    with pytest.raises(InputError) as caught:
        make(no_session(), root, tmp_path / "data")
    kept, _ = answers_of(caught.value.__notes__)
    assert kept == GIVEN | {"classes": "a,b"}


def test_a_split_is_kept_whichever_folder_is_the_class(tmp_path: Path) -> None:
    files = [f"{p}/{v}/{c}/{p}.png" for p in ("train", "test") for v in ("x", "y") for c in "ab"]
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(InputError, match=r"look like a split.*a, b lie in each of several") as e:
        make(no_session(), root, tmp_path / "data")
    asked = answers_of(e.value.__notes__)
    level, named = {"class_level": 2}, {"classes": "a,b"}
    assert asked[:2] == [level | GIVEN, level | IGNORE]
    assert named | GIVEN in asked


@pytest.mark.parametrize(
    "files",
    [
        ["a/1.png", "b/1.png"],
        ["x/y/a/1.png", "x/y/b/1.png"],
        # Classes at different depths, and numbered classes in one folder.
        ["x/a/1.png", "b/1.png"],
        [f"set/{digit}/{n}.png" for digit in range(10) for n in range(2)],
        # People who wear masks, and who do not.
        ["mask/1.png", "no_mask/1.png"],
        ["photo/1.png", "sketch/1.png"],
        ["real_images/1.png", "fake_images/1.png"],
    ],
)
def test_plain_layouts_ask_nothing(tmp_path: Path, files: list[str]) -> None:
    root = write_layout(tmp_path / "images", files)
    with pytest.raises(AssertionError, match="Spark was started"):
        make(no_session(), root, tmp_path / "data")


@pytest.mark.parametrize("layout", [dogs_vs_cats, yolo, covid, variants])
def test_folders_whose_names_are_given_as_classes_are_classes(tmp_path: Path, layout: Any) -> None:
    files = layout().files
    root = write_layout(tmp_path / "images", files)
    classes = sorted({Path(name).parent.name for name in files if name.endswith(".png")})
    with pytest.raises(AssertionError, match="Spark was started"):
        make(no_session(), root, tmp_path / "data", classes=tuple(classes))


def test_a_data_set_of_before_is_found_without_a_question(spark: Any, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "images", variants().files)
    made = make(spark, root, tmp_path / "data", folders="ignore")
    # As an earlier version made it, which merged such folders.
    before = FolderSource(root).find(DataSettings(image_size=16)).inputs
    manifest = made.manifest.model_copy(update={"inputs": before})
    write_manifest(Directory(made.path), manifest)
    assert not make(no_session(), root, tmp_path / "data").new
    with pytest.raises(InputError, match="one clear meaning"):
        make(no_session(), root, tmp_path / "data", seed=1)


def test_folders_of_one_name_are_merged_where_what_holds_them_is_numbered(
    spark: Any, tmp_path: Path
) -> None:
    files = [f"site{s}/{c}/{c}{s}-{n}.png" for s in (1, 2) for c in "ab" for n in range(14)]
    made = make(spark, write_layout(tmp_path / "images", files), tmp_path / "data")
    assert made.manifest.classes == ("a", "b")
    assert made.manifest.assumptions == (
        "folders of the same name are one class: a, b; a lies in site1, site2",
    )


def test_the_job_prints_commands_that_work(submit: Run, tmp_path: Path) -> None:
    root = write_layout(tmp_path / "it's", dogs_vs_cats().files)
    out = tmp_path / "data"
    done = submit("jobs/preprocess.py", "--images", root, "--out", out, "--image-size", "16")
    assert done.returncode == 2
    assert "named like the parts of a split" in one_line(done.stderr)
    assert not out.exists()
    lines = done.stderr.splitlines()
    command = next(line for line in lines if "--class-regex" in line).strip()
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "28 files of cat, dog" in run.stdout
