"""RUN/model.json: what a saved model takes and gives; read before any use of it."""

from typing import Any, Literal

from pydantic import ValidationError

from cnn.batches import EVALUATION_BATCH
from cnn.images import Fit
from cnn.settings import Frozen, InputError, PositiveInt
from cnn.storage import Directory

MODEL_CARD = "model.json"


class ModelCard(Frozen):
    """How an image becomes what the network takes, and what its outputs mean.

    The network takes uint8 (batch, size, size, channels) and gives float32 (batch, classes).
    """

    schema_version: Literal[1] = 1
    size: PositiveInt
    channels: Literal[1, 3]
    color_mode: Literal["grayscale", "rgb"]
    fit: Fit
    scaling: str = "none: the network takes uint8 pixels and scales them itself"
    # In the order of the outputs.
    classes: tuple[str, ...]
    # What it computes in, and how many images at a time it was tested with.
    precision: Literal["float32"] = "float32"
    batch_size: PositiveInt = EVALUATION_BATCH
    params: dict[str, Any]
    builder: str
    versions: dict[str, str]


def read_card(run: Directory) -> ModelCard:
    """Raises InputError where the run has no model that this program can use."""
    try:
        text = run.read(MODEL_CARD)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"--model must name a finished run, but {run.uri} has no {MODEL_CARD}"
        ) from None
    try:
        return ModelCard.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise InputError(
            f"{run.uri}/{MODEL_CARD} must describe a model, but {where} is wrong: {first['msg']}"
        ) from None
