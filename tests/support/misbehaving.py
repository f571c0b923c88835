"""A builder of networks that do to their trial what the parameter `how` says."""

import ctypes
import os
import signal
import time
from pathlib import Path

import keras
import numpy as np

from cnn.settings.params import ModelParams


def build(params: ModelParams, *, size: int, channels: int, classes: int) -> keras.Model:
    how = str(getattr(params, "how", "fine"))
    _note_attempt(how)
    match how:
        case "raise":
            raise RuntimeError("on purpose")
        case "unbuildable":
            raise ValueError("there is no such network")
        case "exit":
            os._exit(7)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "segmentation fault":
            ctypes.string_at(0)
        case "memory":
            np.ones(10**15)
        case "hang":
            time.sleep(1000)
        case "lose the executor":
            if attempts(how) == 1:
                os.kill(_executor(), signal.SIGKILL)
                time.sleep(1000)
    # Its outputs are finite, and its loss is not.
    cost = keras.regularizers.L2(3e38) if how == "diverge" else None
    return keras.Sequential(
        [
            keras.Input((size, size, channels)),
            keras.layers.Flatten(),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Dense(100, kernel_regularizer=cost),
            keras.layers.Dense(classes, activation="softmax"),
        ]
    )


def attempts(how: str) -> int:
    """How often a trial of this kind was begun, in the directory that MISBEHAVING names."""
    path = Path(os.environ["MISBEHAVING"]) / how
    return len(path.read_text()) if path.exists() else 0


def _note_attempt(how: str) -> None:
    with (Path(os.environ["MISBEHAVING"]) / how).open("a") as handle:
        handle.write(".")


def _executor() -> int:
    """The executor's JVM, above this process."""
    pid = os.getpid()
    while b"CoarseGrainedExecutorBackend" not in Path(f"/proc/{pid}/cmdline").read_bytes():
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return pid
