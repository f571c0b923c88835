"""Every kind of image file becomes the right pixels, every damaged one a reason."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cnn.images import Unreadable, decode

SIZE = 32


def picture(size: int = 64) -> Image.Image:
    """A smooth RGB picture that is unlike its mirror images."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = (255 * x, 255 * y, 255 * (0.5 + 0.5 * np.sin(4 * x + 9 * y * y)))
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def area_average(image: Image.Image, mode: str = "L") -> np.ndarray:
    """The exact mean of each block of pixels, by numpy."""
    array = np.asarray(image.convert(mode), np.float64)
    side = array.shape[0] // SIZE
    blocks = array.reshape(SIZE, side, SIZE, side, -1)
    return blocks.mean(axis=(1, 3))


def difference(data: bytes, reference: Image.Image, channels: int = 1) -> float:
    mode = "L" if channels == 1 else "RGB"
    pixels = decode(data, size=SIZE, channels=channels)
    assert pixels.shape == (SIZE, SIZE, channels)
    assert pixels.dtype == np.uint8
    return float(np.abs(pixels - area_average(reference, mode)).mean())


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("JPEG", "RGB", {"quality": 95}),
        ("JPEG", "RGB", {"quality": 95, "progressive": True}),
        ("JPEG", "L", {"quality": 95}),
        ("JPEG", "CMYK", {"quality": 95}),
        ("PNG", "RGB", {}),
        ("PNG", "L", {}),
        ("BMP", "RGB", {}),
        ("TIFF", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_kinds_of_files(kind: str, mode: str, options: dict[str, Any], channels: int) -> None:
    image = picture().convert(mode)
    data = encoded(image, kind, **options)
    assert difference(data, image.convert("RGB"), channels) < 2.0


def test_palettes() -> None:
    image = picture().quantize(64)
    assert difference(encoded(image, "PNG"), image.convert("RGB")) < 1.0
    assert difference(encoded(image, "GIF"), image.convert("RGB")) < 1.0


def test_one_bit() -> None:
    image = picture().convert("1")
    assert difference(encoded(image, "PNG"), image) < 1.0


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = np.asarray(picture().convert("L"), np.uint16) * 257
    data = encoded(Image.fromarray(grey), "PNG")
    assert difference(data, picture()) < 1.0


def test_transparency_is_laid_on_white() -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert (decode(encoded(image, "PNG"), size=SIZE, channels=3) == 255).all()


def test_of_an_animation_the_first_frame_is_taken() -> None:
    first = picture().quantize(64)
    second = Image.new("P", first.size)
    data = encoded(first, "GIF", save_all=True, append_images=[second])
    assert difference(data, first.convert("RGB")) < 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture().transpose(undo[orientation]) if orientation in undo else picture()
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert difference(encoded(stored, "JPEG", quality=95, exif=exif), picture()) < 2.0


@pytest.mark.parametrize("size", [64, 128])
def test_a_large_jpeg_is_as_its_exact_area_average(size: int) -> None:
    data = encoded(picture(1024), "JPEG", quality=90)
    full = np.asarray(Image.open(io.BytesIO(data)).convert("L"), np.float64)
    side = 1024 // size
    exact = full.reshape(size, side, size, side).mean(axis=(1, 3))
    pixels = decode(data, size=size, channels=1)[..., 0]
    assert np.abs(pixels - exact).mean() < 1.0


def test_a_small_image_is_enlarged() -> None:
    assert decode(encoded(picture(16), "PNG"), size=SIZE, channels=1).shape == (SIZE, SIZE, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image of a supported kind"),
        (encoded(picture(), "JPEG")[:500], "damaged image"),
        (encoded(picture(), "PNG")[:-200], "damaged image"),
        (encoded(picture(), "ICO"), "not an image of a supported kind"),
        (encoded(Image.new("1", (12000, 12000)), "PNG"), "more than 89000000 pixels"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data, size=SIZE, channels=1)
