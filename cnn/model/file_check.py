"""Checks that a saved model names only Keras's own layers, before Keras reads it.

Keras's safe mode refuses code too, but only on the executors and with a long message.
"""

import json
import zipfile
from typing import Any, cast

from pyarrow import fs

from cnn.core.directory import Directory
from cnn.core.documents import MOST_BYTES
from cnn.core.errors import InputError, Option
from cnn.settings.validation import shown

MODEL = "model.keras"
_CONFIG = "config.json"
# Layers that contain a function's code.
_CODE = frozenset({"Lambda", "__lambda__"})


def check_model_file(run: Directory) -> None:
    """Raises InputError if a run has no model file, or one that contains or names code."""
    filesystem, path = run.path(MODEL)
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.NotFound:
        raise InputError(
            "{} must name a finished run, but {} has no {}", Option("model"), run.uri, MODEL
        )
    where = f"{run.uri}/{MODEL} must be a model that can be read in safe mode"
    if kind != fs.FileType.File:
        raise InputError(f"{where}, but it is not a regular file")
    with filesystem.open_input_file(path) as file:
        try:
            config = read_config(cast(Any, file))
        except ValueError as error:
            raise InputError(f"{where}, but: {error}") from None
    found = foreign_part(config)
    if found is not None:
        raise InputError(f"{where}, with only Keras's own layers, but has {found}")


def foreign_part(config: Any) -> str | None:
    """The first part of a model's configuration that is not Keras's own, or is code; or None."""
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list | tuple):
            waiting += one
        if not isinstance(one, dict):
            continue
        waiting += one.values()
        name, module = one.get("class_name"), one.get("module")
        if isinstance(name, str) and name in _CODE:
            return f"a function's code ({name})"
        own = module in (None, "builtins", "keras") or str(module).startswith("keras.")
        if name is not None and not own:
            return f"{shown(name)} of {shown(module)}"
    return None


def read_config(file: Any) -> Any:
    """The configuration in a model file. Raises ValueError with one line."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo(_CONFIG).file_size > MOST_BYTES:
                raise ValueError(f"its {_CONFIG} is larger than {MOST_BYTES >> 20} MiB")
            return json.loads(archive.read(_CONFIG))
    except Exception as error:
        # A damaged file can make zipfile raise any error.
        raise ValueError(str(error).partition("\n")[0] or type(error).__name__) from None
