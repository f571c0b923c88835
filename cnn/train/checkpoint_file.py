"""The file of a checkpoint: named lists of arrays, and a state in JSON.

It is NumPy's archive, read without pickle. A damaged or foreign file counts as missing.
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
# The largest size of a checkpoint's file besides its arrays, in bytes.
_MOST_STATE = 64 << 20


def checkpoint_file(name: str) -> str:
    """The file name of a checkpoint."""
    return f"{name}.npz"


def write_checkpoint(
    directory: Directory,
    name: str,
    arrays: Mapping[str, Sequence[np.ndarray]],
    state: Mapping[str, Any],
) -> None:
    """Writes lists of arrays by name and a JSON state, completely or not at all."""
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
    """The arrays and the state of a checkpoint.

    Returns:
        None if there is no such checkpoint, it is damaged, or its arrays exceed `most` bytes.
    """
    try:
        content = read_document(directory, checkpoint_file(name), most + _MOST_STATE)
    except (FileNotFoundError, NotADirectoryError, Malformed):
        return None
    try:
        # The archive has a checksum for each entry, which reading verifies.
        with np.load(io.BytesIO(content), allow_pickle=False) as entries:
            _check_sizes(entries.zip.infolist(), len(content))
            about = json.loads(entries[_STATE].tobytes())
            arrays = {
                key: [entries[f"{key}-{place}"] for place in range(count)]
                for key, count in about["counts"].items()
            }
            return arrays, dict(about["state"])
    except Exception:
        # A damaged file may cause any exception in NumPy and zipfile.
        return None


def _check_sizes(entries: Sequence[zipfile.ZipInfo], most: int) -> None:
    """Raises ValueError if the entries could unpack to more than `most` bytes."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("a checkpoint's entries must be uncompressed")
    if sum(entry.file_size for entry in entries) > most:
        raise ValueError("a checkpoint's entries must not overlap")
