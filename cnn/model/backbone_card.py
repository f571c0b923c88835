"""What is known of a backbone without Keras: its record, and the images that suit it."""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from cnn.model.applications import application, is_file
from cnn.model.backbone_file import read_side
from cnn.settings.validation import Frozen, PositiveInt


class Backbone(Frozen):
    """A pretrained network that turns images into features.

    Its input is float32 (batch, side, side, 3), RGB pixels from 0 to 255.
    """

    # As the space names it: a name of keras.applications, or a path or URI.
    name: Annotated[str, Field(min_length=1)]
    # Of its file, FOLDER/<sha256>.keras.
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    # Height and width of its images; None: it takes any.
    side: PositiveInt | None
    features: PositiveInt
    parameters: Annotated[int, Field(ge=0)]
    # Floating-point operations for an image; None if they are unknown.
    operations: Annotated[int, Field(ge=0)] | None = None
    # The layers with weights, of which fine-tuning trains the last ones.
    weighted_layers: Annotated[int, Field(ge=0)]
    keras_version: str

    @property
    def file_name(self) -> str:
        """The name of its file in the folder of backbones."""
        return f"{self.sha256}.keras"


def short_name(backbone: str) -> str:
    """A backbone as people are shown it: a file without its folder; other text is unchanged.

    >>> short_name("s3://bucket/nets/own.keras"), short_name("resnet50"), short_name("a/b")
    ('own.keras', 'resnet50', 'a/b')
    """
    return backbone.rpartition("/")[2] if backbone.endswith(".keras") else backbone


def advice(backbone: Backbone, *, size: int, channels: int) -> str | None:
    """How to preprocess images so that they suit a backbone better, or None if they suit it.

    Args:
        backbone: The backbone.
        size: Height and width of the stored images.
        channels: 1 for grayscale, 3 for RGB.
    """
    side = backbone.side
    enlarged = side is not None and size < side
    if channels == 3 and not enlarged:
        return None
    takes = "RGB of any size" if side is None else f"{side}x{side} RGB"
    color = "grey" if channels == 1 else "RGB"
    return (
        f"{backbone.name} takes {takes}, but the images are {size}x{size} {color}: "
        f"jobs/preprocess.py --for {shlex.quote(backbone.name)} stores them so"
    )


def image_settings(backbone: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of preprocessing, with those that suit a backbone where none were given.

    Args:
        backbone: A name of keras.applications, or the path or URI of a .keras file.
        given: The settings that the user gave; they win.

    Raises:
        InputError: There is no such backbone, or it cannot be one.
    """
    side = read_side(backbone) if is_file(backbone) else application(backbone).side
    suited = {"color_mode": "rgb"} if side is None else {"color_mode": "rgb", "image_size": side}
    return {**suited, **given}
