"""How far running trials are: each tells the driver by a small file, RUN/running/00017.json.

A host that gets the images does so by RUN/running/host-NAME.json.

The run directory is all that driver and executors surely share. What is read there is only shown:
whatever is torn, foreign or too large is passed over.
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
# Steps may be tiny, and an object store is not to be asked for each of them: at most once a second,
# and where writing takes long at most a hundredth of the time goes into it.
_SECONDS = 1.0
_MOST_OF_THE_TIME = 0.01
_MOST_BYTES = 4096
_HOST = "host-"
_Told = TypeVar("_Told", bound=BaseModel)
_Count = Annotated[int, Field(ge=0, le=10**9)]
_Share = Annotated[float, Field(ge=0, le=1)]


class TrialProgress(BaseModel):
    """What a trial has reached."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    number: _Count
    # Epochs that are done, with the part of the next one, of how many.
    epoch: Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
    max_epochs: _Count
    # On the validation images, of the best epoch so far.
    accuracy: _Share | None = None
    # On the training images, of the last epoch.
    train_accuracy: _Share | None = None
    # Rungs that are reached, of how many.
    rungs: _Count = 0
    max_rungs: _Count = 0
    # Of the winner's training: the how manieth it is, and the images it is being tested on.
    attempt: _Count = 0
    testing: _Count = 0

    def epochs(self) -> str:
        """As 2.4/15."""
        done = f"{self.epoch:.1f}".removesuffix(".0")
        return f"{done}/{self.max_epochs}"


class HostProgress(BaseModel):
    """The share of the images that a host has, or has checked."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: _Share


class _Word:
    """A file of RUN/running. Where it cannot be written the work goes on all the same."""

    def __init__(self, run: Directory, name: str) -> None:
        self._run = run
        self._name = name
        self._next = 0.0

    def tell(self, reached: Callable[[], BaseModel], *, now: bool = False) -> None:
        """Writes it, once a second at most unless it must be now."""
        began = time.monotonic()
        if began < self._next and not now:
            return
        with contextlib.suppress(Exception):
            self._run.write(f"{RUNNING}/{self._name}", reached().model_dump_json().encode())
        ended = time.monotonic()
        self._next = ended + max(_SECONDS, (ended - began) / _MOST_OF_THE_TIME)


class HostReporter:
    """On a host that gets the images: tells how far it is."""

    def __init__(self, run: Directory, host: str) -> None:
        self._word = _Word(run, f"{_HOST}{host}.json")

    def __call__(self, share: float) -> None:
        self._word.tell(lambda: HostProgress(share=share))


class ProgressReporter:
    """In a training: tells how far it is."""

    def __init__(
        self, run: Directory, number: int, max_epochs: int, max_rungs: int, *, attempt: int = 0
    ) -> None:
        """`attempt` counts the winner's trainings from 1; a trial has none."""
        self._word = _Word(run, trial_file(number))
        self._known = {"number": number, "max_epochs": max_epochs, "max_rungs": max_rungs}
        self._known["attempt"] = attempt
        self._reached: dict[str, Any] = {"epoch": 0}

    def after_epochs(
        self,
        epoch: int,
        *,
        accuracy: float | None = None,
        train_accuracy: float | None = None,
        rungs: int = 0,
    ) -> None:
        """After whole epochs: how many they are, and what `TrialProgress` says of them."""
        self._reached = {
            "epoch": epoch,
            "accuracy": accuracy,
            "train_accuracy": train_accuracy,
            "rungs": rungs,
        }
        self._tell()

    def on_step(self, epochs: float) -> None:
        """After a step: how many epochs are done, with the part of the present one."""
        self._reached["epoch"] = epochs
        self._tell()

    def _tell(self) -> None:
        self._word.tell(lambda: TrialProgress(**self._known, **self._reached))


def report_testing(run: Directory, number: int, images: int) -> None:
    """Tells that the winner, trial `number`, is trained and being tested on so many images."""
    word = _Word(run, trial_file(number))
    word.tell(lambda: TrialProgress(number=number, epoch=0, max_epochs=0, testing=images), now=True)


def remove_progress(run: Directory, number: int) -> None:
    """Removes what a trial has told, if it has."""
    with contextlib.suppress(Exception):
        run.delete(f"{RUNNING}/{trial_file(number)}")


def remove_all_progress(run: Directory) -> None:
    """Removes RUN/running: no trial runs."""
    with contextlib.suppress(Exception):
        run.sub(RUNNING).remove()


def read_progress(run: Directory, numbers: Collection[int]) -> dict[int, TrialProgress]:
    """What those of `numbers` have reached that have told it."""
    wanted = {trial_file(number): number for number in numbers}
    found = {wanted[name]: told for name, told in _read(run, TrialProgress, wanted.__contains__)}
    return {number: reached for number, reached in found.items() if reached.number == number}


def read_host_progress(run: Directory) -> list[float]:
    """The share of the images that each host has which has told it, from 0 to 1."""
    return [told.share for _, told in _read(run, HostProgress, lambda name: name.startswith(_HOST))]


def _read(
    run: Directory, kind: type[_Told], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, _Told]]:
    """The files whose names are wanted and that hold what they should."""
    filesystem, path = run.path(RUNNING)
    for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True)):
        # A pipe would be waited for, for ever.
        if info.type != fs.FileType.File or info.size > _MOST_BYTES or not wanted(info.base_name):
            continue
        try:
            with filesystem.open_input_stream(info.path) as stream:
                told = kind.model_validate_json(stream.read(_MOST_BYTES))
        except (OSError, ValidationError):
            continue
        yield info.base_name, told
