"""The colour behind an image's transparent pixels and around a padded image."""

import re
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic_core import PydanticCustomError

Colour = tuple[int, int, int]
Background = Literal["auto", "white", "black"] | Colour

_NAMED: dict[str, Colour] = {
    "auto": (255, 255, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
_NUMBER = re.compile(r" *[0-9]{1,3} *")
# At this luma, less than an eighth of all grey levels separates the image from white.
_LIGHT = 224


def lay_on(layer: Image.Image, background: Background) -> Image.Image:
    """Composites an RGBA image on a background colour; returns an RGB image.

    With "auto" the background is white, or black if the image is too light to be visible on white:
    if its mean luma, weighted by alpha, is 224 or more.
    """
    colour = _NAMED[background] if isinstance(background, str) else background
    if background == "auto" and _is_light(layer):
        colour = _NAMED["black"]
    below = Image.new("RGBA", layer.size, (*colour, 255))
    return Image.alpha_composite(below, layer).convert("RGB")


def _is_light(layer: Image.Image) -> bool:
    alpha = np.asarray(layer.getchannel("A"))
    if alpha.min() == 255:
        return False
    luma = np.asarray(layer.convert("RGB").convert("L"))
    seen = int(alpha.sum(dtype=np.uint64))
    total = int(np.multiply(luma, alpha, dtype=np.uint16).sum(dtype=np.uint64))
    return seen > 0 and total >= _LIGHT * seen


def padding(background: Background, mode: str) -> int | Colour:
    """The colour around a padded image of mode L or RGB; white with "auto"."""
    colour = _NAMED[background] if isinstance(background, str) else background
    found: Any = Image.new("RGB", (1, 1), colour).convert(mode).getpixel((0, 0))
    return found


def parse_background(value: Any) -> Any:
    """Parses a background from a flag, TOML or JSON; raises pydantic's error."""
    if isinstance(value, str):
        if value in _NAMED:
            return value
        value = [int(part) if _NUMBER.fullmatch(part) else None for part in value.split(",")]
    numbers = value if isinstance(value, list | tuple) and len(value) == 3 else [None]
    if all(type(number) is int and 0 <= number <= 255 for number in numbers):
        return tuple(numbers)
    raise PydanticCustomError(
        "background", "must be auto, white, black, or R,G,B of whole numbers from 0 to 255"
    )
