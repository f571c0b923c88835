"""Exports a network for other programs, completely and only if it computes the same.

The exported network is loaded in the runtime that it is for. It must give the same probabilities as
the network on real images; otherwise nothing is written.
"""

import shutil
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from cnn.core.errors import Error, InputError

Format = Literal["tf_saved_model", "onnx"]
_PROTOBUF = "saved_model.pb"
# The largest difference of probabilities: runtimes add numbers in different orders.
_TOLERANCE = 1e-4


def export_model(
    model: keras.Model, path: Path, format: Format, images: np.ndarray, expected: np.ndarray
) -> None:
    """Writes a network in another format.

    Args:
        model: The network, which must be deterministic however it is called.
        path: A folder for a SavedModel, a file for ONNX; an earlier export is replaced.
        format: The format.
        images: uint8 (n, size, size, channels), for the comparison.
        expected: float32 (n, classes), the network's probabilities of these images.

    Raises:
        InputError: `path` contains something else, or the extra is not installed.
        Error: The probabilities of the exported network differ; nothing is written then.
    """
    if format not in ("tf_saved_model", "onnx"):
        raise InputError(f"format must be tf_saved_model or onnx, but got {format!r}")
    _check_place(path, format)
    if format == "onnx":
        _check_extra()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written beside its place and moved, so that it appears complete.
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / path.name
        # Keras converts a network to ONNX only after it has been called.
        model(images[:1])
        model.export(str(made), format=format, verbose=False)
        run = _load_onnx(made) if format == "onnx" else _load_saved_model(made)
        difference = float(np.abs(run(images) - expected).max())
        if not difference <= _TOLERANCE:
            raise Error(
                "an exported model must give the probabilities of the original within "
                f"{_TOLERANCE:g}, but they differ by up to {difference:.3g} on {len(images)} "
                "images; nothing was written"
            )
        if path.is_dir():
            shutil.rmtree(path)
        made.replace(path)


def _check_place(path: Path, format: Format) -> None:
    """Raises InputError if something else than an earlier export would be replaced."""
    if format == "onnx" and path.is_dir():
        raise InputError(f"a model in ONNX must be written to a file, but {path} is a folder")
    empty = path.is_dir() and not any(path.iterdir())
    fits = empty or not path.exists() or (path / _PROTOBUF).is_file()
    if format == "tf_saved_model" and not fits:
        raise InputError(
            "a SavedModel must be written to a new or empty folder or to an earlier SavedModel, "
            f"but {path} is neither"
        )


def _check_extra() -> None:
    for name in ("onnxruntime", "tf2onnx"):
        if find_spec(name) is None:
            raise InputError(
                f"the extra [onnx] must be installed for an export to ONNX, but {name} is not"
            )


def _load_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow as tf

    # The variables exist only as long as `loaded`.
    loaded = tf.saved_model.load(str(path))
    return lambda images: np.asarray(loaded.serve(images))


def _load_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])
