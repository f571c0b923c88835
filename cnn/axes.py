"""A varied parameter as numbers along a line: for plots and for the forest of importances."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cnn.formats import readable, shortened, words
from cnn.results import TrialResult

# So many different numbers are still choices, not from a range, unless none occurs twice.
_FEW = 6
_TICKS = 4
# No parameter is so large; a plot of it would come to infinity.
_HUGE = 1e100


@dataclass(frozen=True)
class Axis:
    """`values` has each trial's place; `ticks` places with what stands there."""

    name: str
    values: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    # Whether places are choices, one beside the other, rather than a range.
    choices: bool

    @property
    def label(self) -> str:
        return shortened(words(self.name))

    @property
    def ends(self) -> tuple[float, float]:
        places = [*self.values, *(place for place, _ in self.ticks)]
        return min(places), max(places)


def varied(trials: Sequence[TrialResult]) -> list[str]:
    """The parameters that differ between trials, in their own order."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return [n for n in names if len({json.dumps(t.params.get(n)) for t in trials}) > 1]


def axis(name: str, trials: Sequence[TrialResult]) -> Axis:
    raw = [trial.params.get(name) for trial in trials]
    numbers = [_number(value) for value in raw]
    known = [number for number in numbers if number is not None]
    several = len(set(known))
    drawn = several == len(known) > 1 and not all(number.is_integer() for number in known)
    if len(known) == len(raw) and (several > _FEW or drawn):
        return _range(name, known)
    return _choices(name, raw)


def _number(value: Any) -> float | None:
    """Of widths that differ from layer to layer the mean."""
    if isinstance(value, list | tuple):
        each = [_number(item) for item in value]
        known = [number for number in each if number is not None]
        return sum(known) / len(known) if known and len(known) == len(each) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _HUGE else None


def _range(name: str, numbers: Sequence[float]) -> Axis:
    log = _drawn_by_logarithm(numbers)
    values = [math.log10(number) if log else number for number in numbers]
    first, last = min(values), max(values)
    places = [first + (last - first) * step / (_TICKS - 1) for step in range(_TICKS)]
    ticks = tuple((place, f"{10**place if log else place:.2g}") for place in places)
    return Axis(name, tuple(values), ticks, choices=False)


def _drawn_by_logarithm(numbers: Sequence[float]) -> bool:
    """Whether the middle of the numbers is nearer to that of a logarithmic range."""
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    if low <= 0:
        return False
    share = (middle - low) / (high - low)
    of_logarithms = math.log(middle / low) / math.log(high / low)
    return abs(of_logarithms - 0.5) < abs(share - 0.5)


def _choices(name: str, raw: Sequence[Any]) -> Axis:
    """Distinct values in order, numbers by size and before all else."""
    distinct = {json.dumps(value): value for value in raw}

    def order(text: str) -> tuple[bool, float, str]:
        number = _number(distinct[text])
        return number is None, number or 0.0, text

    places = {text: float(place) for place, text in enumerate(sorted(distinct, key=order))}
    ticks = [(place, shortened(readable(distinct[text]), 12)) for text, place in places.items()]
    # Names that would lie over each other are left out, evenly.
    step = math.ceil(len(ticks) / 8)
    return Axis(name, tuple(places[json.dumps(v)] for v in raw), tuple(ticks[::step]), choices=True)


def aside(number: int) -> float:
    """Between -0.5 and 0.5, far from that of the next trial: points at one place stay apart."""
    return (number * 0.6180339887) % 1 - 0.5
