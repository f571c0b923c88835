"""What lies under an image's transparency, and around one that is padded."""

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
# On white less than an eighth of all grey levels would be left between this and the background.
_LIGHT = 224


def lay_on(layer: Image.Image, background: Background) -> Image.Image:
    """An RGBA image on a colour, as RGB.

    With "auto" that is white, as on paper, but black where what is to be seen is so light that it
    would vanish on white: where its mean luma, each pixel counted by its alpha, is 224 or more.
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
    """What is around a padded image of mode L or RGB; with "auto" white."""
    colour = _NAMED[background] if isinstance(background, str) else background
    found: Any = Image.new("RGB", (1, 1), colour).convert(mode).getpixel((0, 0))
    return found


def parse_background(value: Any) -> Any:
    """A background as a flag, TOML or JSON has it; for pydantic, whose message it raises."""
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
