"""Maps the values of a varied parameter to numbers on an axis, for plots and importances.

The search space determines the axis. If it does not, as for a parameter with a value for each
layer, the axis is guessed from the values.
"""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cnn.core.console import shortened_distinctly
from cnn.report.formats import readable
from cnn.rundir.trials import TrialResult
from cnn.settings.dimension import Dimension, Space

# Up to this many different numbers are taken as choices, unless no number occurs twice.
_FEW = 6
# Ranges of fewer integers than this are shown like choices.
_FEW_WHOLE = 12
_TICKS = 4
# Larger numbers would overflow in a plot.
_HUGE = 1e100


@dataclass(frozen=True)
class Axis:
    """An axis: `values` has each trial's position, and `ticks` has positions with their labels."""

    name: str
    values: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]
    # Whether positions are choices rather than points of a range.
    choices: bool
    # The full text of shortened labels.
    whole: dict[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[float, float]:
        places = [*self.values, *(place for place, _ in self.ticks)]
        return min(places), max(places)


def varied(trials: Sequence[TrialResult]) -> list[str]:
    """The names of the parameters that differ between trials, in order of appearance."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return [n for n in names if len({json.dumps(t.params.get(n)) for t in trials}) > 1]


def axis(name: str, trials: Sequence[TrialResult], space: Space | None = None) -> Axis:
    """Returns the axis of a parameter; `space` is the space of the trials' phase."""
    raw = [trial.params.get(name) for trial in trials]
    numbers = [_number(value) for value in raw]
    known = [number for number in numbers if number is not None]
    dimension = _dimension(name, space or {})
    if dimension is not None:
        found = _as_drawn(name, raw, known, dimension)
        if found is not None:
            return found
    several = len(set(known))
    drawn = several == len(known) > 1 and not all(number.is_integer() for number in known)
    if len(known) == len(raw) and (several > _FEW or drawn):
        return _range(name, known, known, log=_drawn_by_logarithm(known))
    return _choices(name, raw)


def _dimension(name: str, space: Space) -> Dimension | None:
    found = space.get(name)
    return space.get(found.same_as) if found is not None and found.same_as else found


def _as_drawn(
    name: str, raw: Sequence[Any], known: Sequence[float], dimension: Dimension
) -> Axis | None:
    """The axis of a dimension; None if the values do not fit the dimension."""
    if dimension.choices is not None:
        # Means over layers are between the choices.
        return None if dimension.per_layer else _choices(name, raw, dimension.choices)
    low, high = dimension.low, dimension.high
    if low is None or high is None or len(known) < len(raw) or max(abs(low), abs(high)) > _HUGE:
        return None
    if dimension.log and min(known) <= 0:
        return None
    # A parameter with a value for each layer is drawn as the mean, which need not be an integer.
    whole = dimension.integer and dimension.per_layer is None
    few = high - low < _FEW_WHOLE and not dimension.log
    if whole and few:
        return _choices(name, raw, range(int(low), int(high) + 1))
    ends = (min(low, *known), max(high, *known))
    return _range(name, known, ends, log=dimension.log, whole=whole)


def _number(value: Any) -> float | None:
    """A value as a number, a list as the mean of its numbers; None for anything else."""
    if isinstance(value, list | tuple):
        each = [_number(item) for item in value]
        known = [number for number in each if number is not None]
        return sum(known) / len(known) if known and len(known) == len(each) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _HUGE else None


def _range(
    name: str, numbers: Sequence[float], held: Sequence[float], *, log: bool, whole: bool = False
) -> Axis:
    """An axis from the smallest to the largest of `held`."""
    place_of, number_at = (math.log10, lambda place: 10**place) if log else (float, float)
    first, last = place_of(min(held)), place_of(max(held))
    marks = [number_at(first + (last - first) * step / (_TICKS - 1)) for step in range(_TICKS)]
    if whole:
        marks = [float(mark) for mark in dict.fromkeys(map(round, marks))]
    ticks = tuple((place_of(mark), f"{mark:.0f}" if whole else f"{mark:.2g}") for mark in marks)
    return Axis(name, tuple(map(place_of, numbers)), ticks, choices=False)


def _drawn_by_logarithm(numbers: Sequence[float]) -> bool:
    """Whether the median is closer to the middle of a logarithmic range than of a linear one."""
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    if low <= 0:
        return False
    share = (middle - low) / (high - low)
    of_logarithms = math.log(middle / low) / math.log(high / low)
    return abs(of_logarithms - 0.5) < abs(share - 0.5)


def _choices(name: str, raw: Sequence[Any], offered: Sequence[Any] = ()) -> Axis:
    """An axis of distinct values, sorted with numbers first; includes offered but unused ones."""
    distinct = {_key(value): value for value in (*offered, *raw)}

    def order(text: str) -> tuple[bool, float, str]:
        number = _number(distinct[text])
        return number is None, number or 0.0, text

    places = {text: float(place) for place, text in enumerate(sorted(distinct, key=order))}
    texts = [readable(distinct[text]) for text in places]
    short = shortened_distinctly(texts, 12)
    # Labels that would overlap are omitted evenly.
    step = math.ceil(len(texts) / 8)
    return Axis(
        name,
        tuple(places[_key(value)] for value in raw),
        tuple(zip(places.values(), short, strict=True))[::step],
        choices=True,
        whole=dict(zip(short, texts, strict=True)),
    )


def _key(value: Any) -> str:
    """The same key for 0 and 0.0, because a space may have one and its trials the other."""
    scalar = None if isinstance(value, list | tuple) else _number(value)
    return json.dumps(value if scalar is None else scalar, default=str)


def jitter(number: int) -> float:
    """A fixed offset between -0.5 and 0.5 for each trial, which keeps equal points apart."""
    return (number * 0.6180339887) % 1 - 0.5
