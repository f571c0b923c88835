"""What each kind of network reached and cost: from scratch, on a frozen backbone, fine-tuned."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnn.report.formats import readable
from cnn.rundir.trials import TrialResult
from cnn.settings.params import NO_BACKBONE


@dataclass(frozen=True)
class Regime:
    """The trials of one kind of network on one backbone."""

    words: str
    trials: int
    # The best trial that ran to its end, and its validation accuracy; None if none did.
    best: int | None
    accuracy: float | None
    # The mean duration of a trial, and of all together.
    seconds: float
    total_seconds: float


@dataclass(frozen=True)
class FineTuning:
    """What fine-tuning added to the validation accuracy of the heads that it started from."""

    trials: int
    mean_gain: float
    better: int


def regimes(trials: Sequence[TrialResult]) -> list[Regime]:
    """The kinds of networks that were tried, the best first; empty if all are from scratch."""
    kinds: dict[str, list[TrialResult]] = {}
    for trial in trials:
        if trial.epochs:
            kinds.setdefault(_words(trial), []).append(trial)
    if not any("backbone" in trial.params for trial in trials):
        return []
    found = [_regime(words, own) for words, own in kinds.items()]
    return sorted(found, key=lambda regime: -(regime.accuracy or 0.0))


def _words(trial: TrialResult) -> str:
    backbone = trial.params.get("backbone", NO_BACKBONE)
    if backbone == NO_BACKBONE:
        return "from scratch"
    kind = "fine-tuned" if trial.params.get("fine_tune") else "frozen"
    return f"{readable(backbone)}, {kind}"


def _regime(words: str, trials: Sequence[TrialResult]) -> Regime:
    done = [trial for trial in trials if trial.status == "ok" and trial.repeats is None]
    best = max(done, key=lambda trial: trial.accuracy or 0.0, default=None)
    seconds = [(trial.ended - trial.started).total_seconds() for trial in trials]
    return Regime(
        words=words,
        trials=len(trials),
        best=best.number if best else None,
        accuracy=best.accuracy if best else None,
        seconds=statistics.fmean(seconds),
        total_seconds=sum(seconds),
    )


def fine_tuning(trials: Sequence[TrialResult]) -> FineTuning | None:
    """What fine-tuning added; None if no fine-tuned trial ran to its end."""
    gains = [
        trial.accuracy - trial.head.accuracy
        for trial in trials
        if trial.status == "ok"
        and trial.head is not None
        and trial.accuracy is not None
        and trial.head.accuracy is not None
    ]
    if not gains:
        return None
    return FineTuning(len(gains), statistics.fmean(gains), sum(gain > 0 for gain in gains))
