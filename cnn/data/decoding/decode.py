"""Decodes image files to uint8 pixels, without Spark."""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from cnn.data.decoding.backgrounds import Background, lay_on, padding
from cnn.data.decoding.deep_images import Deep, RangeUnknown, ValueRange, Values, is_deep
from cnn.data.decoding.jpeg_draft import draft
from cnn.data.decoding.open_image import (
    MAX_PIXELS,
    Unreadable,
    check_pixels,
    check_sides,
    open_image,
)
from cnn.data.decoding.originals import Original
from cnn.data.decoding.resample import Fit, resample, target_sides

__all__ = [
    "MAX_PIXELS",
    "SUFFIXES",
    "Decoding",
    "Fit",
    "Original",
    "RangeUnknown",
    "Seen",
    "Unreadable",
    "decode",
    "decode_and_look",
    "decode_file",
    "reduce_array",
    "values_of",
    "with_file",
]

Result = TypeVar("Result")

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
    | {".pgm", ".ppm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# An image is blank or nearly blank if the pixels of each channel differ by less than this.
BLANK_LEVELS = 8


@dataclass(frozen=True)
class Decoding:
    """How the bytes of an image file become pixels."""

    size: int
    # One channel is ITU-R 601 luma, three are RGB.
    channels: int
    fit: Fit = "stretch"
    background: Background = "auto"
    # The values that become 0 and 255 in images with more than 8 bits per channel.
    value_range: ValueRange | None = None
    # Decodes as for data sets of schema version 1: 16-bit grey is scaled over its whole range, only
    # one of two bytes of 16-bit colour is used, and 32-bit values are rejected.
    version_1: bool = False

    @property
    def mode(self) -> str:
        return "L" if self.channels == 1 else "RGB"


def decode(data: bytes | BinaryIO, how: Decoding) -> np.ndarray:
    """Decodes one image, given as bytes or an open file, and reduces it to a square.

    Returns uint8 pixels of shape (size, size, channels), each the average of its area. Transparent
    pixels show the background, EXIF orientation is applied, and the first frame of an animation is
    used. Raises Unreadable with a short reason; raises its subclass RangeUnknown if the image has
    more than 8 bits per channel and `how` has no value range.
    """
    return decode_and_look(data, how).pixels


class Seen(NamedTuple):
    """A decoded image: its pixels, whether it is (nearly) blank apart from its padding, and what
    its file has.
    """

    pixels: np.ndarray
    is_blank: bool
    original: Original


def decode_and_look(data: bytes | BinaryIO, how: Decoding) -> Seen:
    """`decode`, and what else can be seen of the image at no cost."""
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    with _reasons(file), open_image(file) as image:
        return _reduce(image, file, how)


def values_of(data: bytes | BinaryIO) -> Values | None:
    """The values of an image with more than 8 bits per channel; None for other images.

    Only the header of other images is read. Raises Unreadable.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    with _reasons(file), open_image(file) as image:
        if not is_deep(image):
            return None
        check_pixels(image.size)
        return Deep(image, file).values()


@contextmanager
def _reasons(file: BinaryIO) -> Iterator[None]:
    """Converts any error from Pillow to Unreadable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        is_empty = file.seek(0, io.SEEK_END) == 0
        raise Unreadable(
            "empty file" if is_empty else "not an image in a supported format"
        ) from None
    except Exception as error:
        # A damaged file can cause almost any error in Pillow's plugins: OSError, ValueError,
        # SyntaxError, IndexError, ... One bad file must not end the job.
        raise Unreadable(f"damaged image ({type(error).__name__}: {error})"[:200]) from None


def decode_file(item: Path | bytes, how: Decoding) -> np.ndarray:
    """`decode` for a path or bytes. Raises Unreadable if it is not a readable image."""
    return with_file(item, partial(decode, how=how))


def with_file(item: Path | bytes, read: Callable[[bytes | BinaryIO], Result]) -> Result:
    """Returns `read` of the open file or the bytes. Raises Unreadable if it cannot be opened."""
    if isinstance(item, bytes):
        return read(item)
    try:
        with item.open("rb") as file:
            return read(file)
    except OSError as error:
        raise Unreadable(f"unreadable: {error.strerror}") from None


def reduce_array(pixels: np.ndarray, how: Decoding) -> np.ndarray:
    """`decode` for pixels: uint8 (height, width), or (height, width, 1, 3 or 4 channels).

    Raises Unreadable for any other array.
    """
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] in {(3,), (4,)}):
        raise Unreadable(f"not an image of uint8 pixels ({array.dtype} {array.shape})")
    sides = array.shape[1], array.shape[0]
    check_sides(sides)
    check_pixels(sides)
    image = Image.fromarray(np.ascontiguousarray(array))
    return _square(_fit(_to_mode(image, how), sides, how), how)


def _reduce(image: Image.Image, file: BinaryIO, how: Decoding) -> Seen:
    sides, kind = image.size, f"{image.format} {image.mode}"
    extent = draft(image, how.mode, how.size, how.fit)
    stored = image.size
    check_pixels(stored)
    if is_deep(image) and not how.version_1:
        flat = _flat(Deep(image, file), how)
        kind += "" if kind.endswith((" I", " F")) or ";16" in kind else ";16"
    else:
        image.load()
        flat = image
    turn = _UPRIGHT.get(_orientation(image))
    upright = flat if turn is None else flat.transpose(turn)
    # The image may be turned by now; Pillow itself turns a TIFF.
    if upright.size != stored:
        extent, sides = extent[::-1], sides[::-1]
    pixels = _fit(_to_mode(upright, how), extent, how)
    square = _square(pixels, how)
    return Seen(square, is_blank(pixels), Original.of(sides, kind, square))


def _flat(deep: Deep, how: Decoding) -> Image.Image:
    if how.value_range is None:
        raise RangeUnknown(deep.values())
    return deep.scaled(how.value_range)


def is_blank(pixels: np.ndarray) -> bool:
    """Whether all pixels (height, width, channels) have nearly the same colour."""
    high, wide, _ = pixels.shape
    if abs(int(pixels[0, 0, 0]) - int(pixels[high // 2, wide // 2, 0])) >= BLANK_LEVELS:
        # This costs nothing and decides most images.
        return False
    planes = pixels.transpose(2, 0, 1)
    return all(int(plane.max()) - int(plane.min()) < BLANK_LEVELS for plane in planes)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        # Damaged metadata does not make the image itself unusable.
        return 1


def _to_mode(image: Image.Image, how: Decoding) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Converting 16 bits to 8 would clip at 255: scale first.
        array = np.asarray(image, dtype=np.uint32)
        image = Image.fromarray(((array * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        raise Unreadable("32-bit values without a stated range")
    if image.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        image = lay_on(image.convert("RGBA"), how.background)
    elif image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    return image if image.mode == how.mode else image.convert(how.mode)


def _fit(image: Image.Image, extent: tuple[float, float], how: Decoding) -> np.ndarray:
    """Resamples the image to the square, or to the part of it that is not padding."""
    return resample(image, *target_sides(extent, how.size, how.fit))


def _square(pixels: np.ndarray, how: Decoding) -> np.ndarray:
    """Adds the padding."""
    if pixels.shape[:2] == (how.size, how.size):
        return pixels
    square = np.empty((how.size, how.size, pixels.shape[2]), np.uint8)
    square[:] = padding(how.background, how.mode)
    top, left = ((how.size - side) // 2 for side in pixels.shape[:2])
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square
