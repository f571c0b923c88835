"""RUN/result.json: what a run came to, in one schema for who writes it and all who read it.

The file is `RunResult` as JSON: the keys are the fields' names, what is missing is null, times are
ISO 8601 in UTC. A file of another schema version, or that lacks keys, is refused, not read in part.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_json
from cnn.core.errors import InputError
from cnn.data.manifest import Count, Side, Source
from cnn.rundir.trials import EpochResult, Status
from cnn.rundir.wilson import wilson_interval
from cnn.settings.schema import Objective
from cnn.settings.validation import Frozen, PositiveInt, explain, shown

RESULT = "result.json"
# To be raised by whoever adds, renames or removes a key.
SCHEMA_VERSION: Literal[2] = 2

Share = Annotated[float, Field(ge=0, le=1)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# What is not finite, as the loss of a network that diverged, is missing.
Score = Annotated[float | None, AfterValidator(_finite)]


class ConfidenceInterval(Frozen):
    """The 95 % score interval of a proportion (Wilson, JASA 1927)."""

    low: Share
    high: Share

    @classmethod
    def of(cls, share: float, count: int) -> Self:
        """That of an accuracy on so many images."""
        low, high = wilson_interval(round(share * count), count)
        return cls(low=low, high=high)


class Metrics(Frozen):
    """How a network does on images: means over them; the loss is the cross-entropy."""

    accuracy: Share
    loss: Score
    # The mean of the classes' recalls.
    balanced_accuracy: Score
    # Images; None where it is a trial's own validation, whose file says how many they were.
    count: Count | None = None


class TestMetrics(Metrics):
    """The winner's one test, on images that no training and no choice has seen."""

    count: PositiveInt
    # Of several classes the mean of each against the rest; None where a class has no image.
    roc_auc: Score
    # The share of images whose class is among the five most likely; None below 20 classes.
    top5_accuracy: Share | None
    # confusion[true][predicted], in the order of the classes.
    confusion: tuple[tuple[Count, ...], ...]
    # Of the accuracy, and of the top-5 accuracy where there is one.
    interval: ConfidenceInterval
    top5_interval: ConfidenceInterval | None

    @model_validator(mode="after")
    def _square(self) -> Self:
        if {*map(len, self.confusion)} != {len(self.confusion)}:
            raise ValueError("confusion must have as many columns as rows")
        return self

    @property
    def correct(self) -> int:
        """Images that were named as they should be."""
        return round(self.accuracy * self.count)


class Winner(Frozen):
    """The trial that won, with its scores on its validation images."""

    number: Count
    phase: str
    accuracy: Share
    loss: Score


class CandidateResult(Frozen):
    """One of a phase's best trials, trained again with other seeds."""

    number: Count
    # By the phase's objective: the search's own, and the repetitions' with their numbers.
    score: Score
    repeats: tuple[Count, ...]
    scores: tuple[Score, ...]
    mean: Score
    # The standard deviation between the seeds; None where there is one.
    spread: Score


class Confirmation(Frozen):
    """What repetitions with other seeds say of the choice of a phase's winner."""

    objective: Objective
    candidates: Annotated[tuple[CandidateResult, ...], Field(min_length=1)]
    # By how much the search's own best scored better than the mean of its repetitions.
    selection_bias: Score


class Simplest(Frozen):
    """The smallest network within one standard error of the best."""

    number: Count
    params: dict[str, Any]
    accuracy: Share
    parameters: Count
    standard_error: FiniteFloat


class PhaseResult(Frozen):
    """What a phase of the search found best, and how."""

    name: str
    strategy: str
    objective: Objective
    # The best trial's number, parameters and images; None where no trial came to a score.
    best: Count | None
    params: dict[str, Any]
    trials: dict[Status, Count]
    train_images: Count | None
    epochs: Count
    confirmation: Confirmation | None
    simplest: Simplest | None


class Baseline(Frozen):
    """Always naming the class with most training images."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    accuracy: Share
    class_name: str = Field(validation_alias="class", serialization_alias="class")


class Attempt(Frozen):
    """One training of the winner; accepted unless it fell far below its trial."""

    seed: Count
    accuracy: Share
    accepted: bool


class FinalTraining(Frozen):
    """How the winner was trained once more: on what, for how long, and how often it took."""

    data: Literal["train", "all"]
    best_epoch: Count
    epochs: tuple[EpochResult, ...]
    train_images: Count
    cooldown: Share
    attempts: Annotated[tuple[Attempt, ...], Field(min_length=1)]
    workers: PositiveInt
    continued: Count
    batch_size: PositiveInt
    learning_rate: FiniteFloat


class Layer(Frozen):
    """A layer of the network, with the shape of what it gives, without the batch."""

    name: str
    kind: str
    shape: Annotated[tuple[Count | None, ...], Field(max_length=16)]
    parameters: Count


class DataSummary(Frozen):
    """What the data set's manifest says of it, so that a report needs no data directory."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    # Images by split and class.
    counts: dict[str, dict[str, Count]]
    rejects: Count
    reasons: dict[str, Count]
    size: Side
    channels: Literal[1, 3]
    fingerprint: str
    source: Source


class WinnerOutcome(Frozen):
    """What training and testing the winner came to: an executor's part of the result."""

    final: FinalTraining
    # None where the validation images were trained on too.
    validation: Metrics | None
    test: TestMetrics
    versions: dict[str, str]
    # Keras's own table of the layers, as text.
    architecture: str
    layers: tuple[Layer, ...]
    parameters: Count
    seconds: dict[str, FiniteFloat]


class RunResult(Frozen):
    """What a run came to: `Run.result` in Python, RUN/result.json on disk.

    Each table of the file is an attribute: `result.test.accuracy`, `result.test.interval.low`,
    `result.params["filters"]`. `model_dump()` gives it as dictionaries.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    # The winner's parameters.
    params: dict[str, Any]
    winner: Winner
    # In the order they ran, those with a best trial.
    phases: Annotated[tuple[PhaseResult, ...], Field(min_length=1)]
    # The trained winner's, or its trial's where the final training left nothing to validate on.
    validation: Metrics
    test: TestMetrics
    baseline: Baseline
    final: FinalTraining
    # How many ended in each status.
    trials: dict[Status, Count]
    versions: dict[str, str]
    architecture: str
    layers: tuple[Layer, ...]
    # The network's, trainable or not.
    parameters: Count
    data: DataSummary
    # preprocess, search, final, test.
    seconds: dict[str, FiniteFloat]
    # How to repeat it: the job's words, and the files of settings in their order.
    command: tuple[str, ...]
    configs: tuple[str, ...]
    # What was not quite as the settings ask for.
    notes: tuple[str, ...]
    started: AwareDatetime
    ended: AwareDatetime

    @model_validator(mode="after")
    def _of_its_classes(self) -> Self:
        classes = len(self.data.classes)
        if len(self.test.confusion) != classes:
            raise ValueError(
                f"test.confusion must have a row and a column for each of {classes} classes"
            )
        return self


def write_result(run: Directory, result: RunResult) -> None:
    """Writes RUN/result.json, whole or not at all."""
    run.write(RESULT, f"{result.model_dump_json(indent=1)}\n".encode())


def read_result(run: Directory) -> RunResult:
    """A finished run's result. Raises InputError where there is none of this schema version."""
    where = f"{run.uri}/{RESULT}"
    try:
        tree = read_json(run, RESULT)
    except (FileNotFoundError, NotADirectoryError):
        what = f"has no {RESULT}" if run.is_dir() else "is no folder"
        raise InputError(f"a run must be a folder with a {RESULT}, but {run.uri} {what}") from None
    except Malformed as error:
        raise InputError(f"{where} must be JSON, but is not: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where} must be a table, but got {shown(tree)}")
    version = tree.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise InputError(
            f"{where} must have schema version {SCHEMA_VERSION}, but has {shown(version)}; "
            "a run is read by the version of this program that wrote it"
        )
    try:
        return RunResult.model_validate(tree)
    except ValidationError as error:
        raise InputError(
            f"{where} must fit schema version {SCHEMA_VERSION}, but does not: "
            f"{explain(error, RunResult)}"
        ) from None
