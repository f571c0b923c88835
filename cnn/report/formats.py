"""Formats numbers and times for the report."""

import math
from datetime import datetime
from typing import Any

from cnn.model.backbone_card import short_name

UNKNOWN = "–"


def percent(value: float | None) -> str:
    """Percent with one decimal, or with more if it would otherwise be rounded up to 100 %."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    digits = next((d for d in (1, 2, 3) if value >= 1 or round(100 * value, d) < 100), 4)
    return f"{100 * value:.{digits}f}\u00a0%"


def chance(value: float) -> str:
    """A p-value with two significant digits, never 0."""
    if value < 0.0001:
        return "p\u00a0<\u00a00.0001"
    return f"p\u00a0=\u00a0{value:.2g}" if value < 0.995 else "p\u00a0=\u00a01"


def certainty(value: float | None) -> str:
    """A probability in percent with one decimal; only 1 is shown as 100 %."""
    nearly = value is not None and 0.9995 <= value < 1
    return f">\u00a0{percent(0.999)}" if nearly else percent(value)


def points(value: float | None) -> str:
    """The absolute difference of two shares in percentage points."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    number = abs(100 * value)
    text = f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0")
    return f"{text}\u00a0point{'' if text == '1' else 's'}"


def readable(value: Any) -> str:
    """A parameter or score for display, with up to four significant digits."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str):
        return short_name(value)
    return ", ".join(map(readable, value)) if isinstance(value, list | tuple) else str(value)


def count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def area(value: float | None) -> str:
    """An area under a curve; only a perfect one is shown as 1."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return "1" if value >= 1 else f"{min(value, 0.9999):.4f}"


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M %Z}"


def short_path(path: str) -> str:
    """The last two parts of a path: the class folder and the file."""
    parts = path.rstrip("/").split("/")
    return path if len(parts) <= 2 else "…/" + "/".join(parts[-2:])


def words(name: str) -> str:
    return name.replace("_", " ")
