"""The cost of a search: how busy its slots were, and what early stopping saved."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from cnn.rundir.trial_clock import Clock, begin
from cnn.rundir.trials import TrialResult

# The parts of a trial's time, in this order; the rest is unknown.
PARTS = ("launch", "data", "compile", "train")
REST = "other"
# The launch of a trial and the end of the previous one are measured by different clocks.
_OVERLAP = 0.1


@dataclass(frozen=True)
class Bar:
    """The time of a trial on a slot; `parts` are consecutive (part, start, end)."""

    trial: TrialResult
    slot: int
    start: float
    end: float
    parts: tuple[tuple[str, float, float], ...]


@dataclass
class SlotBars:
    """The names of the slots, from top to bottom, and the trials on them."""

    names: list[str] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    span: float = 0.0

    @property
    def busy(self) -> float | None:
        """The share of the slots' time in which a trial ran."""
        total = self.span * len(self.names)
        return min(1.0, sum(bar.end - bar.start for bar in self.bars) / total) if total else None


@dataclass(frozen=True)
class PhaseCost:
    """The cost of a phase; saved image-epochs are those that stopped trials had left."""

    name: str
    trials: int
    seconds: float
    image_epochs: int
    saved_by_rungs: int
    saved_by_patience: int


def fill_slots(trials: Sequence[TrialResult]) -> SlotBars:
    """Puts each trial on the first free slot of its host; the real slot is unknown."""
    clock = Clock(trials)
    slots = SlotBars()
    hosts = sorted({trial.host for trial in trials if trial.host})

    def host_of(trial: TrialResult) -> str:
        # A trial whose process died may not have reported its host.
        return trial.host or (hosts[0] if len(hosts) == 1 else "")

    for host, own in groupby(sorted(trials, key=lambda t: (host_of(t), begin(t))), key=host_of):
        free: list[float] = []
        for trial in own:
            start = clock.at(begin(trial))
            end = max(start, clock.at(trial.ended))
            place = next((p for p, at in enumerate(free) if at <= start + _OVERLAP), len(free))
            if place == len(free):
                free.append(end)
                label = f"slot {place + 1}"
                slots.names.append(f"{host or 'unknown'}, {label}" if len(hosts) > 1 else label)
            free[place] = end
            slot = len(slots.names) - len(free) + place
            slots.bars.append(Bar(trial, slot, start, end, _parts(trial, start, end)))
    slots.span = max((bar.end for bar in slots.bars), default=0.0)
    return slots


def _parts(trial: TrialResult, start: float, end: float) -> tuple[tuple[str, float, float], ...]:
    parts = []
    at = start
    for name in PARTS:
        length = max(0.0, trial.seconds.get(name, 0.0))
        if length:
            parts.append((name, at, min(end, at + length)))
            at = min(end, at + length)
    if end > at:
        parts.append((REST, at, end))
    return tuple(parts)


def phase_costs(trials: Sequence[TrialResult], phases: Sequence[str]) -> list[PhaseCost]:
    costs = []
    for name in phases:
        own = [trial for trial in trials if trial.phase == name]
        clock = Clock(own)
        costs.append(
            PhaseCost(
                name=name,
                trials=len(own),
                seconds=max((clock.at(trial.ended) for trial in own), default=0.0),
                image_epochs=sum(trial.image_epochs() for trial in own),
                saved_by_rungs=sum(_saved(t) for t in own if t.status == "pruned"),
                saved_by_patience=sum(_saved(t) for t in own if t.status == "ok"),
            )
        )
    return costs


def _saved(trial: TrialResult) -> int:
    left = max(0, (trial.max_epochs or 0) - len(trial.epochs))
    return left * (trial.train_images or 0) * trial.folds
