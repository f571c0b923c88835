"""What is worth knowing about a data set in one sentence each, for the top of its page."""

from collections.abc import Iterator
from dataclasses import dataclass

from cnn.core.console import shortened
from cnn.data.decoding.originals import BINS_AN_OCTAVE, EVERY_CLASS, LEVELS
from cnn.data.overview import Overview
from cnn.data.sources.passed_over import describe_files
from cnn.data.splits import TEST, TRAIN

# A class with fewer images in training, or in the test, is worth a word.
_FEW_TRAIN, _FEW_TEST = 100, 20
# The largest class may be so many times as large as the smallest.
_BALANCED = 3


@dataclass(frozen=True)
class Check:
    """A statement; `good` is None if it is neither good nor bad."""

    good: bool | None
    text: str


def checks(overview: Overview) -> list[Check]:
    """All statements about a data set, those that ask for a look first."""
    found = [
        *_files(overview),
        *_copies(overview),
        *_classes(overview),
        *_shapes(overview),
        *_brightness(overview),
    ]
    return sorted(found, key=lambda check: {False: 0, None: 1, True: 2}[check.good])


def _images(count: int) -> str:
    return f"{count:,} image" + ("" if count == 1 else "s")


def _quoted(name: str) -> str:
    return f"“{shortened(name, 40)}”"


def _files(overview: Overview) -> Iterator[Check]:
    manifest = overview.manifest
    if manifest.rejects:
        files = f"{manifest.rejects:,} of {manifest.listed:,} files"
        yield Check(False, f"{files} did not become images: see Rejects.")
    else:
        yield Check(True, f"Every one of {manifest.listed:,} files became an image.")
    if manifest.passed_over:
        text = describe_files(manifest.passed_over)
        yield Check(False, f"Not looked at, because they are in folders without images: {text}.")


def _copies(overview: Overview) -> Iterator[Check]:
    manifest = overview.manifest
    if manifest.duplicates:
        yield Check(
            None,
            f"Files with the same bytes as another: {manifest.duplicates:,}. Copies are kept "
            "together in the split.",
        )
    else:
        yield Check(True, "No two images have the same bytes.")
    if manifest.near_duplicates:
        text = f"Pairs of images that look alike: {manifest.near_duplicates:,}"
        if manifest.near_contradictions:
            other = f"{manifest.near_contradictions:,}"
            yield Check(False, f"{text}. With different labels: {other}.")
        else:
            yield Check(None, f"{text}, with the same labels.")
    else:
        yield Check(True, "No two images look alike.")


def _classes(overview: Overview) -> Iterator[Check]:
    counts = overview.manifest.counts
    totals = {name: n + counts[TEST][name] for name, n in counts[TRAIN].items()}
    small, large = min(totals, key=lambda n: totals[n]), max(totals, key=lambda n: totals[n])
    ratio = totals[large] / totals[small]
    if ratio > _BALANCED:
        yield Check(
            False,
            f"{_quoted(large)} has {ratio:.0f} times as many images as {_quoted(small)}: accuracy "
            "alone will say little, see the balanced accuracy.",
        )
    else:
        yield Check(True, "The classes have similar numbers of images.")
    for split, few, use in ((TRAIN, _FEW_TRAIN, "train on"), (TEST, _FEW_TEST, "test on")):
        lacking = [name for name, count in counts[split].items() if count < few]
        if lacking:
            least = min(lacking, key=lambda name: counts[split][name])
            classes = "1 class has" if len(lacking) == 1 else f"{len(lacking):,} classes have"
            yield Check(
                False,
                f"{classes} fewer than {few} images to {use}; {_quoted(least)} has "
                f"{counts[split][least]:,}.",
            )


def _shapes(overview: Overview) -> Iterator[Check]:
    manifest, originals = overview.manifest, overview.originals
    size = f"{manifest.size} × {manifest.size}"
    if originals.enlarged:
        yield Check(
            None,
            f"Enlarged, because they have fewer pixels than {size}: {_images(originals.enlarged)}.",
        )
    sides = originals.sides.items()
    extreme = sum(n for (wide, high), n in sides if abs(wide - high) > BINS_AN_OCTAVE)
    if extreme and manifest.settings.fit == "stretch":
        yield Check(
            None,
            "Squeezed into a square, although they are more than twice as wide as high or the "
            f"reverse: {_images(extreme)}. The other settings of “fit” are crop and pad.",
        )


def _brightness(overview: Overview) -> Iterator[Check]:
    manifest, levels = overview.manifest, overview.originals.levels
    if manifest.blank:
        are = "is" if manifest.blank == 1 else "are"
        yield Check(False, f"{_images(manifest.blank)} {are} blank or nearly blank.")
    dark, light = (levels[EVERY_CLASS, level] for level in (0, LEVELS - 1))
    for count, what in ((dark, "nearly black"), (light, "nearly white")):
        if count:
            yield Check(None, f"{_images(count)} {'is' if count == 1 else 'are'} {what}.")
