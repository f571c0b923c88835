"""A file of named arrays, and what is to be known of them: from it a training goes on.

NumPy's own archive, read without pickle: a file that is not what it should be counts as none.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_document

_STATE = "state"
# Of a checkpoint's file, beside its arrays.
_MOST_STATE = 64 << 20


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
    directory: Directory, name: str, most: int
) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
    """The arrays and the state, or None where there is no such checkpoint or it is damaged.

    One with more than `most` bytes of arrays is none either.
    """
    try:
        content = read_document(directory, checkpoint_file(name), most + _MOST_STATE)
    except (FileNotFoundError, NotADirectoryError, Malformed):
        return None
    try:
        # The archive has a checksum of each entry.
        with np.load(io.BytesIO(content), allow_pickle=False) as entries:
            _check_sizes(entries.zip.infolist(), len(content))
            about = json.loads(entries[_STATE].tobytes())
            arrays = {
                key: [entries[f"{key}-{place}"] for place in range(count)]
                for key, count in about["counts"].items()
            }
            return arrays, dict(about["state"])
    except Exception:
        # NumPy and its archive raise whatever a damaged file provokes.
        return None


def _check_sizes(entries: Sequence[zipfile.ZipInfo], most: int) -> None:
    """Raises ValueError where entries are not as they are written, and may be much larger."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a checkpoint's entries must be stored as they are")
    if sum(entry.file_size for entry in entries) > most:
        raise ValueError("a checkpoint's entries must not lie upon each other")
