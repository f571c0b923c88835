"""RUN/result.json: the result of a run, in one schema for its writer and all its readers.

The file is `RunResult` as JSON: keys are field names, missing values are null, and times are
ISO 8601 in UTC. A file that has another schema version or lacks keys is refused, not read in part.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
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
from cnn.data.data_settings import Side
from cnn.data.manifest import Count, Source
from cnn.rundir.metrics import ConfidenceInterval, Metrics, Score, TestMetrics
from cnn.rundir.suspects import LabelCheck
from cnn.rundir.trials import Status
from cnn.rundir.winner_training import BackboneUsed, FinalTraining, Layer, Share
from cnn.settings.objective import Cost, Objective
from cnn.settings.validation import Frozen, PositiveInt, explain, shown

RESULT = "result.json"
# Increase this when a key is renamed or removed, or added without a default.
SCHEMA_VERSION: Literal[3] = 3


class Winner(Frozen):
    """The trial that won, with its scores on its validation images."""

    number: Count
    phase: str
    accuracy: Share
    loss: Score


class CandidateResult(Frozen):
    """One of a phase's best trials, trained again with different seeds."""

    number: Count
    # Scores by the phase's objective: in the search, and of the repetitions with their numbers.
    score: Score
    repeats: tuple[Count, ...]
    scores: tuple[Score, ...]
    mean: Score
    # The standard deviation between the seeds; None if there is only one.
    spread: Score


class ConfirmationResult(Frozen):
    """The repetitions with different seeds that confirm the choice of a phase's winner."""

    objective: Objective
    candidates: Annotated[tuple[CandidateResult, ...], Field(min_length=1)]
    # How much better the best trial scored in the search than on average in its repetitions.
    selection_bias: Score


class Simplest(Frozen):
    """The network of a phase that costs least among those as good as its best one."""

    number: Count
    params: dict[str, Any]
    accuracy: Share
    parameters: Count
    # Which of its costs was compared.
    cost: Cost = "operations"
    # Floating-point operations for an image, of this network and of the best one.
    operations: Count | None = None
    operations_of_best: Count | None = None
    # Measured milliseconds for an image, likewise.
    latency_ms: FiniteFloat | None = None
    latency_ms_of_best: FiniteFloat | None = None
    # As good is within one standard error of the best accuracy, or within a stated margin.
    standard_error: FiniteFloat | None
    margin: FiniteFloat | None = None


class FrontNetwork(Frozen):
    """A network of the Pareto front besides the winner; RUN/pareto/NUMBER has its model."""

    # Of its trial, with its accuracy on the validation images.
    number: Count
    params: dict[str, Any]
    accuracy: Share
    # Of the trained network.
    test_accuracy: Share
    test_interval: ConfidenceInterval
    parameters: Count
    operations: Count | None
    latency_ms: FiniteFloat | None


class PhaseResult(Frozen):
    """The best trial of a phase of the search, and how it was found."""

    name: str
    strategy: str
    objective: Objective
    # The best trial's number, parameters and images; None if no trial got a score.
    best: Count | None
    params: dict[str, Any]
    trials: dict[Status, Count]
    train_images: Count | None
    epochs: Count
    confirmation: ConfirmationResult | None
    simplest: Simplest | None
    # Whether its best trial is better than the one that the phase continued; None without `start`.
    improved: bool | None = None


class Baseline(Frozen):
    """The classifier that always predicts the class with the most training images."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    accuracy: Share
    class_name: str = Field(validation_alias="class", serialization_alias="class")


class DataSummary(Frozen):
    """A summary of the manifest, so that a report needs no data directory."""

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
    """The outcome of training and testing the winner: the part of the result from the executor."""

    final: FinalTraining
    # None if the validation images were also trained on.
    validation: Metrics | None
    test: TestMetrics
    versions: dict[str, str]
    # Keras's own table of the layers, as text.
    architecture: str
    layers: tuple[Layer, ...]
    parameters: Count
    seconds: dict[str, FiniteFloat]
    # None of a network from scratch.
    backbone: BackboneUsed | None = None


class EarlierTest(Metrics):
    """The test of an earlier final."""

    count: PositiveInt
    interval: ConfidenceInterval


class EarlierFinal(Frozen):
    """What a run came to before it was extended; RUN/earlier/1 has the first one's files."""

    params: dict[str, Any]
    winner: Winner
    validation: Metrics
    test: EarlierTest
    trials: dict[Status, Count]
    command: tuple[str, ...]
    ended: AwareDatetime
    # Whether its winner won again, so that its model and its test were kept.
    kept: bool


class RunResult(Frozen):
    """The result of a run: `Run.result` in Python, RUN/result.json on disk.

    Each table of the file is an attribute: `result.test.accuracy`, `result.test.interval.low`,
    `result.params["filters"]`. `model_dump()` gives it as dictionaries.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    # The winner's parameters.
    params: dict[str, Any]
    winner: Winner
    # Phases with a best trial, in the order they ran.
    phases: Annotated[tuple[PhaseResult, ...], Field(min_length=1)]
    # Of the trained winner, or of its trial if the final training used the validation images.
    validation: Metrics
    test: TestMetrics
    baseline: Baseline
    final: FinalTraining
    # The number of trials with each status.
    trials: dict[Status, Count]
    versions: dict[str, str]
    architecture: str
    layers: tuple[Layer, ...]
    # All parameters of the network, trainable or not.
    parameters: Count
    # None of a network from scratch.
    backbone: BackboneUsed | None = None
    data: DataSummary
    # preprocess, search, final, test.
    seconds: dict[str, FiniteFloat]
    # How to repeat the run: the command's words, and the settings files in order.
    command: tuple[str, ...]
    configs: tuple[str, ...]
    # Deviations from the settings.
    notes: tuple[str, ...]
    # Labels that are probably wrong; None if they were not checked.
    labels: LabelCheck | None = None
    # Networks that cost less or more than the winner, as `final.pareto` asks for.
    pareto: tuple[FrontNetwork, ...] = ()
    # What would probably give a better network.
    hint: str | None = None
    # What the run came to before each of its extensions, the first one first.
    earlier: tuple[EarlierFinal, ...] = ()
    started: AwareDatetime
    ended: AwareDatetime

    @property
    def objective(self) -> Objective:
        """What the winner's trial was ranked by."""
        named = {phase.name: phase.objective for phase in self.phases}
        return named.get(self.winner.phase, self.phases[-1].objective)

    @model_validator(mode="after")
    def _of_its_classes(self) -> Self:
        classes = len(self.data.classes)
        if len(self.test.confusion) != classes:
            raise ValueError(
                f"test.confusion must have a row and a column for each of {classes} classes"
            )
        return self


def write_result(run: Directory, result: RunResult) -> None:
    """Writes RUN/result.json atomically."""
    run.write(RESULT, f"{result.model_dump_json(indent=1)}\n".encode())


def read_result(run: Directory) -> RunResult:
    """Reads a finished run's result. Raises InputError if there is none of this schema version."""
    where = f"{run.uri}/{RESULT}"
    try:
        tree = read_json(run, RESULT)
    except (FileNotFoundError, NotADirectoryError):
        what = f"has no {RESULT}" if run.is_dir() else "is not a folder"
        raise InputError(f"a run must be a folder with a {RESULT}, but {run.uri} {what}") from None
    except Malformed as error:
        raise InputError(f"{where} must be JSON, but is not: {error}") from None
    if not isinstance(tree, dict):
        raise InputError(f"{where} must be a table, but got {shown(tree)}")
    version = tree.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise InputError(
            f"{where} must have schema version {SCHEMA_VERSION}, but has {shown(version)}; "
            "use the version of this program that wrote it"
        )
    try:
        return RunResult.model_validate(tree)
    except ValidationError as error:
        raise InputError(
            f"{where} must match schema version {SCHEMA_VERSION}, but does not: "
            f"{explain(error, RunResult)}"
        ) from None
