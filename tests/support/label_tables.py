"""Small tables of labels, and images for them."""

from pathlib import Path

from cnn.data.data_set import DataSet
from support.data_sets import rows
from support.images import write_images


def flat(root: Path, count: int = 24) -> Path:
    """ROOT/0.png to ROOT/23.png, all different."""
    write_images(root, {"": count})
    for path in sorted(root.glob("-*.png")):
        path.rename(root / path.name[1:])
    return root


def label(number: int) -> str:
    return "ab"[number % 2]


def table(path: Path, lines: list[str], end: str = "\n") -> str:
    path.write_text(end.join(lines), newline="")
    return str(path)


def labels_of(made: DataSet) -> dict[str, str]:
    """The class of each image by its path."""
    every = [row for split in ("train", "test") for row in rows(made.path, split)]
    return {row["path"]: made.manifest.classes[row["label"]] for row in every}


ALL = {f"{n}.png": label(n) for n in range(24)}
