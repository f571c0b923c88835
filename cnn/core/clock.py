"""The time, and lengths of time as people say them."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC; written as ISO 8601."""
    return datetime.now(UTC)


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{seconds / 3600:.1f} h"


def span(low: float, high: float) -> str:
    """Between two lengths of time, the unit said once where it is the same."""
    shorter, longer = duration(low), duration(high)
    if longer.endswith("min") and low >= 60:
        shorter = f"{round(low / 60)} min"
    number, unit = shorter.split()
    if shorter == longer:
        return longer
    return f"{number if unit == longer.split()[1] else shorter} to {longer}"


def about(low: float, high: float) -> str:
    """How long something that is not done will still take: never nothing."""
    if high < 5:
        return "a few seconds"
    return f"about {span(max(1.0, low), high)}"


def clock(seconds: float) -> str:
    """A length of time in little room: 1:48, or 1:02:33 from an hour on."""
    minutes, second = divmod(int(max(0.0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
