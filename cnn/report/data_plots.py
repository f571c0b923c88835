"""The plots of a data set's page, as SVG in the colours of the page; all their text is numbers."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import ceil, floor, log2

from cnn.data.decoding.originals import BINS_AN_OCTAVE, LEVELS, side_of

# The most circles of a plot; with more different sizes, neighbours are drawn together.
_MOST_CIRCLES = 800
_WIDTH, _HEIGHT = 440, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 12, 44


def sizes_plot(sides: Mapping[tuple[int, int], int], stored: int) -> str:
    """Circles at the width and the height of the originals, and lines at the stored size."""
    step = 1
    while len(grouped := _grouped(sides, step)) > _MOST_CIRCLES:
        step *= 2
    ends = [log2(side_of(end)) for pair in grouped for end in pair] + [log2(stored)]
    low, high = floor(min(ends) - 0.2), ceil(max(ends) + 0.2)

    def x(side: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (log2(side) - low) / (high - low)

    def y(side: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (log2(side) - low) / (high - low)

    parts = []
    for power in range(low, high + 1, 1 + (high - low) // 9):
        side = 2**power
        parts.append(_line(x(side), _TOP, x(side), _HEIGHT - _BOTTOM, "grid"))
        parts.append(_line(_LEFT, y(side), _WIDTH - _RIGHT, y(side), "grid"))
        parts.append(_text(x(side), _HEIGHT - _BOTTOM + 16, f"{side:,}", "middle"))
        parts.append(_text(_LEFT - 6, y(side) + 4, f"{side:,}", "end"))
    parts.append(_line(x(2**low), y(2**low), x(2**high), y(2**high), "square"))
    parts.append(_line(x(stored), _TOP, x(stored), _HEIGHT - _BOTTOM, "stored"))
    parts.append(_line(_LEFT, y(stored), _WIDTH - _RIGHT, y(stored), "stored"))
    most = max(grouped.values())
    for (wide, high_bin), count in sorted(grouped.items(), key=lambda item: (-item[1], item[0])):
        width, height = side_of(wide), side_of(high_bin)
        radius = 2.5 + 9 * (count / most) ** 0.5
        parts.append(
            f'<circle cx="{x(width):.1f}" cy="{y(height):.1f}" r="{radius:.1f}">'
            f"<title>about {width:,.0f} × {height:,.0f}: {count:,}</title></circle>"
        )
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, "width", "middle"))
    turned = f"translate(12 {(_TOP + _HEIGHT - _BOTTOM) / 2:.0f}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">height</text>')
    return _svg("Widths and heights of the originals, in pixels", parts, _WIDTH, _HEIGHT)


def _grouped(sides: Mapping[tuple[int, int], int], step: int) -> dict[tuple[int, int], int]:
    grouped: Counter[tuple[int, int]] = Counter()
    for (wide, high), count in sides.items():
        grouped[wide // step * step, high // step * step] += count
    return grouped


def shapes_plot(sides: Mapping[tuple[int, int], int]) -> str:
    """Bars at the ratio of width to height, from 1:4 and narrower to 4:1 and wider."""
    # In quarters of an octave, and the bins of a side in one.
    edge, wide = 8, BINS_AN_OCTAVE // 4
    counts: Counter[int] = Counter()
    for (width, height), count in sides.items():
        ratio = round((width - height) / wide)
        counts[max(-edge, min(edge, ratio))] += count
    marks = {-edge: "1:4", -edge // 2: "1:2", 0: "square", edge // 2: "2:1", edge: "4:1"}
    bars = [counts[place] for place in range(-edge, edge + 1)]
    labels = [marks.get(place, "") for place in range(-edge, edge + 1)]
    return _bars("Width to height of the originals", bars, labels, _WIDTH, 190)


def levels_plot(counts: Sequence[int], *, small: bool = False) -> str:
    """Bars at the mean brightness of images, from black to white."""
    if small:
        return _bars("Brightness from black to white", counts, [], 160, 40)
    labels = ["black", *[""] * (LEVELS // 2 - 1), "grey", *[""] * (LEVELS // 2 - 2), "white"]
    return _bars("Brightness from black to white", counts, labels, _WIDTH, 190)


def _bars(name: str, counts: Sequence[int], labels: Sequence[str], width: int, height: int) -> str:
    bottom = height - (24 if labels else 1)
    most, step = max([*counts, 1]), width / len(counts)
    parts = [_line(0, bottom, width, bottom, "grid")]
    for place, count in enumerate(counts):
        if count:
            tall = max(1.5, (bottom - 6) * count / most)
            parts.append(
                f'<rect x="{place * step + step * 0.08:.1f}" y="{bottom - tall:.1f}" '
                f'width="{step * 0.84:.1f}" height="{tall:.1f}"><title>{count:,}</title></rect>'
            )
    for place, label in enumerate(labels):
        if label:
            anchor = {0: "start", len(labels) - 1: "end"}.get(place, "middle")
            at = {"start": place * step, "end": (place + 1) * step}.get(
                anchor, (place + 0.5) * step
            )
            parts.append(_text(at, height - 6, label, anchor))
    return _svg(name, parts, width, height)


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _svg(name: str, parts: Sequence[str], width: int, height: int) -> str:
    head = f'<svg class="drawn" role="img" aria-label="{name}" viewBox="0 0 {width} {height}">'
    return f"{head}{''.join(parts)}</svg>"


def median_side(sides: Mapping[tuple[int, int], int], axis: int) -> int:
    """About the median width (axis 0) or height (axis 1)."""
    counts: Counter[int] = Counter()
    for pair, count in sides.items():
        counts[pair[axis]] += count
    half, seen = sum(counts.values()) / 2, 0
    for number in sorted(counts):
        seen += counts[number]
        if seen >= half:
            return round(side_of(number))
    return 0
