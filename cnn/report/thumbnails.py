"""Stored pixels as small pictures within a page, within a limit on all their bytes."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np
from PIL import Image

# Larger images are reduced to this side and saved as JPEG; images up to EXACT are shown exactly.
_SIDE, EXACT = 96, 64
_QUALITY = 80


@dataclass(frozen=True)
class Thumbnail:
    """A picture of a file; `source` is a data: URI, or None if there is none or no space for it."""

    path: str
    label: str
    source: str | None
    note: str = ""


def data_uri(pixels: np.ndarray) -> str:
    """A small picture of pixels (size, size, channels) as a data: URI; equal for equal pixels."""
    image = Image.fromarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0])
    sink = io.BytesIO()
    if len(pixels) <= EXACT:
        kind = "png"
        image.save(sink, "PNG", optimize=True)
    else:
        kind = "jpeg"
        if len(pixels) > _SIDE:
            image = image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=None)
        image.save(sink, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/{kind};base64," + base64.b64encode(sink.getvalue()).decode()


class Budget:
    """Makes data: URIs until they have more than `left` characters."""

    def __init__(self, pixels: Mapping[str, np.ndarray], left: int) -> None:
        self._pixels = pixels
        self._left = left
        self._made: dict[str, str | None] = {}

    def source(self, path: str) -> str | None:
        """The picture of an image. One that is shown twice counts twice."""
        if path not in self._made:
            pixels = self._pixels.get(path)
            self._made[path] = None if pixels is None else data_uri(pixels)
        found = self._made[path]
        if found is None or len(found) > self._left:
            return None
        self._left -= len(found)
        return found

    def in_turn(self, groups: Mapping[str, Sequence[str]]) -> dict[str, list[Thumbnail]]:
        """Pictures by class; if space is short, every class has some."""
        found: dict[str, list[Thumbnail]] = {name: [] for name in groups}
        turns: Iterable[tuple[str | None, ...]] = zip_longest(*groups.values())
        pairs = chain.from_iterable(zip(groups, turn, strict=True) for turn in turns)
        for name, path in pairs:
            if path is not None and (source := self.source(path)) is not None:
                found[name].append(Thumbnail(path, name, source))
        return found
