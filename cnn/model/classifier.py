"""A run's model on new images, in plain Python without Spark.

Imports Keras, and with it TensorFlow, only when a model is loaded.
"""

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.data.decode import Unreadable, decode_file, reduce_array
from cnn.model.card import ModelCard, read_card
from cnn.model.file_check import MODEL, check_model_file

if TYPE_CHECKING:
    import keras

    from cnn.model.export import Format

Image = str | Path | bytes | np.ndarray
# Images that an exported network is tried on.
_TRIED = 32


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

    def __init__(self, model: "keras.Model", card: ModelCard, run: Directory | None = None) -> None:
        """`run` is where the model comes from, if that is known."""
        self.model = model
        self.card = card
        self._run = run

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """The model of a finished run, by path or URI.

        It is read in Keras's safe mode: a file with code in it is refused. Raises InputError.
        """
        import keras

        from cnn.model.randomness import without_randomness

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
        return cls(without_randomness(model), card, directory)

    def pixels(self, image: Image) -> np.ndarray:
        """What the network sees of an image: uint8 (size, size, channels).

        An image is a path, a file's bytes, or an array, uint8 (height, width[, 1, 3 or 4]).
        Raises Unreadable with a short reason.
        """
        how = self.card.decoding
        if isinstance(image, np.ndarray):
            return reduce_array(image, how)
        return decode_file(image if isinstance(image, bytes) else Path(image), how)

    @overload
    def predict(self, image: Image) -> Prediction: ...

    @overload
    def predict(self, image: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...

    def predict(self, image: Image | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """Classifies an image, or a list of them.

        Args:
            image: As `pixels` takes it, or a list or tuple of such.

        Returns:
            A Prediction, or a list with one for each image, in order.

        Raises:
            InputError: An image cannot be read; the line names it.

        >>> Classifier.load("runs/mine").predict(["one.jpg", "two.jpg"])[1].probability
        0.98
        """
        if not isinstance(image, list | tuple):
            return self._predict_batch([image], ["the image"])[0]
        found: list[Prediction] = []
        for start in range(0, len(image), self.card.batch_size):
            batch = image[start : start + self.card.batch_size]
            numbers = range(start + 1, start + len(batch) + 1)
            names = [f"image {number} of {len(image)}" for number in numbers]
            found += self._predict_batch(batch, names)
        return found

    def _predict_batch(self, images: Sequence[Image], names: Sequence[str]) -> list[Prediction]:
        pixels = []
        for image, name in zip(images, names, strict=True):
            try:
                pixels.append(self.pixels(image))
            except Unreadable as reason:
                which = image if isinstance(image, str | Path) else name
                raise InputError(
                    f"an image must be one that can be read, but {which} is not: {reason}"
                ) from None
        rows = self.probabilities(np.stack(pixels))
        return [self._prediction(row) for row in rows]

    def _prediction(self, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        named = dict(zip(self.card.classes, map(float, row), strict=True))
        return Prediction(self.card.classes[best], float(row[best]), named)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (n, classes) of uint8 (n, size, size, channels), model.json's batch at a time."""
        size = self.card.batch_size
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([np.asarray(self.model.predict_on_batch(x)) for x in batches])

    def export(self, path: str | Path, format: "Format" = "tf_saved_model") -> None:
        """Writes the network for use without this program.

        What was written is loaded again and must give this classifier's probabilities on the run's
        own pictures; otherwise nothing is there afterwards.

        Args:
            path: A folder for a TensorFlow SavedModel, a file for ONNX (the extra `[onnx]`).
            format: "tf_saved_model" or "onnx". Both take what `pixels` gives, uint8 (n, size, size,
                channels), and give float32 (n, classes).

        Raises:
            InputError: `path` holds something else, or the extra is not installed.
            Error: The exported network gives other probabilities.
        """
        from cnn.model.export import export_model

        images = self._pictures()
        export_model(self.model, Path(path), format, images, self.probabilities(images))

    def _pictures(self) -> np.ndarray:
        """Images to try an exported network on: those of the run's report, and noise."""
        from cnn.model.picture_file import read_pngs

        shape = (self.card.size, self.card.size, self.card.channels)
        noise = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
        found = list(noise)
        for png in read_pngs(self._run, _TRIED) if self._run is not None else []:
            # Others may have written what lies there.
            with suppress(Unreadable):
                found.append(self.pixels(png))
        return np.stack(found)
