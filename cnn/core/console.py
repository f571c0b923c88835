"""Text from any source, made safe to show in a terminal, a log or a page."""

import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

# Control characters, characters that change the direction of text, and unpaired surrogates, which
# UTF-8 cannot encode. Line feeds and tabs are kept.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(value: Any) -> Any:
    """Text with unprintable characters replaced; a value of another type is returned unchanged."""
    return _UNPRINTABLE.sub("\ufffd", value) if type(value) is str else value


def plain(text: str) -> str:
    """Text without characters that control a terminal or break a line of a log."""
    return "".join(character if character.isprintable() else "?" for character in text)


# The user and password that may precede the host in a URI.
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")


def redacted(text: str) -> str:
    """Text with users and passwords removed from the URIs in it."""
    return _USERINFO.sub("", text)


def shortened(text: str, length: int = 22) -> str:
    """Text as one line, cut to fit beside a plot."""
    return _cut_end(_one_line(text), length)


def shortened_distinctly(texts: Sequence[str], length: int = 22) -> list[str]:
    """Shortens each text like `shortened`, but so that different texts stay different.

    Texts with the same beginning keep their ends instead, or the part in which they differ. If that
    does not distinguish them either, they are numbered.
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
    """Groups of texts that were shortened to the same line."""
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
    """The part of each line around the first character in which the lines differ."""
    same = next((i for i, at in enumerate(zip_longest(*lines)) if len(set(at)) > 1), 0)
    place = same - length // 4
    starts = [max(1, min(place, len(x) - length + 1)) for x in lines]
    return [
        x if len(x) <= length else "…" + _cut_end(x[start:], length - 1)
        for x, start in zip(lines, starts, strict=True)
    ]


def _numbered(line: str, number: int, length: int) -> str:
    return f"{_cut_end(line, length - len(f' {number}'))} {number}"


def say(text: str) -> None:
    """Prints a line that may contain untrusted names; on a terminal it wraps between words."""
    line = plain(text)
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
    print(line, flush=True)
