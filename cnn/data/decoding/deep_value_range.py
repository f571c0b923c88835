"""Determines which values of deep images become black and white, from the training images."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic_core import PydanticCustomError

from cnn.data.decoding.deep_images import ValueRange, Values

# The highest values of detectors with 8, 10, 12, 14 and 16 bits, and with every number above.
_FULL_SCALES = [2.0**bits - 1 for bits in (8, 10, 12, 14, *range(16, 33))]
# An image with no value above this share of the range is nearly black.
_DARK = 1 / 16


class DeepImage(NamedTuple):
    """An image with more than 8 bits per channel, and its values."""

    path: str
    values: Values


def find_range(images: Iterable[DeepImage]) -> ValueRange:
    """Finds the range of all values of some images, widened to the likely range of the detector.

    The range starts at 0 unless there are negative values, and ends at the detector's maximum: a
    12-bit data set has a 12-bit range even if no image is that bright. Added images therefore
    seldom change how the others are scaled, and brightness remains comparable. The range covers
    the extremes, not percentiles, so that nothing is clipped.
    """
    low, high, whole = math.inf, -math.inf, False
    for _, values in images:
        low, high = min(low, values.low), max(high, values.high)
        whole = whole or values.whole
    return _low_end(low), _high_end(high, whole=whole)


def _low_end(low: float) -> float:
    """0, or minus the next power of two: -1024 is air in a CT image."""
    return 0.0 if low >= 0 else -_power_of_two(-low)


def _high_end(high: float, *, whole: bool) -> float:
    if high <= 0 and not whole:
        return 1.0
    if not whole and high <= _FULL_SCALES[0] / 4:
        # Floating-point values that are not grey levels: up to 1 if they come close to it.
        return 1.0 if 1 / 4 < high <= 1 else _power_of_two(high)
    return next((full for full in _FULL_SCALES if high <= full), _power_of_two(high))


def _power_of_two(value: float) -> float:
    return 2.0 ** math.ceil(math.log2(value)) if value > 0 else 1.0


def describe_dark(images: Sequence[DeepImage], value_range: ValueRange) -> str | None:
    """A warning about images that become nearly black because others need the range, if any."""
    low, high = value_range
    dark = [path for path, values in images if values.high < low + _DARK * (high - low)]
    if not dark:
        return None
    return (
        f"warning: {len(dark):,} of {len(images):,} deep training images (such as {dark[0]!r}) "
        f"have no value above a sixteenth of {in_words(value_range)} and become nearly black"
    )


def describe_range(value_range: ValueRange, *, given: bool) -> str:
    """Says in one line how deep images are scaled to 8 bits."""
    why = "the range of the training images; --value-range LOW,HIGH sets another"
    return (
        f"16-bit and floating-point images: values {in_words(value_range)} become 0 to 255 "
        f"({'as --value-range says' if given else why})"
    )


def in_words(value_range: ValueRange) -> str:
    """Formats a range as LOW to HIGH."""
    return " to ".join(f"{value:.10g}" for value in value_range)


def parse_range(value: Any) -> Any:
    """Parses a range from a flag, TOML or JSON; raises pydantic's error."""
    if value is None:
        return None
    try:
        parts = value.split(",") if isinstance(value, str) else value
        low, high = (float(part) for part in parts)
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    except (TypeError, ValueError, OverflowError):
        pass
    raise PydanticCustomError(
        "value_range", "must be LOW,HIGH, two numbers with LOW less than HIGH"
    )
