"""Deep images, with more than 8 bits per channel: reads their values and scales them to 8 bits.

Pillow reads 16-bit, 32-bit and floating-point grey values whole, but only one of the two bytes of
16-bit colour. Its raw mode names the byte order and so determines which byte: reading the same file
with the raw mode of the other byte order returns the other byte.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from cnn.data.decoding.open_image import Unreadable, open_image

ValueRange = tuple[float, float]

_BITS, _PLANES, _PHOTOMETRIC = 258, 284, 262
_OTHER = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
# Pixels per block: all values of an image at once would take several times its memory.
_BLOCK = 1 << 20


class Values(NamedTuple):
    """The lowest and the highest value of an image, and whether its values are whole numbers."""

    low: float
    high: float
    whole: bool


class RangeUnknown(Unreadable):
    """There is no range for the values of a deep image; `values` describes them."""

    def __init__(self, values: Values) -> None:
        super().__init__("more than 8 bits per channel, but no known value range")
        self.values = values


def is_deep(image: Image.Image) -> bool:
    """Whether an image has more than 8 bits per channel; only its header needs to be read.

    CMYK is not deep: ink amounts always use their full range, so 8 bits are enough.
    """
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return True
    if image.mode not in {"RGB", "RGBA"} or image.format not in {"PNG", "TIFF"}:
        return False
    return ";16" in _raw_mode(image) or max(_tag(image, _BITS, (8,))) > 8


class Deep:
    """A deep image; its file must stay open while this is used. Raises Unreadable."""

    def __init__(self, image: Image.Image, file: BinaryIO) -> None:
        self._image: Any = image
        self._low: Any = None
        # The value or colour that a PNG declares transparent.
        self._clear = image.info.get("transparency")
        self._inverted = _tag(image, _PHOTOMETRIC, None) == 0
        self._unsigned = _raw_mode(image) == "I;32N"
        self._kind = image.mode
        raw = _raw_mode(image)
        if image.mode in {"RGB", "RGBA"}:
            if _tag(image, _PLANES, 1) == 2:
                raise Unreadable("16-bit colour in separate planes (TIFF)")
            self._kind = raw.partition(";")[0]
            if self._kind == "LA":
                # Pillow reads only 8 bits of each; read the four bytes of a pixel unchanged.
                _read_as(image, "RGBA")
            else:
                self._low = open_image(_rewound(file))
                # Pillow would divide single bytes of premultiplied colour by alpha.
                raw = raw.replace("RGBa", "RGBA")
                _read_as(image, raw)
                _read_as(self._low, raw[:-1] + _OTHER[raw[-1]])
        elif raw.startswith(("I;16BS", "I;32BS", "F;32BF")) and _is_libtiff(image):
            # libtiff has already swapped the bytes; Pillow does not expect that for these modes.
            _read_as(image, raw.replace("B", "N"))
        image.load()
        if self._low is not None:
            self._low.load()

    def values(self) -> Values:
        """The values of all pixels that are not fully transparent."""
        low, high, whole = np.inf, -np.inf, True
        for block, alpha in self._blocks():
            whole = whole and block.dtype.kind != "f"
            seen = block if alpha is None else block[alpha > 0]
            if seen.size:
                low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        return Values(low, high, whole) if low <= high else Values(0, 0, whole)

    def scaled(self, value_range: ValueRange) -> Image.Image:
        """Scales each value to 8 bits: 0 up to the low end of the range, 255 from its high end."""
        parts: list[np.ndarray] = []
        for block, alpha in self._blocks():
            short = block.dtype.kind == "u" and block.dtype.itemsize == 2
            grey = _table(value_range)[block] if short else _to_grey(block, value_range)
            if self._inverted:
                grey = 255 - grey
            planes = grey.reshape(*block.shape[:2], -1)
            parts.append(planes if alpha is None else np.dstack([planes, alpha]))
        pixels = np.concatenate(parts)
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Yields blocks of values (rows, width[, 3]) from the top, with any alpha as 8 bits."""
        width, height = self._image.size
        rows = max(1, _BLOCK // width)
        for top in range(0, height, rows):
            box = (0, top, width, min(height, top + rows))
            block = self._block(box)
            if block.dtype.kind == "f" and not np.isfinite(block).all():
                raise Unreadable("values that are not finite (NaN or infinity)")
            yield self._with_alpha(block)

    def _block(self, box: tuple[int, int, int, int]) -> np.ndarray:
        block = np.asarray(self._image.crop(box))
        if self._unsigned:
            return block.view(np.uint32)
        if self._kind == "LA":
            pairs = block.astype(np.uint16).reshape(*block.shape[:2], 2, 2)
            return pairs[..., 0] << 8 | pairs[..., 1]
        if self._low is not None:
            return block.astype(np.uint16) << 8 | np.asarray(self._low.crop(box))
        return block

    def _with_alpha(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if self._kind in {"LA", "RGBA", "RGBa"}:
            alpha, block = block[..., -1], block[..., :-1]
            if self._kind == "RGBa":
                # Undo the multiplication by alpha; fully transparent pixels have no colour.
                share = np.maximum(alpha, 1)[..., None].astype(np.float64) / 65535
                block = np.minimum(np.rint(block / share), 65535).astype(np.uint16)
            block = block[..., 0] if self._kind == "LA" else block
            return block, (alpha >> 8).astype(np.uint8)
        if self._clear is not None:
            same = block == np.asarray(self._clear)
            clear = same if same.ndim == 2 else same.all(axis=2)
            return block, np.where(clear, 0, 255).astype(np.uint8)
        return block, None


def _to_grey(values: np.ndarray, value_range: ValueRange) -> np.ndarray:
    black, white = value_range
    grey = np.rint((values.astype(np.float64) - black) * (255 / (white - black)))
    return np.clip(grey, 0, 255).astype(np.uint8)


@lru_cache(maxsize=4)
def _table(value_range: ValueRange) -> np.ndarray:
    """The 8-bit level of each 16-bit value; a look-up is faster than computing it."""
    return _to_grey(np.arange(1 << 16), value_range)


def _raw_mode(image: Any) -> str:
    """Pillow's raw mode of an image that is opened but not loaded."""
    for tile in image.tile:
        args = tile.args
        return str(args if isinstance(args, str) else args[0])
    return ""


def _read_as(image: Any, raw: str) -> None:
    image.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in image.tile
    ]


def _is_libtiff(image: Any) -> bool:
    return any(tile.codec_name == "libtiff" for tile in image.tile)


def _tag(image: Any, tag: int, default: Any) -> Any:
    return image.tag_v2.get(tag, default) if image.format == "TIFF" else default


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file
