"""RUN/model.json: what a saved model takes and gives; read before any use of it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from cnn.core.directory import Directory
from cnn.core.documents import Malformed, read_model
from cnn.core.errors import InputError, Option
from cnn.data.decode import Decoding, Fit
from cnn.data.manifest import AnyBackground, AnyRange, Side
from cnn.settings.validation import Frozen

MODEL_CARD = "model.json"
# Images at a time where nothing is trained.
EVALUATION_BATCH = 256


class ModelCard(Frozen):
    """How an image becomes what the network takes, and what its outputs mean.

    The network takes uint8 (batch, size, size, channels) and gives float32 (batch, classes).
    """

    # As of the data set that the model was trained on: an image becomes pixels as its images did.
    schema_version: Literal[1, 2] = 2
    size: Side
    channels: Literal[1, 3]
    color_mode: Literal["grayscale", "rgb"]
    fit: Fit
    # In version 1, which does not have these two, white, and 16 bits over their whole range.
    background: AnyBackground = "white"
    value_range: AnyRange = None
    scaling: str = "none: the network takes uint8 pixels and scales them itself"
    # In the order of the outputs.
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    # What it computes in, and how many images at a time it was tested with.
    precision: Literal["float32"] = "float32"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = EVALUATION_BATCH
    params: dict[str, Any]
    builder: str
    versions: dict[str, str]

    @property
    def decoding(self) -> Decoding:
        """How an image file becomes what the network takes."""
        return Decoding(
            self.size,
            self.channels,
            self.fit,
            self.background,
            self.value_range,
            version_1=self.schema_version == 1,
        )


def read_card(run: Directory) -> ModelCard:
    """Raises InputError where the run has no model that this program can use."""
    try:
        return read_model(ModelCard, run, MODEL_CARD)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "{} must name a finished run, but {} has no {}", Option("model"), run.uri, MODEL_CARD
        ) from None
    except Malformed as error:
        raise InputError(
            f"{run.uri}/{MODEL_CARD} must describe a model, but {error.where or 'it'} is wrong: "
            f"{error}"
        ) from None
