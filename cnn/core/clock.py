"""The current time, and durations as people say them."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC."""
    return datetime.now(UTC)


def duration(seconds: float) -> str:
    """A duration as people say it: 90 s, 12 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def span(low: float, high: float) -> str:
    """A range of durations: 5 to 10 min. The unit appears once if both durations have the same."""
    shorter, longer = duration(low), duration(high)
    if longer.endswith("min") and low >= 60:
        shorter = f"{round(low / 60)} min"
    number, unit = shorter.split()
    if shorter == longer:
        return longer
    return f"{number if unit == longer.split()[1] else shorter} to {longer}"


def about(low: float, high: float) -> str:
    """An estimate of the remaining time of unfinished work; it is never zero."""
    if high < 5:
        return "a few seconds"
    return f"about {span(max(1.0, low), high)}"


def clock(seconds: float) -> str:
    """A duration in a compact form: 1:48, or 1:02:33 from one hour on."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
