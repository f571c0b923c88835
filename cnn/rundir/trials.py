"""What a trial came to: `TrialResult`, its invariants, its file, and which one is the best."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import Error
from cnn.settings.schema import Objective

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

TRIALS = "trials"
LOGS = "logs"
CHECKPOINTS = "checkpoints"
# What an objective ranks by; smaller is better.
Key = tuple[float, float]
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
    seconds: float


class TrialResult(BaseModel):
    """One finished trial, as it stands in `trials/00017.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    phase: str
    params: dict[str, Any]
    status: Status
    # On the validation folds, at the best epoch by the search's objective.
    accuracy: float | None = None
    loss: float | None = None
    balanced_accuracy: float | None = None
    best_epoch: int | None = None
    # Of a pruned trial: the rung, from 0, at which it was stopped.
    rung: int | None = None
    # As many as it would have had, were it not for patience and rungs.
    max_epochs: int | None = None
    epochs: tuple[EpochResult, ...] = ()
    started: datetime
    ended: datetime
    # launch (until its process began), data, compile (the first step included), train.
    seconds: dict[str, float] = {}
    seed: int | None = None
    # The trial of which this is a repetition with another seed.
    repeats: int | None = None
    # Networks of a cross-validation, each trained on `train_images`; 1 without.
    folds: int = 1
    train_images: int | None = None
    # Those of all folds together.
    validation_images: int | None = None
    # The network's, trainable or not.
    parameters: int | None = None
    host: str | None = None
    device: str | None = None
    precision: str | None = None
    # Epochs that an earlier attempt had done, from whose checkpoint this one went on.
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
        """Images trained on, each as often as it was."""
        return len(self.epochs) * (self.train_images or 0) * self.folds

    def cause(self) -> str:
        """The error in one line: the last of a traceback or a log."""
        lines = (self.error or "").strip().splitlines()
        return lines[-1] if lines else "for no stated reason"


def objective_key(
    objective: Objective,
    *,
    loss: float | None,
    accuracy: float | None,
    balanced_accuracy: float | None,
) -> Key:
    """What the one objective ranks by, smaller is better: ranks trials and epochs alike.

    Accuracy is a count over few images and ties often; ties are broken by the lower loss.
    What is missing or not finite ranks last.
    """
    lowest_loss = loss if loss is not None and math.isfinite(loss) else math.inf
    if objective == "val_loss":
        return lowest_loss, 0.0
    score = accuracy if objective == "val_accuracy" else balanced_accuracy
    if score is None or not math.isfinite(score):
        return math.inf, lowest_loss
    return 1.0 - score, lowest_loss


def scalar_objective(key: Key) -> float:
    """One number in the order of `objective_key`, for a proposer that wants a scalar loss.

    A tie-breaking loss is squeezed into less than 1e-6, below the accuracy step of one image in
    a million.
    """
    first, second = key
    return first + 1e-6 * (1 - math.exp(-second)) if math.isfinite(first) else math.inf


def trial_key(objective: Objective, trial: TrialResult) -> Key:
    return objective_key(
        objective,
        loss=trial.loss,
        accuracy=trial.accuracy,
        balanced_accuracy=trial.balanced_accuracy,
    )


def best_trial(trials: Iterable[TrialResult], objective: Objective) -> TrialResult | None:
    """The best finished trial; the earlier one where two are equal.

    Where none ran to its end it is the best of those that were stopped early. Repetitions of a
    trial are none of their own.
    """
    trials = [trial for trial in trials if trial.repeats is None]
    finished = [trial for trial in trials if trial.status == "ok"]
    finished = finished or [trial for trial in trials if trial.status == "pruned"]
    return min(finished, key=lambda t: (trial_key(objective, t), t.number), default=None)


def count_by_status(trials: Iterable[TrialResult]) -> dict[Status, int]:
    """How many trials ended in each status that occurs, in the statuses' order."""
    counts = Counter(trial.status for trial in trials)
    return {status: counts[status] for status in STATUSES if counts[status]}


def trial_name(number: int) -> str:
    """What the files of a trial are called."""
    return f"{number:05d}"


def trial_file(number: int) -> str:
    """The name of a trial's file in `trials/`."""
    return f"{trial_name(number)}.json"


def write_trial(run: Directory, trial: TrialResult) -> None:
    """Writes one trial's file, whole or not at all."""
    run.write(f"{TRIALS}/{trial_file(trial.number)}", trial.model_dump_json(indent=1).encode())


def read_trial(run: Directory, name: str) -> TrialResult:
    """A file of `trials/`. Raises FileNotFoundError and Malformed."""
    return read_model(TrialResult, run, f"{TRIALS}/{name}")


def write_log(run: Directory, name: str, text: str) -> None:
    """Keeps what a process wrote to stdout and stderr."""
    run.write(f"{LOGS}/{name}.log", text.encode(errors="replace"))


def read_trials(run: Directory) -> Sequence[TrialResult]:
    """All trials of a run directory by number. Raises Error on a file that is not a trial's."""
    trials = []
    for name in run.names(TRIALS):
        if not _TRIAL_FILE.match(name):
            continue
        try:
            trials.append(read_trial(run, name))
        except Malformed as error:
            raise Error(f"{run.uri}/{TRIALS}/{name} is not a trial: {error}") from None
    return sorted(trials, key=lambda trial: trial.number)
