"""Layouts of folders that people download, with what is asked about each and what answers give."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


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
