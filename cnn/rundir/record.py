"""A run directory as the report reads it: result.json, of any age, and the trials."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cnn.core.directory import Directory
from cnn.core.documents import MOST_TOML_BYTES, Malformed, read_document, read_json
from cnn.core.errors import InputError
from cnn.rundir.settings_file import RunSettings, parse_settings
from cnn.rundir.trials import EpochResult, TrialResult, read_trials
from cnn.rundir.wilson import wilson_interval
from cnn.settings.schema import SETTINGS, Objective
from cnn.settings.validation import explain

_RESULT = "result.json"


class _Part(BaseModel):
    """A table of result.json, of which all may be missing; null is missing."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: item for key, item in value.items() if item is not None}
        return value


class _Scores(_Part):
    accuracy: float | None = None
    loss: float | None = None
    balanced_accuracy: float | None = None
    count: Annotated[int, Field(ge=0, lt=2**63)] | None = None


class _Interval(_Part):
    low: float | None = None
    high: float | None = None


class _Test(_Scores):
    interval: _Interval = _Interval()
    roc_auc: float | None = None
    top5_accuracy: float | None = None
    confusion: list[list[Annotated[int, Field(ge=0)]]] = []

    def images(self) -> int | None:
        return self.count or sum(map(sum, self.confusion)) or None

    def mistakes(self) -> int | None:
        if not self.confusion:
            return None
        right = sum(row[label] for label, row in enumerate(self.confusion) if label < len(row))
        return sum(map(sum, self.confusion)) - right


class _Winner(_Scores):
    number: int | None = None
    phase: str | None = None


class _Candidate(_Part):
    number: int | None = None
    score: float | None = None
    scores: list[float | None] = []
    mean: float | None = None
    spread: float | None = None


class _Confirmation(_Part):
    objective: Objective = "val_accuracy"
    candidates: list[_Candidate] = []
    flattery: float | None = None


class _Simplest(_Part):
    number: int | None = None
    params: dict[str, Any] = {}
    accuracy: float | None = None
    parameters: int | None = None
    standard_error: float | None = None


class PhaseRecord(_Part):
    name: str
    strategy: str | None = None
    objective: Objective = "val_accuracy"
    best: int | None = None
    train_images: int | None = None
    epochs: int | None = None
    confirmation: _Confirmation | None = None
    simplest: _Simplest | None = None


class _Baseline(_Part):
    accuracy: float | None = None
    name: str | None = Field(default=None, validation_alias="class")


class _Attempt(_Part):
    seed: int | None = None
    accuracy: float | None = None
    accepted: bool | None = None


class _Final(_Part):
    data: str | None = None
    best_epoch: int | None = None
    epochs: list[EpochResult] = []
    train_images: int | None = None
    attempts: list[_Attempt] = []
    cooldown: float | None = None


class Layer(_Part):
    name: str | None = None
    kind: str | None = None
    shape: list[Any] = []
    parameters: int | None = None


class _Source(_Part):
    name: str | None = None
    licence: str | None = None
    attribution: str | None = None
    url: str | None = None


class _Data(_Part):
    classes: list[str] = []
    counts: dict[str, dict[str, int | None]] = {}
    rejects: int | None = None
    reasons: dict[str, int | None] = {}
    size: int | None = None
    channels: int | None = None
    fingerprint: str | None = None
    source: _Source = _Source()


class RunRecord(_Part):
    """result.json as far as the report shows it."""

    params: dict[str, Any] = {}
    winner: _Winner = _Winner()
    phases: list[PhaseRecord] = []
    validation: _Scores = _Scores()
    test: _Test = _Test()
    baseline: _Baseline = _Baseline()
    final: _Final = _Final()
    seconds: dict[str, float | None] = {}
    versions: dict[str, Any] = {}
    architecture: str | None = None
    layers: list[Layer] = []
    parameters: int | None = None
    data: _Data = _Data()
    command: list[str] = []
    configs: list[str] = []
    notes: list[str] = []
    started: str | None = None
    ended: str | None = None

    @model_validator(mode="after")
    def _square(self) -> Self:
        classes, matrix = len(self.data.classes), self.test.confusion
        if matrix and classes and {len(matrix), *map(len, matrix)} != {classes}:
            raise ValueError(
                f"test.confusion must have a row and a column for each of {classes} classes"
            )
        return self

    def with_params(self, known: Callable[[dict[str, Any]], dict[str, Any]]) -> Self:
        """The same with what `known` leaves of all parameters in it."""

        def simplest(phase: PhaseRecord) -> PhaseRecord:
            if phase.simplest is None:
                return phase
            kept = {"params": known(phase.simplest.params)}
            return phase.model_copy(update={"simplest": phase.simplest.model_copy(update=kept)})

        phases = [simplest(phase) for phase in self.phases]
        return self.model_copy(update={"params": known(self.params), "phases": phases})

    def interval(self) -> tuple[float | None, float | None]:
        """The test accuracy's, worked out where it is not given."""
        low, high = self.test.interval.low, self.test.interval.high
        images = self.test.images()
        known = share_interval(self.test.accuracy, images)
        if known is not None and (low is None or high is None):
            return known.low, known.high
        return low, high

    def right(self) -> int | None:
        """Test images that were named as they should be."""
        images = self.test.images()
        if self.test.accuracy is None or images is None:
            return None
        return round(self.test.accuracy * images)


@dataclass(frozen=True)
class Interval:
    """A share of so many images, as exactly as they tell it: Wilson's 95 %."""

    low: float
    high: float
    images: int


def share_interval(share: float | None, images: int | None) -> Interval | None:
    """None where that is not known, or is no share."""
    if share is None or not images or not 0 <= share <= 1:
        return None
    return Interval(*wilson_interval(round(share * images), images), images)


@dataclass(frozen=True)
class Run:
    """What is known of a run."""

    directory: Directory
    record: RunRecord
    trials: tuple[TrialResult, ...]
    settings: str

    def phases(self) -> list[PhaseRecord]:
        """In the order they ran, also those in which no trial was ok: result.json has them not."""
        known = {phase.name: phase for phase in self.record.phases}
        ran = {trial.phase: PhaseRecord(name=trial.phase) for trial in self.trials}
        return list((ran | known).values())

    def winner(self) -> TrialResult | None:
        number = self.record.winner.number
        return next((trial for trial in self.trials if trial.number == number), None)

    @cached_property
    def known_settings(self) -> RunSettings:
        """What can be read of settings.toml."""
        return parse_settings(self.settings)


def searched(trials: tuple[TrialResult, ...] | list[TrialResult]) -> list[TrialResult]:
    """The trials without repetitions of others with other seeds."""
    return [trial for trial in trials if trial.repeats is None]


def read_run(run: Directory) -> Run:
    """Raises InputError where there is no finished run."""
    record, trials, text = _read_record(run), read_trials(run), settings_shown(run)
    known = parse_settings(text).known
    return Run(
        run,
        record.with_params(known),
        tuple(trial.model_copy(update={"params": known(trial.params)}) for trial in trials),
        text,
    )


def settings_shown(run: Directory) -> str:
    """What settings.toml holds, for people; empty where there is none."""
    try:
        return read_document(run, SETTINGS, MOST_TOML_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
    except Malformed as error:
        return f"# {SETTINGS} cannot be shown: {error}"


def _read_record(run: Directory) -> RunRecord:
    where = f"{run.uri}/{_RESULT}"
    try:
        return RunRecord.model_validate(read_json(run, _RESULT))
    except (FileNotFoundError, NotADirectoryError):
        what = f"has no {_RESULT}" if run.is_dir() else "is no folder"
        raise InputError(f"a run must be a folder with a {_RESULT}, but {run.uri} {what}") from None
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error, RunRecord)}") from None
    except Malformed as error:
        raise InputError(f"{where} must be JSON, but is not: {error}") from None
