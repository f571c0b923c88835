"""What lies on transparency stays to be seen, and what cannot be seen is found."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import drawing, encoded

from cnn.core.errors import InputError, Option
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.backgrounds import Background
from cnn.data.decoding.decode import Decoding, decode, decode_and_look, reduce_array
from cnn.settings.validation import validate


def decoded(image: Image.Image, background: Background = "auto", channels: int = 1) -> np.ndarray:
    return decode(encoded(image), Decoding(32, channels, background=background))


@pytest.mark.parametrize(
    ("colour", "corner"),
    [
        ((255, 255, 255), 0),
        ((235, 235, 235), 0),
        # Yellow, which is nearly as light as white.
        ((255, 255, 0), 0),
        ((200, 200, 200), 255),
        ((255, 0, 0), 255),
        ((0, 0, 0), 255),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_light_drawing_lies_on_black_and_any_other_on_white(
    colour: tuple[int, int, int], corner: int, channels: int
) -> None:
    found = decoded(drawing(*colour), channels=channels)
    assert (found[0, 0] == corner).all()
    assert found.max() - found.min() > 50


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
@pytest.mark.parametrize("mode", ["LA", "P", "RGBA"])
def test_white_drawings_of_every_kind_are_seen(kind: str, mode: str) -> None:
    image = drawing(255, 255, 255)
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    sink = io.BytesIO()
    image.save(sink, kind)
    found = decode(sink.getvalue(), Decoding(32, 1))
    assert found[0, 0, 0] == 0
    assert found.max() > 250


def test_only_what_is_to_be_seen_counts() -> None:
    # Black where nobody sees it, white where everybody does.
    image = drawing(0, 0, 0)
    image.paste((255, 255, 255, 255), (8, 8, 56, 56))
    assert decoded(image)[0, 0, 0] == 0


def test_an_image_without_transparency_is_never_touched() -> None:
    opaque = Image.new("RGBA", (64, 64), (250, 250, 250, 255))
    for background in ("auto", "white", "black"):
        assert (decoded(opaque, background) == 250).all()
        assert (decoded(opaque.convert("L"), background) == 250).all()


def test_what_is_wholly_transparent_is_white() -> None:
    assert (decoded(Image.new("RGBA", (64, 64))) == 255).all()


@pytest.mark.parametrize(
    ("background", "colour"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ((10, 200, 30), (10, 200, 30))],
)
def test_a_background_that_is_named_is_the_one(background: Any, colour: tuple[int, ...]) -> None:
    found = decoded(drawing(255, 255, 255), background, channels=3)
    assert tuple(found[0, 0]) == colour
    # Around a padded image too, whether it is transparent or not.
    wide = Image.new("RGB", (64, 32), (100, 100, 100))
    for channels, expected in ((3, colour), (1, Image.new("RGB", (1, 1), colour).convert("L"))):
        padded = decode(encoded(wide), Decoding(32, channels, "pad", background))
        want = np.asarray(expected).reshape(-1)
        assert (padded[0, 0] == want).all()
        assert (padded[16, 16] == 100).all()


def test_padding_is_white_where_each_image_has_its_own_background() -> None:
    wide = drawing(255, 255, 255).resize((64, 32))
    found = decode(encoded(wide), Decoding(32, 1, "pad"))
    assert (found[0, 0, 0], found[8, 0, 0]) == (255, 0)


def test_an_array_with_alpha_is_treated_alike() -> None:
    image = drawing(255, 255, 255)
    for background in ("auto", "white", (1, 2, 3)):
        how = Decoding(32, 3, background=background)
        np.testing.assert_array_equal(
            reduce_array(np.asarray(image), how), decode(encoded(image), how)
        )


@pytest.mark.parametrize(
    ("image", "fit", "expected"),
    [
        (Image.new("L", (64, 64), 90), "stretch", True),
        (Image.new("RGB", (64, 64), (255, 0, 0)), "stretch", True),
        (Image.new("L", (64, 32), 90), "pad", True),
        (Image.linear_gradient("L"), "stretch", False),
        (Image.linear_gradient("L").point(lambda value: 90 + value // 40), "stretch", True),
        (Image.linear_gradient("L").point(lambda value: 90 + value // 20), "stretch", False),
        (drawing(255, 255, 255), "stretch", False),
        (Image.new("RGBA", (64, 64)), "stretch", True),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_blank_is_what_has_hardly_two_grey_levels(
    image: Image.Image, fit: Any, expected: bool, channels: int
) -> None:
    assert decode_and_look(encoded(image), Decoding(32, channels, fit))[1] is expected


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"background": "black"}, "black"),
        ({"background": "1,2,255"}, (1, 2, 255)),
        ({"background": [1, 2, 255]}, (1, 2, 255)),
        ({"value_range": "-1024,3071.5"}, (-1024, 3071.5)),
        ({"value_range": [0, 1]}, (0, 1)),
    ],
)
def test_settings_are_read_as_flags_and_as_json(given: dict[str, Any], read: Any) -> None:
    settings = DataSettings(**given)
    (key,) = given
    assert getattr(settings, key) == read
    assert DataSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"background": "pink"}, "--background must be auto, white, black, or R,G,B of whole numb"),
        ({"background": "1,2,256"}, "from 0 to 255, but got '1,2,256'"),
        ({"background": "1,2"}, "--background must be"),
        ({"background": [1, 2.5, 3]}, "--background must be"),
        ({"background": {}}, "--background must be"),
        ({"value_range": "5"}, "--value-range must be LOW,HIGH, two numbers with LOW less"),
        ({"value_range": "9,5"}, "less than HIGH, but got '9,5'"),
        ({"value_range": "0,nan"}, "--value-range must be"),
        ({"value_range": [0, 1e999]}, "--value-range must be"),
        ({"value_range": 3}, "--value-range must be"),
    ],
)
def test_settings_that_are_none_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        validate(DataSettings, given, Option)
    assert message in str(raised.value)
