"""A file of named arrays, and what is to be known of them: from it a training goes on.

NumPy's own archive, read without pickle: a file that is not what it should be counts as none.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnn.storage import Directory

_STATE = "state"


def checkpoint_file(name: str) -> str:
    """The name of a checkpoint's file in its directory."""
    return f"{name}.npz"


def write_checkpoint(
    directory: Directory,
    name: str,
    arrays: Mapping[str, Sequence[np.ndarray]],
    state: Mapping[str, Any],
) -> None:
    """Writes lists of arrays, by name, and a state that JSON can hold; whole or not at all."""
    entries = {
        f"{key}-{place}": array
        for key, values in arrays.items()
        for place, array in enumerate(values)
    }
    text = json.dumps({"state": state, "counts": {key: len(v) for key, v in arrays.items()}})
    buffer = io.BytesIO()
    entries[_STATE] = np.frombuffer(text.encode(), np.uint8)
    np.savez(buffer, allow_pickle=False, **entries)
    directory.write(checkpoint_file(name), buffer.getvalue())


def read_checkpoint(
    directory: Directory, name: str
) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
    """The arrays and the state, or None where there is no such checkpoint or it is damaged."""
    try:
        content = directory.read(checkpoint_file(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        # The archive has a checksum of each entry.
        with np.load(io.BytesIO(content), allow_pickle=False) as entries:
            about = json.loads(entries[_STATE].tobytes())
            arrays = {
                key: [entries[f"{key}-{place}"] for place in range(count)]
                for key, count in about["counts"].items()
            }
            return arrays, dict(about["state"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile):
        return None
