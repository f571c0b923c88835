"""The result of a trial: its schema, its file, and the order of results."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict, model_validator

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import Error
from cnn.settings.objective import Objective, field_of, is_function

Status = Literal[
    "ok",
    "pruned",
    "diverged",
    "invalid",
    "timeout",
    "out_of_memory",
    "crashed",
    "lost",
    "cancelled",
]
STATUSES: tuple[Status, ...] = get_args(Status)
_NOT_COUNTED: frozenset[Status] = frozenset({"invalid", "cancelled"})

TRIALS = "trials"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
# The value by which an objective ranks; smaller is better.
Key = tuple[float, float]
# Exceeds `scalar_objective` of every key that is finite: 1 + log of the largest float is 710.8.
MOST_SCALAR = 711.0
_TRIAL_FILE = re.compile(r"^\d{5,}\.json$")


class EpochResult(BaseModel):
    """One epoch of one trial. Losses are mean cross-entropies, accuracies fractions of images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    loss: float | None
    accuracy: float | None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_balanced_accuracy: float | None = None
    # The value of an objective that is none of these.
    val_objective: float | None = None
    seconds: float


class HeadResult(BaseModel):
    """The training of the heads of a trial before its backbone was fine-tuned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    best_epoch: int
    epochs: int
    seconds: float
    # On the validation images, at the best epoch.
    accuracy: float | None = None
    loss: float | None = None
    balanced_accuracy: float | None = None
    objective: float | None = None


class TrialResult(BaseModel):
    """One finished trial, as stored in `trials/00017.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    phase: str
    params: dict[str, Any]
    status: Status
    # On the validation folds, at the best epoch by the search's objective.
    accuracy: float | None = None
    loss: float | None = None
    balanced_accuracy: float | None = None
    # The value of an objective that is none of these; None if it is not finite.
    objective: float | None = None
    best_epoch: int | None = None
    # The rung, from 0, at which a pruned trial was stopped.
    rung: int | None = None
    # The number of epochs without patience and rungs.
    max_epochs: int | None = None
    epochs: tuple[EpochResult, ...] = ()
    # Of a trial with fine-tuning; the other results are those of the fine-tuned networks.
    head: HeadResult | None = None
    started: AwareDatetime
    ended: AwareDatetime
    # launch (until its process began), data, compile (including the first step), train.
    seconds: dict[str, float] = {}
    seed: int | None = None
    # The trial that this one repeats with a different seed.
    repeats: int | None = None
    # The networks of a cross-validation, each trained on `train_images`; otherwise 1.
    folds: int = 1
    train_images: int | None = None
    # The total over all folds.
    validation_images: int | None = None
    # All parameters of the network, trainable or not.
    parameters: int | None = None
    # Floating-point operations of the network for one image; None if they are unknown.
    operations: int | None = None
    # Of the network as it would be saved, for one image; None if it was not measured.
    latency_ms: float | None = None
    # None of a network from scratch.
    backbone_sha256: str | None = None
    host: str | None = None
    device: str | None = None
    precision: str | None = None
    # Epochs from an earlier attempt, from whose checkpoint this one continued.
    continued: int = 0
    error: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        scored = self.accuracy is not None and self.loss is not None
        if self.status == "ok" and not scored:
            raise ValueError("a trial with status ok must have accuracy and loss")
        if self.status == "pruned" and (self.rung is None or not scored):
            raise ValueError("a trial with status pruned must have a rung, accuracy and loss")
        if self.status in {"invalid", "crashed"} and not self.error:
            raise ValueError(f"a trial with status {self.status} must have an error")
        if self.ended < self.started:
            raise ValueError(f"a trial must end after {self.started}, but got {self.ended}")
        return self

    def image_epochs(self) -> int:
        """The number of image-epochs: training images times epochs, over all folds."""
        return len(self.epochs) * (self.train_images or 0) * self.folds

    def cause(self) -> str:
        """The error in one line: the last line of a traceback or a log."""
        lines = (self.error or "").strip().splitlines()
        return lines[-1] if lines else "for no stated reason"


def objective_key(
    objective: Objective,
    *,
    loss: float | None,
    accuracy: float | None,
    balanced_accuracy: float | None,
    value: float | None = None,
) -> Key:
    """The key by which an objective ranks trials and epochs; smaller is better.

    Accuracies over few images often tie; the lower loss breaks ties. Missing values and values
    that are not finite rank last. `value` is that of an objective that is none of the others.
    """
    lowest_loss = loss if loss is not None and math.isfinite(loss) else math.inf
    if objective == "val_loss":
        return lowest_loss, 0.0
    known = {"val_accuracy": accuracy, "val_balanced_accuracy": balanced_accuracy}
    score = known.get(objective, value)
    if score is None or not math.isfinite(score):
        return math.inf, lowest_loss
    # A function of one's own may return any number; the distance to 1 would round it.
    return (-score if is_function(objective) else 1.0 - score), lowest_loss


def scalar_objective(key: Key) -> float:
    """One number with the order of `objective_key`, for a proposer that needs a scalar loss.

    Between -1 and 1 it is the first part of the key, beyond it grows with its logarithm: whatever a
    function of one's own returns, it stays below `MOST_SCALAR`. A tie-breaking loss contributes
    less than 1e-9, a thousandth of the accuracy step of one image in a million.
    """
    first, second = key
    if not math.isfinite(first):
        return math.inf
    size = abs(first)
    bounded = first if size <= 1 else math.copysign(1 + math.log(size), first)
    return bounded + 1e-9 * (1 - math.exp(-second))


def standard_error(accuracy: float, images: int) -> float:
    """Of an accuracy on so many images.

    Two successes and two failures are added (Agresti and Coull, The American Statistician 1998),
    because at 100 % the plain standard error would be 0.

    >>> round(standard_error(1.0, 500), 4)
    0.0028
    """
    count = images + 4
    share = (accuracy * images + 2) / count
    return math.sqrt(share * (1 - share) / count)


def trial_key(objective: Objective, trial: TrialResult) -> Key:
    return objective_key(
        objective,
        loss=trial.loss,
        accuracy=trial.accuracy,
        balanced_accuracy=trial.balanced_accuracy,
        value=trial.objective,
    )


def objective_value(objective: Objective, trial: TrialResult) -> float | None:
    """The objective's value for a trial: a loss, or a score of which more is better."""
    value: float | None = getattr(trial, field_of(objective))
    return value


def best_trial(trials: Iterable[TrialResult], objective: Objective) -> TrialResult | None:
    """The best finished trial, or the best pruned one if none finished.

    The earlier of two equal trials is better. Repetitions of trials are ignored.
    """
    trials = [trial for trial in trials if trial.repeats is None]
    finished = [trial for trial in trials if trial.status == "ok"]
    finished = finished or [trial for trial in trials if trial.status == "pruned"]
    return min(finished, key=lambda t: (trial_key(objective, t), t.number), default=None)


def counts(trial: TrialResult) -> bool:
    """Whether a trial is one of `search.max_trials`.

    One that was refused or could not be built is not, nor one that the end of the search cancelled.
    """
    return trial.status not in _NOT_COUNTED


def counted(by_status: Mapping[Status, int]) -> int:
    """How many of the trials of each status are some of `search.max_trials`.

    >>> counted({"ok": 6, "pruned": 2, "invalid": 3})
    8
    """
    return sum(number for status, number in by_status.items() if status not in _NOT_COUNTED)


def count_by_status(trials: Iterable[TrialResult]) -> dict[Status, int]:
    """The number of trials with each status that occurs, in the order of STATUSES."""
    counts = Counter(trial.status for trial in trials)
    return {status: counts[status] for status in STATUSES if counts[status]}


def trial_name(number: int) -> str:
    """The name of a trial's files, without a suffix."""
    return f"{number:05d}"


def trial_file(number: int) -> str:
    """The name of a trial's file in `trials/`."""
    return f"{trial_name(number)}.json"


def write_trial(run: Directory, trial: TrialResult) -> None:
    """Writes one trial's file atomically."""
    run.write(f"{TRIALS}/{trial_file(trial.number)}", trial.model_dump_json(indent=1).encode())


def read_trial(run: Directory, name: str) -> TrialResult:
    """Reads a file in `trials/`. Raises FileNotFoundError and Malformed."""
    return read_model(TrialResult, run, f"{TRIALS}/{name}")


def write_log(run: Directory, name: str, text: str) -> None:
    """Stores the output of a process."""
    run.write(f"{LOGS}/{name}.log", text.encode(errors="replace"))


def read_trials(run: Directory) -> Sequence[TrialResult]:
    """Reads all trials of a run, sorted by number. Raises Error if a file is invalid."""
    trials = []
    for name in run.names(TRIALS):
        if not _TRIAL_FILE.match(name):
            continue
        try:
            trials.append(read_trial(run, name))
        except Malformed as error:
            raise Error(f"{run.uri}/{TRIALS}/{name} is not a valid trial: {error}") from None
    return sorted(trials, key=lambda trial: trial.number)
