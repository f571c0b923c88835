"""How far running trials are: each tells the driver by a small file, RUN/running/00017.json.

The run directory is all that driver and executors surely share. What is read there is only shown:
whatever is torn, foreign or too large is passed over.
"""

import contextlib
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

from pyarrow import fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.results import trial_file
from cnn.storage import Directory

if TYPE_CHECKING:
    from cnn.training import Progress

RUNNING = "running"
# Epochs may be tiny, and an object store is not to be asked for each of them.
_SECONDS = 1.0
_MOST_BYTES = 4096
_Count = Annotated[int, Field(ge=0, le=10**9)]


class Reached(BaseModel):
    """What a trial has reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: _Count
    # Epochs that are done, of how many.
    epoch: _Count
    max_epochs: _Count
    # On the validation images, of the best epoch so far.
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    # Rungs that are reached, of how many.
    rungs: _Count = 0
    max_rungs: _Count = 0


class Teller:
    """In a trial: tells how far it is. Where that fails the trial goes on all the same."""

    def __init__(self, run: Directory, number: int, max_epochs: int, max_rungs: int) -> None:
        self._run = run
        self._number = number
        self._most = {"max_epochs": max_epochs, "max_rungs": max_rungs}
        self._told: float | None = None

    def __call__(self, progress: "Progress | None") -> None:
        if self._told is not None and time.monotonic() - self._told < _SECONDS:
            return
        with contextlib.suppress(Exception):
            reached = Reached(number=self._number, **self._most, **_reached(progress))
            content = reached.model_dump_json().encode()
            self._run.write(f"{RUNNING}/{trial_file(self._number)}", content)
        self._told = time.monotonic()


def _reached(progress: "Progress | None") -> dict[str, Any]:
    if progress is None:
        return {"epoch": 0}
    return {
        "epoch": len(progress.epochs),
        "accuracy": progress.best.accuracy if progress.best else None,
        "rungs": progress.told[0] + 1 if progress.told else 0,
    }


def forget(run: Directory, number: int) -> None:
    """Removes what a trial has told, if it has."""
    with contextlib.suppress(Exception):
        run.delete(f"{RUNNING}/{trial_file(number)}")


def forget_all(run: Directory) -> None:
    """Removes RUN/running: no trial runs."""
    with contextlib.suppress(Exception):
        run.sub(RUNNING).remove()


def read_reached(run: Directory, numbers: Collection[int]) -> dict[int, Reached]:
    """What those of `numbers` have reached that have told it."""
    filesystem, path = run.path(RUNNING)
    infos = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
    # A pipe would be waited for, for ever.
    there = {i.base_name for i in infos if i.type == fs.FileType.File and i.size <= _MOST_BYTES}
    found = {}
    for number in numbers:
        if trial_file(number) not in there:
            continue
        try:
            with filesystem.open_input_stream(f"{path}/{trial_file(number)}") as stream:
                reached = Reached.model_validate_json(stream.read(_MOST_BYTES))
        except (OSError, ValidationError):
            continue
        if reached.number == number:
            found[number] = reached
    return found
