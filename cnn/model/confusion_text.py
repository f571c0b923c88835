"""A confusion matrix as lines for a terminal: the whole, or its largest errors."""

from collections.abc import Sequence

import numpy as np

from cnn.core.console import plain, shortened_distinctly

# A table of all pairs of more classes is not readable.
_MOST_CLASSES = 8
_MOST_PAIRS = 10
_LEAST_CELL = 5
# A name that is cut must remain recognizable.
_LEAST_NAME = 10
_GAP = "  "


def confusion_lines(
    names: Sequence[str], confusion: np.ndarray, *, width: int, where: str
) -> list[str]:
    """A confusion matrix as lines of text.

    Args:
        names: The classes.
        confusion: Counts of shape (folder of the image, predicted class).
        width: The width of the terminal, in characters.
        where: The place of the predictions for all images.

    Returns:
        A table if there are few classes, otherwise the pairs that are confused most often.
    """
    named = list(map(plain, names))
    if len(named) > _MOST_CLASSES:
        return _worst(named, confusion, width, where)
    whole = _table(named, named, confusion)
    if max(map(len, whole)) <= width:
        return whole
    # Only the rows have names; the columns have numbers.
    numbers = [f"({number})" for number in range(1, len(named) + 1)]
    cells = sum(len(_GAP) + _cell(numbers, confusion) for _ in named)
    room = width - len(_GAP) - cells
    if room < _LEAST_NAME + len(numbers[-1]):
        return _worst(named, confusion, width, where)
    short = shortened_distinctly(named, room - len(numbers[-1]) - 1)
    rows = [f"{number} {name}" for number, name in zip(numbers, short, strict=True)]
    return _table(rows, numbers, confusion)


def _table(rows: Sequence[str], columns: Sequence[str], confusion: np.ndarray) -> list[str]:
    first = max(map(len, ("folder", *rows)))
    cell = _cell(columns, confusion)
    lines = [[f"{'folder':{first}}", *(f"{name:>{cell}}" for name in columns)]]
    for name, counts in zip(rows, confusion, strict=True):
        lines.append([f"{name:{first}}", *(f"{count:>{cell},}" for count in counts)])
    return [_GAP + _GAP.join(line) for line in lines]


def _cell(columns: Sequence[str], confusion: np.ndarray) -> int:
    return max(_LEAST_CELL, *map(len, columns), len(f"{int(confusion.max()):,}"))


def _worst(names: Sequence[str], confusion: np.ndarray, width: int, where: str) -> list[str]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    pairs = int(np.count_nonzero(wrong))
    if not pairs:
        return []
    order = np.argsort(-wrong, axis=None, kind="stable")[: min(pairs, _MOST_PAIRS)]
    places = [divmod(int(place), len(names)) for place in order]
    counts = [
        f"{wrong[folder, said]:>7,} of {confusion[folder].sum():,}" for folder, said in places
    ]
    first = max(map(len, counts))
    # Both names share the rest of the line.
    room = max(_LEAST_NAME, (width - 3 * len(_GAP) - first - len(" taken for ")) // 2)
    short = shortened_distinctly(names, room)
    shown = [(short[folder], short[said]) for folder, said in places]
    lines = ["the classes confused most often:"]
    lines += [
        f"{_GAP}{count:{first}}{_GAP}{folder} taken for {said}"
        for count, (folder, said) in zip(counts, shown, strict=True)
    ]
    more = pairs - len(places)
    others = f"{more:,} other pair{'s' if more != 1 else ''}; " if more else ""
    return [*lines, f"{_GAP}{others}all predictions: {where}"]
