"""A varied parameter as numbers along a line: for plots and for the forest of importances.

What the line is follows from the search space. Where that does not say, as of what has a value for
each layer, it is guessed from the values.
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

# So many different numbers are still choices, not from a range, unless none occurs twice.
_FEW = 6
# So many whole numbers stand one beside the other like choices.
_FEW_WHOLE = 12
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
    # Ticks that are shortened -> what they stand for.
    whole: dict[str, str] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[float, float]:
        places = [*self.values, *(place for place, _ in self.ticks)]
        return min(places), max(places)


def varied(trials: Sequence[TrialResult]) -> list[str]:
    """The parameters that differ between trials, in their own order."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return [n for n in names if len({json.dumps(t.params.get(n)) for t in trials}) > 1]


def axis(name: str, trials: Sequence[TrialResult], space: Space | None = None) -> Axis:
    """The axis of a parameter; `space` is that of the trials' phase."""
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
    """The axis of a dimension; None where the values are not of its kind."""
    if dimension.choices is not None:
        # Means over layers lie between the choices.
        return None if dimension.per_layer else _choices(name, raw, dimension.choices)
    low, high = dimension.low, dimension.high
    if low is None or high is None or len(known) < len(raw) or max(abs(low), abs(high)) > _HUGE:
        return None
    if dimension.log and min(known) <= 0:
        return None
    # Of what has a value for each layer, the mean is drawn.
    whole = dimension.integer and dimension.per_layer is None
    few = high - low < _FEW_WHOLE and not dimension.log
    if whole and few:
        return _choices(name, raw, range(int(low), int(high) + 1))
    ends = (min(low, *known), max(high, *known))
    return _range(name, known, ends, log=dimension.log, whole=whole)


def _number(value: Any) -> float | None:
    """Of widths that differ from layer to layer the mean."""
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
    """A line from the least to the greatest of `held`."""
    place_of, number_at = (math.log10, lambda place: 10**place) if log else (float, float)
    first, last = place_of(min(held)), place_of(max(held))
    marks = [number_at(first + (last - first) * step / (_TICKS - 1)) for step in range(_TICKS)]
    if whole:
        marks = [float(mark) for mark in dict.fromkeys(map(round, marks))]
    ticks = tuple((place_of(mark), f"{mark:.0f}" if whole else f"{mark:.2g}") for mark in marks)
    return Axis(name, tuple(map(place_of, numbers)), ticks, choices=False)


def _drawn_by_logarithm(numbers: Sequence[float]) -> bool:
    """Whether the middle of the numbers is nearer to that of a logarithmic range."""
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    if low <= 0:
        return False
    share = (middle - low) / (high - low)
    of_logarithms = math.log(middle / low) / math.log(high / low)
    return abs(of_logarithms - 0.5) < abs(share - 0.5)


def _choices(name: str, raw: Sequence[Any], offered: Sequence[Any] = ()) -> Axis:
    """Distinct values in order, numbers by size and before all else; also those not drawn."""
    distinct = {_key(value): value for value in (*offered, *raw)}

    def order(text: str) -> tuple[bool, float, str]:
        number = _number(distinct[text])
        return number is None, number or 0.0, text

    places = {text: float(place) for place, text in enumerate(sorted(distinct, key=order))}
    texts = [readable(distinct[text]) for text in places]
    short = shortened_distinctly(texts, 12)
    # Names that would lie over each other are left out, evenly.
    step = math.ceil(len(texts) / 8)
    return Axis(
        name,
        tuple(places[_key(value)] for value in raw),
        tuple(zip(places.values(), short, strict=True))[::step],
        choices=True,
        whole=dict(zip(short, texts, strict=True)),
    )


def _key(value: Any) -> str:
    """The same for 0 and 0.0: a space may have one and its trials the other."""
    scalar = None if isinstance(value, list | tuple) else _number(value)
    return json.dumps(value if scalar is None else scalar, default=str)


def jitter(number: int) -> float:
    """Between -0.5 and 0.5, far from that of the next trial: points at one place stay apart."""
    return (number * 0.6180339887) % 1 - 0.5
