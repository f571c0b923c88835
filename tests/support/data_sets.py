"""Small data sets that are made in this process, and what is in them."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from cnn.core.directory import Directory
from cnn.data.data_set import DataSet
from cnn.data.preprocess import Origin, data_settings, preprocess
from cnn.data.splits import ImageFile


def images_of(*folders: str, count: int = 3, first: int = 0, tested: bool = False) -> Any:
    return [
        ImageFile(
            f"{folder}/{number}.png", folder.rpartition("/")[2], 1, part="test" if tested else ""
        )
        for folder in folders
        for number in range(first, first + count)
    ]


def rows(data: str | Path, split: str) -> list[dict[str, Any]]:
    columns = ["path", "label", "group", "fold"]
    found: list[dict[str, Any]] = pq.read_table(f"{data}/{split}", columns=columns).to_pylist()
    return found


@contextmanager
def no_session() -> Iterator[Any]:
    raise AssertionError("Spark was started")
    yield


def make(session: Any, images: object, out: Path | str, **given: Any) -> DataSet:
    given = {"image_size": 16, **given}
    settings = data_settings(given)
    origin = Origin(lambda changes: f"again {dict(changes)}", str(images))
    entered = nullcontext(session) if hasattr(session, "sparkContext") else session
    return preprocess(entered, origin, Directory(out), settings)
