"""RUN/model.json: the inputs and outputs of a saved model, read before the model is used."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.data.data_settings import AnyBackground, AnyRange, Side
from cnn.data.decoding.decode import Decoding, Fit
from cnn.settings.validation import Frozen

MODEL_CARD = "model.json"
# The batch size when nothing is trained: as many pixels as in so many images of this side.
_IMAGES, _SIDE, _FEWEST = 256, 128, 8


def evaluation_batch(side: int) -> int:
    """The batch size when nothing is trained, so that large images do not take too much memory.

    Args:
        side: Height and width of the largest images that a network or its backbone sees.

    >>> evaluation_batch(64), evaluation_batch(224), evaluation_batch(2000)
    (256, 83, 8)
    """
    return min(_IMAGES, max(_FEWEST, _IMAGES * _SIDE**2 // side**2))


class ModelCard(Frozen):
    """How an image becomes the network's input, and what its outputs mean.

    The input is uint8 (batch, size, size, channels), the output float32 (batch, classes).
    """

    # Images are decoded like those of the data set that the model was trained on, in its version.
    schema_version: Literal[1, 2] = 2
    size: Side
    channels: Literal[1, 3]
    color_mode: Literal["grayscale", "rgb"]
    fit: Fit
    # Version 1 lacks these two: it uses white, and the whole range of 16 bits.
    background: AnyBackground = "white"
    value_range: AnyRange = None
    scaling: str = "none: the network takes uint8 pixels and scales them itself"
    # In the order of the outputs.
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    # What it computes in, and the batch size with which it was tested.
    precision: Literal["float32"] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = _IMAGES
    params: dict[str, Any]
    builder: str
    versions: dict[str, str]

    @property
    def decoding(self) -> Decoding:
        """How an image file becomes the network's input."""
        return Decoding(
            self.size,
            self.channels,
            self.fit,
            self.background,
            self.value_range,
            version_1=self.schema_version == 1,
        )


def read_card(run: Directory) -> ModelCard:
    """The description of a run's model. Raises InputError if there is none that can be used."""
    try:
        return read_model(ModelCard, run, MODEL_CARD)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "{} must name a finished run, but {} has no {}", Option("model"), run.uri, MODEL_CARD
        ) from None
    except Malformed as error:
        raise InputError(
            f"{run.uri}/{MODEL_CARD} must describe a model, but {error.where or 'it'} is invalid: "
            f"{error}"
        ) from None
