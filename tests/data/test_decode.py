"""Every kind of image file becomes the right pixels, every damaged one a reason."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.images import encoded

from cnn.data.decoding.decode import Decoding, Fit, Unreadable, decode

SIZE = 32


def picture(size: int = 64) -> Image.Image:
    """A smooth RGB picture that is unlike its mirror images."""
    y, x = np.mgrid[0:size, 0:size] / size
    channels = (255 * x, 255 * y, 255 * (0.5 + 0.5 * np.sin(4 * x + 9 * y * y)))
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


def area_average(image: Image.Image, mode: str = "L") -> np.ndarray:
    """The exact mean of each block of pixels, by numpy."""
    array = np.asarray(image.convert(mode), np.float64)
    side = array.shape[0] // SIZE
    blocks = array.reshape(SIZE, side, SIZE, side, -1)
    return blocks.mean(axis=(1, 3))


def difference(data: bytes, reference: Image.Image, channels: int = 1) -> float:
    mode = "L" if channels == 1 else "RGB"
    pixels = decode(data, Decoding(SIZE, channels))
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
    for how in (Decoding(SIZE, 1, value_range=(0, 65535)), Decoding(SIZE, 1, version_1=True)):
        assert np.abs(decode(data, how) - area_average(picture())).mean() < 1.0


def test_transparency_is_laid_on_white() -> None:
    image = picture().convert("RGBA")
    image.putalpha(0)
    assert (decode(encoded(image, "PNG"), Decoding(SIZE, 3)) == 255).all()


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
    pixels = decode(data, Decoding(size, 1))[..., 0]
    assert np.abs(pixels - exact).mean() < 1.0


def test_a_small_image_is_enlarged() -> None:
    assert decode(encoded(picture(16), "PNG"), Decoding(SIZE, 1)).shape == (SIZE, SIZE, 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image in a supported format"),
        (encoded(picture(), "JPEG")[:500], "damaged image"),
        (encoded(picture(), "PNG")[:-200], "damaged image"),
        (encoded(picture(), "ICO"), "not an image in a supported format"),
        (encoded(Image.new("1", (12000, 12000)), "PNG"), "more than 89000000 pixels"),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data, Decoding(SIZE, 1))


def exact(image: Image.Image, size: int) -> np.ndarray:
    """The average of each target pixel's area, whole or in part, in float64."""

    def along(array: np.ndarray) -> np.ndarray:
        edges = np.linspace(0, len(array), size + 1)
        sums = np.vstack([np.zeros((1, array.shape[1])), np.cumsum(array, axis=0)])
        at = [np.interp(edges, np.arange(len(sums)), column) for column in sums.T]
        return np.diff(np.array(at).T, axis=0) * size / len(array)

    return along(along(np.asarray(image.convert("L"), np.float64)).T).T


SIZES = [32, 36, 42, 60, 63, 64, 100, 124, 128, 131, 200, 224, 256]


def from_exact(image: Image.Image, size: int) -> float:
    """How far a picture, enlarged to 1024x1024, is decoded from its exact average, in levels."""
    data = encoded(image.resize((1024, 1024), Image.Resampling.BICUBIC), "JPEG", quality=90)
    found = decode(data, Decoding(size, 1))[..., 0]
    return float(np.abs(found - exact(Image.open(io.BytesIO(data)), size)).mean())


@pytest.mark.parametrize("size", SIZES)
def test_reduced_decoding_costs_no_accuracy(size: int) -> None:
    # Rounding to whole levels alone is a quarter of one.
    assert from_exact(detailed(256), size) <= 0.36


@pytest.mark.slow
@pytest.mark.skipif("SHARED" not in os.environ, reason="SHARED names no folder of real images")
@pytest.mark.parametrize("size", SIZES)
def test_real_faces_are_decoded_as_exactly_as_the_readme_says(size: int) -> None:
    paths = sorted(Path(os.environ["SHARED"]).glob("data/comic-faces/**/*.jpg"))
    assert len(paths) == 100
    found = [from_exact(Image.open(path).convert("RGB"), size) for path in paths]
    assert np.mean(found) <= {128: 0.245, 64: 0.295}.get(size, 0.865)


def detailed(size: int) -> Image.Image:
    """A picture with edges and texture."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:size, 0:size] / size
    pixels = 128 + 60 * np.sin(9 * x + 20 * y * y) + 40 * (np.hypot(x - 0.5, y - 0.4) < 0.3)
    return Image.fromarray(
        np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    )


@pytest.mark.parametrize("orientation", [1, 6])
def test_what_is_not_square_is_stretched_cropped_or_padded(orientation: int) -> None:
    pixels = np.zeros((64, 128), np.uint8)
    pixels[:, 32:96] = 200
    pixels[:, :32] = 100
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(pixels), "PNG", exif=exif)

    def fitted(fit: Fit) -> np.ndarray:
        found = decode(data, Decoding(32, 1, fit))[..., 0]
        return np.rot90(found) if orientation == 6 else found

    stretched, cropped, padded = fitted("stretch"), fitted("crop"), fitted("pad")
    assert stretched[16, [4, 16, 28]].tolist() == [100, 200, 0]
    assert (cropped == 200).all()
    assert padded[[2, 29], 16].tolist() == [255, 255]
    assert padded[16, [4, 16, 28]].tolist() == [100, 200, 0]


def test_ycck() -> None:
    image = picture()
    # Inks are what is missing from white, and Pillow turns them round as Adobe's files have them.
    inks = ImageOps.invert(image).convert("YCbCr")
    luma, blue, red = (255 - np.asarray(band) for band in inks.split())
    planes = [Image.fromarray(p) for p in (luma, blue, red, np.zeros_like(luma))]
    data = bytearray(encoded(Image.merge("CMYK", planes), "JPEG", quality=95))
    marker = data.index(b"Adobe") + 11
    assert data[marker] == 0
    data[marker] = 2  # the transform that makes three of the four planes luma and chroma
    assert difference(bytes(data), image, 3) < 3.0
