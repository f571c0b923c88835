"""Numbers, times and foreign text as the report shows them."""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

UNKNOWN = "–"
# Control characters, those that turn the direction of text, and halves of surrogate pairs, which
# no UTF-8 file can hold. Line feeds and tabs stay.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(value: Any) -> Any:
    """Text with what a page cannot show replaced; anything else as it is."""
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def plain(text: str) -> str:
    """Text in one line, without what would steer a terminal or break a log's line."""
    return "".join(character if character.isprintable() else "?" for character in text)


# What may stand before a host in a URI: a user and a password.
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


def redacted(text: str) -> str:
    """A text without the users and passwords in its URIs."""
    return _USERINFO.sub("", text)


def percent(value: float | None) -> str:
    """One decimal, or as many as it takes not to round what is below 100 % up to it."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    digits = next((d for d in (1, 2, 3) if value >= 1 or round(100 * value, d) < 100), 4)
    return f"{100 * value:.{digits}f}\u00a0%"


def chance(value: float) -> str:
    """A p-value: two digits of what is small, never 0."""
    if value < 0.0001:
        return "p\u00a0<\u00a00.0001"
    return f"p\u00a0=\u00a0{value:.2g}" if value < 0.995 else "p\u00a0=\u00a01"


def certainty(value: float | None) -> str:
    """A probability in percent with one decimal; only what is certain is 100 %."""
    nearly = value is not None and 0.9995 <= value < 1
    return f">\u00a0{percent(0.999)}" if nearly else percent(value)


def points(value: float | None) -> str:
    """A difference of two shares in percentage points, without a sign."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    number = abs(100 * value)
    text = f"{number:.0f}" if number >= 9.95 else f"{number:.1f}".removesuffix(".0")
    return f"{text}\u00a0point{'' if text == '1' else 's'}"


def readable(value: Any) -> str:
    """A parameter or score as people read it: no more digits than say something."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(readable, value)) if isinstance(value, list | tuple) else str(value)


def count(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,}"


def area(value: float | None) -> str:
    """An area under a curve, rounded down where it would become a perfect one."""
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


def moment(text: str | None) -> str:
    try:
        return f"{datetime.fromisoformat(text or ''):%Y-%m-%d %H:%M %Z}".strip()
    except ValueError:
        return text or UNKNOWN


def short_path(path: str) -> str:
    """A path's last two parts, which are the class folder and the file."""
    parts = path.rstrip("/").split("/")
    return path if len(parts) <= 2 else "…/" + "/".join(parts[-2:])


def shortened(text: str, length: int = 22) -> str:
    """One line of text that has room beside a plot."""
    return _cut_end(_one_line(text), length)


def told_apart(texts: Sequence[str], length: int = 22) -> list[str]:
    """Each text as `shortened`, but no two different texts as the same.

    Those whose first part is the same keep their ends, or the part where they differ; where that
    does not tell them apart either, they are numbered.
    """
    lines = {text: _one_line(text) for text in texts}
    short = {text: _cut_end(line, length) for text, line in lines.items()}
    for again in (_cut_middles, _cut_around):
        for alike in _alike(short):
            short |= zip(alike, again([lines[text] for text in alike], length), strict=True)
    unclear = [text for alike in _alike(short) for text in alike]
    taken = {short[text] for text in short if text not in unclear}
    for text in unclear:
        number = 1
        while (numbered := _numbered(lines[text], number, length)) in taken:
            number += 1
        taken.add(numbered)
        short[text] = numbered
    return [short[text] for text in texts]


def _alike(short: dict[str, str]) -> list[list[str]]:
    """The texts that look the same, together."""
    groups: dict[str, list[str]] = {}
    for text, line in short.items():
        groups.setdefault(line, []).append(text)
    return [texts for texts in groups.values() if len(texts) > 1]


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _cut_end(line: str, length: int) -> str:
    return line if len(line) <= length else line[: length - 1] + "…"


def _cut_middles(lines: Sequence[str], length: int) -> list[str]:
    head, tail = length // 2, length - length // 2 - 1
    return [x if len(x) <= length else f"{x[:head]}…{x[-tail:]}" for x in lines]


def _cut_around(lines: Sequence[str], length: int) -> list[str]:
    """What stands around the first character in which lines differ."""
    same = next((i for i, at in enumerate(zip_longest(*lines)) if len(set(at)) > 1), 0)
    place = same - length // 4
    starts = [max(1, min(place, len(x) - length + 1)) for x in lines]
    return [
        x if len(x) <= length else "…" + _cut_end(x[start:], length - 1)
        for x, start in zip(lines, starts, strict=True)
    ]


def _numbered(line: str, number: int, length: int) -> str:
    return f"{_cut_end(line, length - len(f' {number}'))} {number}"


def words(name: str) -> str:
    return name.replace("_", " ")
