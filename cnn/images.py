"""Bytes of an image file -> uint8 pixels, or a reason why not. Knows nothing of Spark."""

import io
import warnings
from functools import lru_cache
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Fit = Literal["stretch", "crop", "pad"]

# Checked against the header, before anything is decoded.
MAX_PIXELS = 89_000_000
MIN_SIDE = 8
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
)
# Pillow loads its plugins as it goes; naming formats to open() needs all of them.
Image.init()
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
# Under transparency, and around an image that is padded.
_BACKGROUND = 255
_ORIENTATION = 0x0112


class Unreadable(Exception):
    """Why an image's bytes did not become pixels, in a few words."""


def decode(data: bytes | BinaryIO, *, size: int, channels: int, fit: Fit = "stretch") -> np.ndarray:
    """Decodes one image, given as bytes or an open file, and reduces it to a square.

    Returns uint8 pixels of shape (size, size, channels), each the average of its area; one channel
    is ITU-R 601 luma, three are RGB. What is not square is stretched, cropped around its middle,
    or padded with white. Transparency is laid on white, EXIF orientation is applied, of an
    animation the first frame is taken. Raises Unreadable with a short reason.
    """
    mode = "L" if channels == 1 else "RGB"
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as image:
                _check_sides(image.size)
                extent = _draft(image, mode, size, fit)
                image.load()
                upright = _upright(image)
                if upright.size != image.size:
                    extent = extent[::-1]
                return _fit(_to_mode(upright, mode), extent, size, fit)
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        is_empty = file.seek(0, io.SEEK_END) == 0
        raise Unreadable("empty file" if is_empty else "not an image of a supported kind") from None
    except Exception as error:
        # Pillow's plugins raise whatever a damaged file provokes: OSError, ValueError,
        # SyntaxError, IndexError, ... One bad file must not end the job.
        raise Unreadable(f"damaged image ({type(error).__name__}: {error})"[:200]) from None


def reduce_array(
    pixels: np.ndarray, *, size: int, channels: int, fit: Fit = "stretch"
) -> np.ndarray:
    """The same of an image that is decoded: uint8 (height, width), or with 1, 3 or 4 channels.

    Raises Unreadable where it is no such array.
    """
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.dtype != np.uint8 or not (array.ndim == 2 or array.shape[2:] in {(3,), (4,)}):
        raise Unreadable(f"not an image of uint8 pixels ({array.dtype} {array.shape})")
    _check_sides((array.shape[1], array.shape[0]))
    image = Image.fromarray(np.ascontiguousarray(array))
    return _fit(_to_mode(image, "L" if channels == 1 else "RGB"), image.size, size, fit)


def _check_sides(sides: tuple[int, int]) -> None:
    if sides[0] * sides[1] > MAX_PIXELS:
        raise Unreadable(f"more than {MAX_PIXELS} pixels")
    if min(sides) < MIN_SIDE:
        raise Unreadable(f"too small ({sides[0]}x{sides[1]}, at least {MIN_SIDE}x{MIN_SIDE})")


def _draft(image: Image.Image, mode: str, size: int, fit: Fit) -> tuple[float, float]:
    """Has libjpeg decode at the smallest scale that costs no accuracy; other kinds: as they are.

    At 1/8, 1/4 or 1/2 libjpeg gives the means of blocks. That is exact where whole blocks make up
    the target's pixels; elsewhere so many blocks across a pixel keep within 0.9 grey levels,
    measured on photographs and drawings enlarged to 1024x1024. Returns width and height in
    blocks, which need not be whole: the last block may lie in part beyond the edge.
    """
    width, height = image.size
    wide, high = (side for side, _, _ in _sides((width, height), size, fit))
    for scale, blocks in ((8, 3), (4, 2), (2, 2)):
        exact = width % (scale * wide) == 0 == height % (scale * high) and fit == "stretch"
        if exact or min(width / wide, height / high) >= blocks * scale:
            drafted = image.draft(mode, (width // scale, height // scale))
            if drafted is not None:
                left, top, right, bottom = drafted[1]
                return right - left, bottom - top
            break
    return width, height


def _sides(
    extent: tuple[float, float], size: int, fit: Fit
) -> tuple[tuple[int, float, float], tuple[int, float, float]]:
    """For width and height: pixels to make, and from where to where of the source they come."""
    width, height = extent
    if fit == "crop":
        side = min(extent)
        left, top = (width - side) / 2, (height - side) / 2
        return (size, left, left + side), (size, top, top + side)
    if fit == "pad":
        side = max(extent)
        wide, high = (max(1, round(size * length / side)) for length in extent)
        return (wide, 0, width), (high, 0, height)
    return (size, 0, width), (size, 0, height)


def _upright(image: Image.Image) -> Image.Image:
    try:
        turned = image.getexif().get(_ORIENTATION, 1) != 1
    except Exception:
        # An image is not damaged because what a camera wrote beside it is.
        return image
    return ImageOps.exif_transpose(image) if turned else image


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Converting 16 bits to 8 would clip at 255: scale first.
        array = np.asarray(image, dtype=np.uint32)
        image = Image.fromarray(((array * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        raise Unreadable("32-bit values, whose range is not stated")
    if image.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (_BACKGROUND,) * 3 + (255,))
        image = Image.alpha_composite(white, layer).convert("RGB")
    elif image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, extent: tuple[float, float], size: int, fit: Fit) -> np.ndarray:
    across, down = _sides(extent, size, fit)
    pixels = _resample(image, across, down)
    if pixels.shape[:2] == (size, size):
        return pixels
    square = np.full((size, size, pixels.shape[2]), _BACKGROUND, np.uint8)
    top, left = ((size - side) // 2 for side in pixels.shape[:2])
    square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return square


def _resample(
    image: Image.Image, across: tuple[int, float, float], down: tuple[int, float, float]
) -> np.ndarray:
    """Makes uint8 pixels (high, wide, channels) of a part of an image."""
    (wide, left, right), (high, top, bottom) = across, down
    steps = (right - left) / wide, (bottom - top) / high
    if min(steps) < 1:
        box = (left, top, right, bottom)
        enlarged = image.resize((wide, high), Image.Resampling.BILINEAR, box=box)
        return np.asarray(enlarged).reshape(high, wide, -1)
    if all(value == int(value) for value in (*steps, left, top)):
        box = (int(left), int(top), int(right), int(bottom))
        whole = image.reduce((int(steps[0]), int(steps[1])), box)
        return np.asarray(whole).reshape(high, wide, -1)
    if min(steps) >= 6:
        # Means of whole blocks first, which Pillow makes faster.
        block = int(min(steps) / 3)
        image = image.reduce(block)
        left, right, top, bottom = (value / block for value in (left, right, top, bottom))
    source = np.asarray(image, np.float32).reshape(image.height, image.width, -1)
    rows = np.tensordot(_overlaps(image.height, high, top, bottom), source, (1, 0))
    pixels = np.tensordot(rows, _overlaps(image.width, wide, left, right), (1, 1))
    return np.rint(pixels.transpose(0, 2, 1)).astype(np.uint8)


@lru_cache(maxsize=64)
def _overlaps(source: int, target: int, start: float, stop: float) -> np.ndarray:
    """How much of each source pixel is in each target pixel: float32 (target, source), rows sum 1.

    Pillow's box filter takes pixels whole or not at all, up to 3 grey levels off at such sizes.
    """
    edges = np.linspace(start, stop, target + 1)[:, None]
    pixels = np.arange(source)
    shared = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    return (np.clip(shared, 0, None) * target / (stop - start)).astype(np.float32)
