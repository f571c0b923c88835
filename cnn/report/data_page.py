"""Makes DATA/data.html: a look at a data set before anything is trained.

The page is one file that loads nothing from the network. It depends on the images and the settings
alone, not on the time, the place or the number of cores.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from cnn.data.data_settings import DataSettings
from cnn.data.decoding.deep_value_range import describe_range
from cnn.data.decoding.originals import EVERY_CLASS, LEVELS, SHOWN_CLASSES
from cnn.data.near.resolution import NearDuplicate
from cnn.data.overview import Overview, Picked
from cnn.data.rejects import kind_of
from cnn.data.sources.passed_over import describe_files
from cnn.data.splits import TEST, TRAIN
from cnn.report import data_checks
from cnn.report.data_plots import levels_plot, median_side, shapes_plot, sizes_plot
from cnn.report.formats import short_path
from cnn.report.render import render
from cnn.report.thumbnails import EXACT, Budget, Thumbnail

# The most pictures of a kind, and the most rows of a table.
_SHOWN, _PAIRS, _REASONS, _OF_REASON, _ROWS = 8, 12, 12, 4, 1000
# The most characters of the pictures of samples, and of each other kind: the page stays below 2 MB.
_SAMPLES_BUDGET, _BUDGET = 750_000, 120_000
# Wider or taller images than 2:1 are extreme.
_EXTREME_RATIO = 2
_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey, transparent",
    "P": "palette",
    "PA": "palette, transparent",
    "RGB": "colour",
    "RGBA": "colour, transparent",
    "CMYK": "CMYK",
    "YCbCr": "colour (YCbCr)",
    "LAB": "colour (L*a*b*)",
    "I": "grey, more than 8 bits",
    "F": "grey, floating-point",
}
# Settings with which a class is not simply the name of a folder.
_CLASS_SETTINGS = frozenset(
    {"labels", "class_level", "class_regex", "lower_labels", "map_labels", "relabel"}
)


def render_data_page(overview: Overview) -> str:
    """Renders the page of a data set as HTML."""
    manifest = overview.manifest
    changed = _changed(manifest.settings)
    shown = manifest.classes[:SHOWN_CLASSES]
    rows = _class_rows(overview)
    near = sorted(overview.near, key=lambda pair: pair.label == pair.same_as_label)[:_PAIRS]
    repeated = _repeated(overview.duplicates)
    wanted = _wanted(overview, near, repeated)
    stored = overview.stored(wanted)
    # Near-duplicates that were left out are not in the data set.
    stored |= overview.decode(wanted - stored.keys())
    return render(
        "data_page.html.j2",
        manifest=manifest,
        total=manifest.total(TRAIN) + manifest.total(TEST),
        checks=data_checks.checks(overview),
        too_many=overview.too_many,
        coarse=manifest.size <= EXACT,
        rows=rows[:_ROWS],
        more_rows=max(0, len(manifest.classes) - _ROWS),
        samples=Budget(stored, _SAMPLES_BUDGET).in_turn(overview.samples),
        shown=shown,
        shown_rows=rows[: len(shown)],
        **_originals(overview),
        **_brightness(overview),
        extreme_shapes=_extreme_shapes(overview, Budget(stored, _BUDGET)),
        extreme_brightness=_extreme_brightness(overview, Budget(stored, _BUDGET)),
        blank=_thumbnails(
            [(image.path, image.class_name) for image in overview.blank[:_SHOWN]],
            Budget(stored, _BUDGET),
        ),
        repeated=_copies(repeated, Budget(stored, _BUDGET)),
        near=_near(near, Budget(stored, 2 * _BUDGET)),
        rejected=_rejected(overview),
        more_reasons=max(0, len(manifest.reasons) - _REASONS),
        passed_over=describe_files(manifest.passed_over) if manifest.passed_over else "",
        value_range=None
        if manifest.value_range is None
        else describe_range(manifest.value_range, given=manifest.settings.value_range is not None),
        changed=changed,
        by_folder=not _CLASS_SETTINGS & changed.keys(),
    )


def _originals(overview: Overview) -> dict[str, Any]:
    """Sizes, shapes and formats."""
    originals, extremes = overview.originals, overview.extremes
    sizes, sides = originals.sizes, originals.sides
    one_size = next(iter(sizes)) if sizes is not None and len(sizes) == 1 else None
    return {
        "one_size": one_size,
        # Frequent sizes are worth a table if there are not many different ones.
        "sizes": _ranked(sizes)[:_SHOWN] if sizes else [],
        "median": (median_side(sides, 0), median_side(sides, 1)),
        "smallest": extremes["smallest"][0].original,
        "largest": extremes["largest"][0].original,
        "sizes_plot": "" if one_size else sizes_plot(sides, overview.manifest.size),
        "shapes_plot": "" if one_size else shapes_plot(sides),
        "kinds": [(*_kind(kind), count) for kind, count in _ranked(originals.kinds)],
    }


def _brightness(overview: Overview) -> dict[str, Any]:
    """The distribution of brightness, of all images and by class."""

    def plot(label: int, *, small: bool) -> str:
        counts = overview.originals.levels
        return levels_plot([counts[label, level] for level in range(LEVELS)], small=small)

    names = overview.manifest.classes[:SHOWN_CLASSES]
    return {
        "levels_plot": plot(EVERY_CLASS, small=False),
        "levels": {name: plot(label, small=True) for label, name in enumerate(names)},
    }


def _changed(settings: DataSettings) -> dict[str, Any]:
    """The settings that differ from their defaults, as text."""
    defaults = type(settings)()
    given = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {
        name: _setting(name, value)
        for name, value in given.items()
        if value != getattr(defaults, name)
    }


def _setting(name: str, value: Any) -> str:
    if name == "test_images":
        return short_path(value)
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _repeated(duplicates: Sequence[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Files that other files repeat, each with the paths of these."""
    ordered = sorted(duplicates, key=lambda pair: (pair[1], pair[0]))
    groups = groupby(ordered, key=lambda pair: pair[1])
    return [(first, [path for path, _ in pairs]) for first, pairs in groups][:_SHOWN]


def _wanted(
    overview: Overview, near: Sequence[NearDuplicate], repeated: Sequence[tuple[str, list[str]]]
) -> set[str]:
    """The paths of all images of the data set that the page may show."""
    paths = {path for some in overview.samples.values() for path in some}
    paths |= {one.path for some in overview.extremes.values() for one in some}
    paths |= {image.path for image in overview.blank[:_SHOWN]}
    paths |= {path for pair in near for path in (pair.path, pair.same_as)}
    return paths | {first for first, _ in repeated}


@dataclass(frozen=True)
class ClassRow:
    """One class: its images by split, its part of the largest class, its mean brightness."""

    name: str
    train: int
    test: int
    share: float
    light: float


def _class_rows(overview: Overview) -> list[ClassRow]:
    counts, originals = overview.manifest.counts, overview.originals
    names = overview.manifest.classes
    totals = {name: counts[TRAIN][name] + counts[TEST][name] for name in names}
    most = max(totals.values())
    return [
        ClassRow(
            name,
            counts[TRAIN][name],
            counts[TEST][name],
            totals[name] / most,
            originals.light[label] / 256 / originals.images[label],
        )
        for label, name in enumerate(names)
    ]


def _ranked(counts: Any) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _kind(kind: str) -> tuple[str, str]:
    """The format and the colours of "PNG RGB;16"."""
    name, _, mode = kind.partition(" ")
    mode, _, bits = mode.partition(";")
    colours = _MODES.get(mode, mode)
    deep = ", 16 bits" if bits else ""
    return {"PPM": "Netpbm", "HEIF": "HEIC"}.get(name, name), f"{colours}{deep}"


def _thumbnails(images: Sequence[tuple[str, str]], budget: Budget) -> list[Thumbnail]:
    return [Thumbnail(path, label, budget.source(path)) for path, label in images]


def _extreme_shapes(overview: Overview, budget: Budget) -> dict[str, list[Thumbnail]]:
    """Images that a square suits least, by what is extreme about them."""

    def ratio(one: Picked) -> float:
        sides = one.original.width, one.original.height
        return max(sides) / min(sides)

    def some(name: str, keep: Callable[[Picked], bool]) -> list[Thumbnail]:
        return [
            Thumbnail(
                one.path,
                one.class_name,
                budget.source(one.path),
                f"{one.original.width:,} × {one.original.height:,}",
            )
            for one in overview.extremes[name]
            if keep(one)
        ]

    found = {
        "The widest, more than 2:1": some("widest", lambda one: ratio(one) > _EXTREME_RATIO),
        "The tallest, more than 1:2": some("tallest", lambda one: ratio(one) > _EXTREME_RATIO),
        "The smallest, which were enlarged": some("smallest", lambda one: one.original.enlarged),
    }
    return {name: pictures for name, pictures in found.items() if pictures}


def _extreme_brightness(overview: Overview, budget: Budget) -> dict[str, list[Thumbnail]]:
    return {
        f"The {name}, by mean brightness": [
            Thumbnail(
                one.path,
                one.class_name,
                budget.source(one.path),
                f"{one.original.brightness:.0f}",
            )
            for one in overview.extremes[name]
        ]
        for name in ("darkest", "lightest")
    }


def _copies(
    repeated: Sequence[tuple[str, list[str]]], budget: Budget
) -> list[tuple[Thumbnail, list[str], int]]:
    return [
        (Thumbnail(first, "", budget.source(first)), paths[:_OF_REASON], len(paths))
        for first, paths in repeated
    ]


def _near(pairs: Sequence[NearDuplicate], budget: Budget) -> list[dict[str, Any]]:
    return [
        {
            "one": Thumbnail(pair.path, pair.label, budget.source(pair.path)),
            "other": Thumbnail(pair.same_as, pair.same_as_label, budget.source(pair.same_as)),
            "similarity": pair.similarity,
            "differ": pair.label != pair.same_as_label,
        }
        for pair in pairs
    ]


def _rejected(overview: Overview) -> list[dict[str, Any]]:
    """The reasons for rejects, the most frequent first, each with a few files."""
    examples: dict[str, list[tuple[str, str]]] = {}
    for path, reason in overview.rejects:
        some = examples.setdefault(kind_of(reason), [])
        if len(some) < _OF_REASON:
            some.append((path, reason))
    reasons = _ranked(overview.manifest.reasons)[:_REASONS]
    wanted = [path for kind, _ in reasons for path, _ in examples.get(kind, ())]
    budget = Budget(overview.decode(wanted), _BUDGET)
    return [
        {
            "kind": kind,
            "count": count,
            "files": [
                Thumbnail(path, "", budget.source(path), reason)
                # Rows of a table that name no file are not among the rejected files.
                for path, reason in examples.get(kind) or [(overview.kinds[kind].example, kind)]
            ],
        }
        for kind, count in reasons
    ]
