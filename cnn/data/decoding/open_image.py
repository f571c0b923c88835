"""Opens image files, and limits what is decoded by the memory that decoding takes."""

from typing import BinaryIO

from PIL import AvifImagePlugin, Image
from PIL.JpegImagePlugin import JpegImageFile

from cnn.data.decoding.heic import HEADER, NEEDS_EXTRA, coded_sides, is_heic, open_heic

# The most pixels to decode; libjpeg decodes photographs of any phone at a fraction of their size.
MAX_PIXELS = 89_000_000
# Limits on the size in the header; at least a 64th of the pixels is decoded.
MAX_DECLARED, MAX_SIDE = 2**30, 65_535
MIN_SIDE = 8
# The most bytes of coefficients: four of two bytes for each pixel of the largest image.
_MAX_COEFFICIENTS = 8 * MAX_PIXELS
# Pillow loads its plugins on demand, but open() with named formats needs all of them.
Image.init()
_FORMATS = ("PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
# A task has one core; more threads would also hold more frames in memory.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_JPEG = b"\xff\xd8\xff"


class Unreadable(Exception):
    """Why an image's bytes did not become pixels, in a few words."""


def open_image(file: BinaryIO) -> Image.Image:
    """Opens an image, reading only its header. Raises Unreadable and any error of Pillow."""
    start = file.read(HEADER)
    file.seek(0)
    if start.startswith(_JPEG):
        # Image.open would refuse it by the size in its header.
        image: Image.Image = _open_jpeg(file)
    elif is_heic(start):
        image = _open_heic(file)
    else:
        image = Image.open(file, formats=_FORMATS)
    check_sides(image.size)
    return image


def _open_jpeg(file: BinaryIO) -> JpegImageFile:
    try:
        image = JpegImageFile(file)
    except SyntaxError as error:
        detail = f" ({error})" if str(error).startswith("cannot handle") else ""
        raise Unreadable(f"not an image in a supported format{detail}") from None
    needed = _coefficients(image)
    if needed > _MAX_COEFFICIENTS:
        raise Unreadable(
            "progressive JPEG that needs too much memory "
            f"({needed >> 20} MiB, at most {_MAX_COEFFICIENTS >> 20})"
        )
    return image


def _open_heic(file: BinaryIO) -> Image.Image:
    for sides in coded_sides(file):
        # The size in the header may be that of a part, but the whole is decoded.
        check_pixels(sides)
    try:
        return open_heic(file)
    except ImportError:
        raise Unreadable(f"{NEEDS_EXTRA} (pip install pillow-heif)") from None


def _coefficients(image: JpegImageFile) -> int:
    """Bytes that libjpeg buffers for a JPEG with several scans, at any scale; otherwise 0.

    Progressive JPEGs have several scans, and so do others whose first scan lacks some planes. A
    JPEG with four planes is assumed to have several: phones do not take such photographs.
    """
    if not image.layer or image.size[0] * image.size[1] <= MAX_PIXELS:
        return 0
    planes = image.layer[-image.layers :]
    samples = [max(1, across * down) for _, across, down, _ in planes]
    whole = max(1, max(p[1] for p in planes) * max(p[2] for p in planes))
    if image.layers < 4 and not image.info.get("progressive") and _one_scan(image):
        return 0
    return 2 * image.size[0] * image.size[1] * sum(samples) // whole


def _one_scan(image: JpegImageFile) -> bool:
    """Whether the header of the first scan, the last thing Pillow has read, names all planes."""
    file, length = image.fp, 6 + 2 * image.layers
    if file is None:
        return False
    file.seek(file.tell() - length)
    header = file.read(length)
    return header[:3] == bytes([0, length, image.layers])


def check_sides(sides: tuple[int, int]) -> None:
    """Raises Unreadable if the size in a header is too large or too small."""
    if max(sides) > MAX_SIDE or sides[0] * sides[1] > MAX_DECLARED:
        raise Unreadable(f"more than {MAX_PIXELS} pixels ({sides[0]}x{sides[1]})")
    if min(sides) < MIN_SIDE:
        raise Unreadable(f"too small ({sides[0]}x{sides[1]}, at least {MIN_SIDE}x{MIN_SIDE})")


def check_pixels(sides: tuple[int, int]) -> None:
    """Raises Unreadable if too many pixels would be decoded."""
    if sides[0] * sides[1] > MAX_PIXELS:
        raise Unreadable(f"more than {MAX_PIXELS} pixels ({sides[0]}x{sides[1]})")
