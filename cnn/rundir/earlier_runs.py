"""`RUN/earlier.json`: what a run knows from earlier runs (`--warm-start`), also when resumed."""

from typing import Any

from cnn.core.directory import Directory
from cnn.core.documents import read_model
from cnn.settings.validation import Frozen

EARLIER = "earlier.json"


class EarlierTrial(Frozen):
    """A configuration that an earlier run tried, and its place among the trials of that run.

    `place` is from 0, the best, to 1. Scores themselves could not be compared: the earlier run may
    have had other images.
    """

    params: dict[str, Any]
    place: float


class EarlierRuns(Frozen):
    """The trials of all earlier runs that had the same search space."""

    trials: tuple[EarlierTrial, ...] = ()


NOTHING = EarlierRuns()


def write_earlier(run: Directory, earlier: EarlierRuns) -> None:
    """Writes `earlier.json`, unless nothing is known."""
    if earlier.trials:
        run.write(EARLIER, earlier.model_dump_json().encode())


def read_earlier(run: Directory) -> EarlierRuns:
    """Reads `earlier.json`; without the file nothing is known. Raises Malformed."""
    try:
        return read_model(EarlierRuns, run, EARLIER)
    except FileNotFoundError:
        return NOTHING
