"""Reports the progress of running trials to the driver in small files, RUN/running/00017.json.

A host that copies the images reports its progress in RUN/running/host-NAME.json.

The run directory is the only storage that the driver and the executors are sure to share. Progress
is only displayed, so files that are truncated, invalid or too large are ignored.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator
from typing import Annotated, Any, TypeVar

from pyarrow import fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cnn.core.directory import Directory
from cnn.rundir.trials import trial_file

RUNNING = "running"
# Steps can be very short. Progress is written at most once a second, and slow writing takes at most
# a hundredth of the time.
_INTERVAL_SECONDS = 1.0
_MAX_SHARE_OF_TIME = 0.01
_MAX_BYTES = 4096
_HOST = "host-"
_Progress = TypeVar("_Progress", bound=BaseModel)
_Count = Annotated[int, Field(ge=0, le=10**9)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TrialProgress(BaseModel):
    """The progress of a trial."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: _Count
    # Completed epochs and the completed fraction of the next one.
    epoch: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
    max_epochs: _Count
    # On the validation images, at the best epoch so far.
    accuracy: _Share | None = None
    # The value there of an objective that is no accuracy and no loss.
    objective: Annotated[float, Field(allow_inf_nan=False)] | None = None
    # On the training images, in the last epoch.
    train_accuracy: _Share | None = None
    # Rungs that the trial has reached.
    rungs: _Count = 0
    max_rungs: _Count = 0
    # For the winner only: the number of this training, and the number of test images if it is being
    # tested.
    attempt: _Count = 0
    testing: _Count = 0

    def epochs(self) -> str:
        """Completed and maximum epochs, such as 2.4/15."""
        done = f"{self.epoch:.1f}".removesuffix(".0")
        return f"{done}/{self.max_epochs}"


class HostProgress(BaseModel):
    """The share of the images that a host has copied or verified."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: _Share


class _ProgressFile:
    """A file in RUN/running; errors in writing it are ignored."""

    def __init__(self, run: Directory, name: str) -> None:
        self._run = run
        self._name = name
        self._next = 0.0

    def write(self, progress: Callable[[], BaseModel], *, now: bool = False) -> None:
        """Writes the progress, at most once a second unless `now`."""
        began = time.monotonic()
        if began < self._next and not now:
            return
        with contextlib.suppress(Exception):
            self._run.write(f"{RUNNING}/{self._name}", progress().model_dump_json().encode())
        ended = time.monotonic()
        self._next = ended + max(_INTERVAL_SECONDS, (ended - began) / _MAX_SHARE_OF_TIME)


class HostReporter:
    """Reports the progress of a host that copies the images."""

    def __init__(self, run: Directory, host: str) -> None:
        self._file = _ProgressFile(run, f"{_HOST}{host}.json")

    def __call__(self, share: float) -> None:
        self._file.write(lambda: HostProgress(share=share))


class ProgressReporter:
    """Reports the progress of a training."""

    def __init__(
        self, run: Directory, number: int, max_epochs: int, max_rungs: int, *, attempt: int = 0
    ) -> None:
        """`attempt` counts the winner's trainings from 1; it is 0 for a trial."""
        self._file = _ProgressFile(run, trial_file(number))
        self._known = {"number": number, "max_epochs": max_epochs, "max_rungs": max_rungs}
        self._known["attempt"] = attempt
        self._progress: dict[str, Any] = {"epoch": 0}

    def after_epochs(
        self,
        epoch: int,
        *,
        accuracy: float | None = None,
        objective: float | None = None,
        train_accuracy: float | None = None,
        rungs: int = 0,
    ) -> None:
        """Reports completed epochs; for the arguments see `TrialProgress`."""
        self._progress = {
            "epoch": epoch,
            "accuracy": accuracy,
            "objective": objective,
            "train_accuracy": train_accuracy,
            "rungs": rungs,
        }
        self._write()

    def on_step(self, epochs: float) -> None:
        """Reports a step, as completed epochs with the fraction of the current one."""
        self._progress["epoch"] = epochs
        self._write()

    def _write(self) -> None:
        self._file.write(lambda: TrialProgress(**self._known, **self._progress))


def report_testing(run: Directory, number: int, images: int) -> None:
    """Reports that the winner, trial `number`, is trained and being tested on `images` images."""
    file = _ProgressFile(run, trial_file(number))
    file.write(
        lambda: TrialProgress(number=number, epoch=0, max_epochs=0, testing=images), now=True
    )


def remove_progress(run: Directory, number: int) -> None:
    """Removes the progress file of a trial, if there is one."""
    with contextlib.suppress(Exception):
        run.delete(f"{RUNNING}/{trial_file(number)}")


def remove_all_progress(run: Directory) -> None:
    """Removes RUN/running; no trial may be running."""
    with contextlib.suppress(Exception):
        run.sub(RUNNING).remove()


def read_progress(run: Directory, numbers: Collection[int]) -> dict[int, TrialProgress]:
    """The progress of those of the trials that have reported any, by number."""
    wanted = {trial_file(number): number for number in numbers}
    files = _read(run, TrialProgress, wanted.__contains__)
    found = {wanted[name]: progress for name, progress in files}
    return {number: progress for number, progress in found.items() if progress.number == number}


def read_host_progress(run: Directory) -> list[float]:
    """The share of the images on each host that has reported it, from 0 to 1."""
    files = _read(run, HostProgress, lambda name: name.startswith(_HOST))
    return [progress.share for _, progress in files]


def _read(
    run: Directory, kind: type[_Progress], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, _Progress]]:
    """Yields the valid files with wanted names."""
    filesystem, path = run.path(RUNNING)
    for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        # Reading a pipe could wait forever.
        if info.type != fs.FileType.File or info.size > _MAX_BYTES or not wanted(info.base_name):
            continue
        try:
            with filesystem.open_input_stream(info.path) as stream:
                progress = kind.model_validate_json(stream.read(_MAX_BYTES))
        except (OSError, ValidationError):
            continue
        yield info.base_name, progress
