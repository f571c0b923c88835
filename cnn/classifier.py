"""A run's model on new images, in plain Python without Spark.

Imports Keras, and with it TensorFlow, only when a model is loaded.
"""

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from cnn.card import ModelCard, read_card
from cnn.images import Unreadable, decode, reduce_array
from cnn.model_file import MODEL, check_model_file
from cnn.settings import InputError
from cnn.storage import reachable

if TYPE_CHECKING:
    import keras

Image = str | Path | bytes | np.ndarray


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one image."""

    # The class with the highest probability, and that probability.
    prediction: str
    probability: float
    # By class, in the order of the model's outputs.
    probabilities: dict[str, float]


class Classifier:
    """A saved model with the preprocessing that it was trained with.

    >>> Classifier.load("runs/mine").predict("face.jpg").prediction
    'faces'
    """

    def __init__(self, model: "keras.Model", card: ModelCard) -> None:
        self.model = model
        self.card = card

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """The model of a finished run, by path or URI.

        It is read in Keras's safe mode: a file with code in it is refused. Raises InputError.
        """
        import keras

        directory = reachable(run)
        card = read_card(directory)
        check_model_file(directory)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / MODEL
            filesystem, source = directory.path(MODEL)
            with filesystem.open_input_stream(source) as stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file)
            try:
                model = keras.models.load_model(path, safe_mode=True, compile=False)
            except Exception as error:
                # Keras raises whatever a damaged or hostile file provokes.
                first = str(error).partition("\n")[0]
                raise InputError(
                    f"{directory.uri}/{MODEL} must be a model that can be read in safe mode, but: "
                    f"{first or type(error).__name__}"
                ) from None
        shape = (None, card.size, card.size, card.channels)
        if (model.input_shape, model.output_shape) != (shape, (None, len(card.classes))):
            raise InputError(
                f"{directory.uri}/{MODEL} must fit its model.json, but takes {model.input_shape} "
                f"and gives {model.output_shape}"
            )
        return cls(model, card)

    def pixels(self, image: Image) -> np.ndarray:
        """What the network sees of an image: uint8 (size, size, channels).

        An image is a path, a file's bytes, or an array, uint8 (height, width[, 1, 3 or 4]).
        Raises Unreadable with a short reason.
        """
        card = self.card
        reduce = partial(decode, size=card.size, channels=card.channels, fit=card.fit)
        if isinstance(image, np.ndarray):
            return reduce_array(image, size=card.size, channels=card.channels, fit=card.fit)
        if isinstance(image, bytes):
            return reduce(image)
        try:
            with Path(image).open("rb") as file:
                return reduce(file)
        except OSError as error:
            raise Unreadable(f"unreadable: {error.strerror}") from None

    def predict(self, image: Image) -> Prediction:
        """Classifies one image, as `pixels` takes it."""
        row = self.probabilities(self.pixels(image)[None])[0]
        best = int(row.argmax())
        named = dict(zip(self.card.classes, map(float, row), strict=True))
        return Prediction(self.card.classes[best], float(row[best]), named)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (n, classes) of uint8 (n, size, size, channels), model.json's batch at a time."""
        size = self.card.batch_size
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([np.asarray(self.model.predict_on_batch(x)) for x in batches])

    def export(
        self, path: str | Path, format: Literal["tf_saved_model", "onnx"] = "tf_saved_model"
    ) -> None:
        """Writes the network for use without this program, by Keras's own `export`.

        A TensorFlow SavedModel is a folder, ONNX (the extra `[onnx]`) a file. Both take what
        `pixels` gives, uint8 (n, size, size, channels), and give float32 (n, classes).
        """
        # Keras converts to ONNX only what has been called.
        self.model(np.zeros((1, self.card.size, self.card.size, self.card.channels), np.uint8))
        self.model.export(str(path), format=format, verbose=False)
