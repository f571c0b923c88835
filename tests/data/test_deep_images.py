"""Images with more than 8 bits a channel: all their values are read, and scaled as is said."""

import io
import struct
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from support.deep_images import chunk, png, tiff

from cnn.data.decoding.decode import Decoding, Unreadable, decode, values_of
from cnn.data.decoding.deep_images import RangeUnknown, Values
from cnn.data.decoding.deep_value_range import DeepImage, describe_dark, find_range

SIZE = 16


def noise(channels: int, high: int = 65536, low: int = 0) -> np.ndarray:
    return np.random.default_rng(channels).integers(low, high, (SIZE, SIZE, channels))


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip(np.rint((values.astype(float) - low) * 255 / (high - low)), 0, 255)


def pixels(data: bytes, low: float, high: float, channels: int = 1, **how: Any) -> np.ndarray:
    return decode(data, Decoding(SIZE, channels, value_range=(low, high), **how)).astype(int)


GREY = {
    "u2": (0, 4096),
    "i2": (-1024, 3072),
    "i4": (-(2**31), 2**31 - 1),
    "u4": (0, 2**32 - 1),
    "f4": (-3.0, 5.0),
}


@pytest.mark.parametrize("kind", GREY)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [False, True])
def test_grey_tiffs_have_all_their_values(
    kind: str, order: Literal["<", ">"], packed: bool
) -> None:
    low, high = GREY[kind]
    values = np.random.default_rng(0).uniform(low, high, (SIZE, SIZE, 1)).astype(kind)
    data = tiff(values, order=order, packed=packed)
    if (kind, order) == ("u4", ">"):
        with pytest.raises(Unreadable, match="not an image in a supported format"):
            values_of(data)
        return
    found = values_of(data)
    assert found == Values(values.min(), values.max(), kind != "f4")
    np.testing.assert_array_equal(pixels(data, low, high), scaled(values, low, high))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packed", [False, True])
def test_colour_tiffs_have_both_bytes_of_their_values(
    order: Literal["<", ">"], packed: bool
) -> None:
    values = noise(3, 4096).astype(np.uint16)
    data = tiff(values, order=order, packed=packed)
    assert values_of(data) == Values(values.min(), values.max(), True)
    np.testing.assert_array_equal(pixels(data, 0, 4095, 3), scaled(values, 0, 4095))
    # Colour that is multiplied by alpha, and colour that is not.
    alpha = np.full((SIZE, SIZE, 1), 65535)
    alpha[:8] = 0
    layer = np.dstack([values, alpha]).astype(np.uint16)
    for kind in (1, 2):
        data = tiff(layer, order=order, packed=packed, _338=kind)
        found = pixels(data, 0, 4095, 3, background=(10, 20, 30))
        np.testing.assert_array_equal(found[8:], scaled(values[8:], 0, 4095))
        assert (found[:8] == [10, 20, 30]).all()
        assert values_of(data) == Values(values[8:].min(), values[8:].max(), True)


def test_half_transparent_colour_that_is_multiplied_by_alpha_is_divided_by_it() -> None:
    layer = np.full((SIZE, SIZE, 4), 1000, np.uint16)
    layer[..., 3] = 32768
    assert values_of(tiff(layer, _338=1)) == Values(2000, 2000, True)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pngs_have_both_bytes_of_their_values(channels: int) -> None:
    values = noise(channels, 4096)
    colours = values
    if channels in {2, 4}:
        values[..., -1] = 65535
        colours = values[..., :-1]
    data = png(values)
    assert values_of(data) == Values(colours.min(), colours.max(), True)
    found = pixels(data, 0, 4095, 3)
    np.testing.assert_array_equal(found, scaled(colours, 0, 4095) * np.ones(3))
    if channels in {2, 4}:
        values[..., -1] = 0
        assert (pixels(png(values), 0, 4095, background="black") == 0).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_colour_that_a_png_calls_transparent_is(channels: int) -> None:
    values = noise(channels, 4000)
    values[:8] = 4095
    data = png(values, chunk(b"tRNS", struct.pack(f">{channels}H", *[4095] * channels)))
    found = pixels(data, 0, 4095, 3, background=(0, 0, 9))
    assert (found[:8] == [0, 0, 9]).all()
    assert values_of(data) == Values(values[8:].min(), values[8:].max(), True)


def test_colour_in_planes_of_its_own_is_a_reject_that_says_so() -> None:
    with pytest.raises(Unreadable, match="16-bit colour in separate planes"):
        pixels(tiff(noise(3).astype(np.uint16), _284=2), 0, 65535)


def test_white_that_is_zero_stays_white() -> None:
    values = noise(1).astype(np.uint16)
    found = pixels(tiff(values, _262=0), 0, 65535)
    np.testing.assert_array_equal(found, 255 - scaled(values, 0, 65535))


@pytest.mark.parametrize("orientation", [1, 6, 8])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_tiff_that_lies_on_its_side_is_turned(orientation: int, kind: str) -> None:
    values = np.zeros((16, 48, 1), kind)
    values[:, 16:32] = 200
    values[:, 32:] = 100
    found = pixels(tiff(values, _274=orientation), 0, 255)[..., 0]
    upright = np.rot90(found, {1: 0, 6: 1, 8: -1}[orientation])
    assert upright[8, [2, 8, 14]].tolist() == [0, 200, 100]
    assert (upright == upright[0]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_finite_numbers_are_a_reject(value: float) -> None:
    values = np.ones((SIZE, SIZE, 1), np.float32)
    values[3, 4] = value
    for read in (values_of, lambda data: pixels(data, 0, 1)):
        with pytest.raises(Unreadable, match=r"values that are not finite \(NaN or inf"):
            read(tiff(values))


def test_what_is_beyond_the_range_is_clipped() -> None:
    row = [-9, 0, 40, 100, 101, 900, 32767, -32768] * 2
    values = np.array(row * SIZE, np.int16).reshape(SIZE, SIZE, 1)
    found = pixels(tiff(values), 0, 100)[0, :8, 0]
    assert found.tolist() == [0, 0, 102, 255, 255, 255, 255, 0]


def test_without_a_range_the_values_are_said_instead_of_guessed_at() -> None:
    with pytest.raises(RangeUnknown, match="no known value range") as raised:
        decode(tiff(noise(1, 3000, 7).astype(np.uint16)), Decoding(SIZE, 1))
    assert (raised.value.values.low >= 7, raised.value.values.high < 3000) == (True, True)


def test_8_bits_are_never_rescaled() -> None:
    image = Image.fromarray(noise(1, 100)[..., 0].astype(np.uint8))
    sink = io.BytesIO()
    image.save(sink, "PNG")
    assert values_of(sink.getvalue()) is None
    np.testing.assert_array_equal(pixels(sink.getvalue(), 0, 4095)[..., 0], np.asarray(image))


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        # 8, 10, 12, 14 and 16 bits, whatever of them is reached.
        (0, 3, True, (0, 255)),
        (3, 256, True, (0, 1023)),
        (12, 2000, True, (0, 4095)),
        (0, 4095, True, (0, 4095)),
        (0, 4096, True, (0, 16383)),
        (100, 60000, True, (0, 65535)),
        (0, 65536, True, (0, 2**17 - 1)),
        (-1000, 3071, True, (-1024, 4095)),
        (-1024, -3, True, (-1024, 255)),
        # Floating-point values, by what they come near to.
        (0.0, 0.9, False, (0, 1)),
        (0.1, 0.3, False, (0, 1)),
        (0.0, 0.001, False, (0, 2**-9)),
        (0.0, 200.5, False, (0, 255)),
        (0.0, 2.6, False, (0, 4)),
        (-2.1, 2.6, False, (-4, 4)),
        (-1.0, 1.0, False, (-1, 1)),
        (0.0, 4000.0, False, (0, 4095)),
        (0.0, 0.0, False, (0, 1)),
        (0.0, 1e12, False, (0, 2**40)),
    ],
)
def test_a_found_range_is_widened_to_what_it_means(
    low: float, high: float, whole: bool, expected: tuple[float, float]
) -> None:
    images = [DeepImage("a", Values(low, low, whole)), DeepImage("b", Values(low, high, whole))]
    assert find_range(images) == expected


def test_images_that_another_scanner_leaves_black_are_named() -> None:
    images = [DeepImage("a", Values(0, 4000, True)), DeepImage("b", Values(0, 65000, True))]
    assert describe_dark(images[1:], (0, 65535)) is None
    assert describe_dark(images, (0, 65535)) == (
        "warning: 1 of 2 deep training images (such as 'a') have no value above a sixteenth of "
        "0 to 65535 and become nearly black"
    )


def test_version_1_means_what_it_meant() -> None:
    old = Decoding(SIZE, 1, value_range=None, version_1=True, background="white")
    values = noise(1).astype(np.uint16)
    expected = (values.astype(int) * 255 + 32767) // 65535
    np.testing.assert_array_equal(decode(tiff(values), old), expected)
    # Of colour the high byte.
    colour = noise(3).astype(np.uint16)
    found = decode(png(colour), Decoding(SIZE, 3, version_1=True))
    np.testing.assert_array_equal(found, colour >> 8)
    with pytest.raises(Unreadable, match="32-bit values without a stated range"):
        decode(tiff(values.astype(np.float32)), old)
