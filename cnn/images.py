"""Bytes of an image file -> uint8 pixels, or a reason why not. Knows nothing of Spark."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# Checked against the header, before anything is decoded.
MAX_PIXELS = 89_000_000
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
)
# Pillow loads its plugins as it goes; naming formats to open() needs all of them.
Image.init()
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
_BACKGROUND = (255, 255, 255, 255)


class Unreadable(Exception):
    """Why an image's bytes did not become pixels, in a few words."""


def decode(data: bytes, *, size: int, channels: int) -> np.ndarray:
    """Decodes one image, stretched to a square.

    Returns uint8 pixels of shape (size, size, channels); one channel is ITU-R 601 luma, three are
    RGB. Transparency is laid on white, EXIF orientation is applied, of an animation the first
    frame is taken. Raises Unreadable with a short reason.
    """
    if not data:
        raise Unreadable("empty file")
    mode = "L" if channels == 1 else "RGB"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise Unreadable(f"more than {MAX_PIXELS} pixels")
                image.draft(mode, _draft_size(image.size, size))
                upright = ImageOps.exif_transpose(image)
                pixels = _to_mode(upright, mode)
                reduced = pixels.resize((size, size), Image.Resampling.BOX, reducing_gap=None)
                if pixels.width < size or pixels.height < size:
                    reduced = pixels.resize((size, size), Image.Resampling.BILINEAR)
    except Unreadable:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Unreadable(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise Unreadable("not an image of a supported kind") from None
    except Exception as error:
        # Pillow's plugins raise whatever a damaged file provokes: OSError, ValueError,
        # SyntaxError, IndexError, ... One bad file must not end the job.
        raise Unreadable(f"damaged image ({type(error).__name__}: {error})"[:200]) from None
    return np.asarray(reduced, dtype=np.uint8).reshape(size, size, channels)


def _draft_size(full: tuple[int, int], size: int) -> tuple[int, int]:
    """What to ask libjpeg for: a scale that costs no accuracy.

    At 1/8, 1/4 or 1/2 libjpeg averages blocks, which is exact where the target divides what is
    left; elsewhere four times the target leaves the area filter enough to average.
    """
    for scale in (8, 4, 2):
        width, height = full[0] // scale, full[1] // scale
        whole = full[0] % scale == full[1] % scale == 0
        if whole and width % size == 0 and height % size == 0:
            return width, height
        if min(width, height) >= 4 * size:
            return width, height
    return full


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # Converting 16 bits to 8 would clip at 255: scale first.
        array = np.asarray(image, dtype=np.uint16)
        image = Image.fromarray((array >> 8).astype(np.uint8))
    elif image.mode in {"I", "F"}:
        array = np.asarray(image, dtype=np.float64)
        # 32-bit greys come from 16-bit PNGs; anything else has no stated range.
        scale = 257.0 if array.max(initial=0) > 255 else 1.0
        image = Image.fromarray(np.clip(array / scale, 0, 255).astype(np.uint8))
    if image.mode in {"P", "PA", "LA", "La", "RGBA", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer)
        image = image.convert("RGB")
    elif image.mode not in {"L", "RGB"}:
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)
