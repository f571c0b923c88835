"""The file of a backbone: checked without Keras, and copied or made.

A file of the user's is checked before Keras reads it: its archive, its configuration, its input.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pyarrow import fs

from cnn.core.directory import reachable
from cnn.core.errors import InputError
from cnn.model.file_check import foreign_part, read_config
from cnn.settings.validation import shown

_CONFIG, _METADATA = "config.json", "metadata.json"
_WEIGHTS = ("model.weights.h5", "model.weights.npz")
# The time of every file made here, so that equal weights are equal bytes: the first of ZIP's.
_TIME = (1980, 1, 1, 0, 0, 0)
_DATE = "1980-01-01@00:00:00"
_CHUNK = 1 << 20
# A shape without its batch: height, width and channels.
Shape = Sequence[int | None]


def read_side(place: str) -> int | None:
    """The side of the images that a .keras file takes, or None if it takes any; without Keras.

    Args:
        place: A path or URI.

    Raises:
        InputError: There is no such file, it is damaged or contains code, or it takes no RGB.
    """
    filesystem, path = _existing(place)
    with filesystem.open_input_file(path) as file:
        try:
            config = read_config(cast(Any, file))
            names = set(zipfile.ZipFile(cast(Any, file)).namelist())
        except (ValueError, zipfile.BadZipFile) as error:
            raise _unreadable(place, str(error)) from None
    found = foreign_part(config)
    if found is not None:
        raise InputError(
            f"a backbone must have only Keras's own layers and no code, but {place} has {found}"
        )
    if not names.intersection(_WEIGHTS):
        raise InputError(f"a backbone must have weights, but {place} has no {_WEIGHTS[0]}")
    try:
        inputs = _inputs(config)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _unreadable(place, f"its {_CONFIG} is malformed: {error!r}") from None
    return side_of(inputs, place)


def _existing(place: str) -> tuple[fs.FileSystem, str]:
    """The file system and the path of a file. Raises InputError if it is no .keras file."""
    rule = "a backbone must be a name of keras.applications or a .keras file"
    if not place.endswith(".keras"):
        raise InputError(f"{rule}, but got {place}")
    filesystem, path = reachable(place).path()
    info = filesystem.get_file_info(path)
    kind = info.type
    if kind == fs.FileType.File and not info.size:
        raise _unreadable(place, "it is empty")
    if kind == fs.FileType.File:
        return filesystem, path
    is_what = {fs.FileType.NotFound: "does not exist", fs.FileType.Directory: "is a folder"}
    raise InputError(f"{rule}, but {place} {is_what.get(kind, 'is not a regular file')}")


def _unreadable(place: str, reason: str) -> InputError:
    return InputError(
        f"a backbone must be a .keras file that Keras can read in safe mode, but {place} is not: "
        f"{reason}"
    )


def unreadable(place: str, error: Exception) -> InputError:
    """The message for what Keras raised when it read a file."""
    return _unreadable(place, str(error).strip().partition("\n")[0] or type(error).__name__)


def _inputs(config: Any) -> list[list[int | None]]:
    """The shapes of a model's inputs, with the batch. Raises nearly anything if it is malformed."""
    inner = config["config"]
    layers = inner["layers"]
    if config["class_name"] == "Sequential":
        first = layers[0]
        if first["class_name"] == "InputLayer":
            return [first["config"]["batch_shape"]]
        return [inner["build_input_shape"]] if "build_input_shape" in inner else []
    names = set(_strings(inner["input_layers"]))
    return [
        layer["config"]["batch_shape"]
        for layer in layers
        if layer["class_name"] == "InputLayer" and layer["config"]["name"] in names
    ]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def side_of(inputs: Sequence[Shape], place: str) -> int | None:
    """The side of the images that a network takes. Raises InputError if it cannot be a backbone.

    Args:
        inputs: The shapes of its inputs, with the batch.
        place: What messages call it.
    """
    if len(inputs) != 1:
        count = f"{len(inputs)} inputs" if inputs else "none that is defined"
        raise InputError(f"a backbone must have one input, but {place} has {count}")
    shape = list(inputs[0])
    if len(shape) != 4 or shape[0] is not None:
        raise InputError(
            "a backbone must take images as (batch, height, width, 3), but "
            f"{place} takes {shown(tuple(shape))}"
        )
    _, height, width, channels = shape
    if channels != 3:
        number = "any number of" if channels is None else channels
        plural = "" if channels == 1 else "s"
        raise InputError(
            f"a backbone must take RGB images, but {place} takes {number} channel{plural}"
        )
    if height != width:
        raise InputError(
            f"a backbone must take square images, but {place} takes {height} by {width} pixels"
        )
    return height


def copy_checked(place: str, path: Path) -> None:
    """Copies a .keras file of the user's to `path` after its check. Raises InputError."""
    read_side(place)
    filesystem, source = _existing(place)
    with filesystem.open_input_stream(source) as stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file, _CHUNK)


def rewrite(source: Path, target: Path) -> None:
    """Writes a .keras file again so that its bytes depend only on the network and its weights.

    Keras writes the time into it, and addresses in memory as identities of shared objects.
    """
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in sorted(old.namelist()):
            entry = zipfile.ZipInfo(name, _TIME)
            if name in (_CONFIG, _METADATA):
                tree = json.loads(old.read(name))
                if name == _METADATA:
                    tree["date_saved"] = _DATE
                _number(tree, {})
                new.writestr(entry, json.dumps(tree))
                continue
            entry.file_size = old.getinfo(name).file_size
            with old.open(name) as content, new.open(entry, "w") as copy:
                shutil.copyfileobj(content, copy, _CHUNK)


def _number(tree: Any, numbers: dict[int, int]) -> None:
    """Replaces identities of shared objects by numbers in the order of their occurrence."""
    if isinstance(tree, dict) and "shared_object_id" in tree:
        own = tree["shared_object_id"]
        tree["shared_object_id"] = numbers.setdefault(own, len(numbers))
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            _number(value, numbers)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
