"""Applies a run's model to new images in plain Python, without Spark.

Keras, and with it TensorFlow, is imported only when a model is loaded.
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
from cnn.data.decoding.decode import Unreadable, decode_file, reduce_array
from cnn.model.card import ModelCard, read_card
from cnn.model.file_check import MODEL, check_model_file

if TYPE_CHECKING:
    import keras

    from cnn.model.export import Format

Image = str | Path | bytes | np.ndarray
# The number of real images with which an exported network is compared.
_COMPARED = 32


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        prediction: The class with the highest probability.
        probability: The probability of that class.
        probabilities: The probability of each class, in the order of the model's outputs.
    """

    prediction: str
    probability: float
    probabilities: dict[str, float]


class Classifier:
    """A run's model with its preprocessing: classifies images in one process, without Spark.

    Attributes:
        model: The Keras model, from uint8 pixels to float32 probabilities.
        card: What describes it: its classes, and how an image becomes pixels.

    >>> from cnn import Classifier
    >>> classifier = Classifier.load(run)
    >>> found = classifier.predict(image)
    >>> found.prediction in classifier.card.classes
    True
    >>> found.probability == max(found.probabilities.values())
    True
    """

    def __init__(self, model: "keras.Model", card: ModelCard, run: Directory | None = None) -> None:
        """Wraps a model that is already loaded; `run` is its run directory, if known."""
        self.model = model
        self.card = card
        self._run = run

    @classmethod
    def load(cls, run: str | Path) -> Self:
        """Loads the model of a finished run.

        The model is read in Keras's safe mode, which refuses a file that contains code.

        Args:
            run: The run directory, as a path or a URI such as `s3://bucket/runs/first`.

        Returns:
            A classifier, whose model is deterministic.

        Raises:
            InputError: There is no finished run, or its model cannot be read or contains code.

        >>> Classifier.load(run).model.output_shape
        (None, 2)
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
                # A damaged or malicious file can make Keras raise any error.
                first = str(error).partition("\n")[0]
                raise InputError(
                    f"{directory.uri}/{MODEL} must be a model that can be read in safe mode, but: "
                    f"{first or type(error).__name__}"
                ) from None
        shape = (None, card.size, card.size, card.channels)
        if (model.input_shape, model.output_shape) != (shape, (None, len(card.classes))):
            raise InputError(
                f"{directory.uri}/{MODEL} must match its model.json, but has the input "
                f"{model.input_shape} and the output {model.output_shape}"
            )
        return cls(without_randomness(model), card, directory)

    def pixels(self, image: Image) -> np.ndarray:
        """Converts an image to the network's input, exactly as the training images were.

        Args:
            image: A path, the bytes of an image file, or an array: uint8 (height, width) or
                (height, width, 1, 3 or 4 channels).

        Returns:
            uint8 (size, size, channels), with the values of `card`.

        Raises:
            Unreadable: The image cannot be decoded, for a short reason.

        >>> Classifier.load(run).pixels(image).shape[:2]
        (32, 32)
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
        """Classifies one image, or several.

        Args:
            image: An image as for `pixels`, or a list or tuple of images.

        Returns:
            A Prediction, or a list of one per image in the same order.

        Raises:
            InputError: An image cannot be read; the message names it.

        >>> classifier = Classifier.load(run)
        >>> one, two = classifier.predict([image, image])
        >>> one == two
        True
        >>> round(sum(one.probabilities.values()), 3)
        1.0
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
                    f"an image must be readable, but {which} is not: {reason}"
                ) from None
        rows = self.probabilities(np.stack(pixels))
        return [self._prediction(row) for row in rows]

    def _prediction(self, row: np.ndarray) -> Prediction:
        best = int(row.argmax())
        named = dict(zip(self.card.classes, map(float, row), strict=True))
        return Prediction(self.card.classes[best], float(row[best]), named)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Applies the network to pixels, in batches of `card.batch_size`.

        Args:
            pixels: uint8 (n, size, size, channels), such as stacked arrays from `pixels`.

        Returns:
            float32 (n, classes), in the order of `card.classes`.

        >>> classifier = Classifier.load(run)
        >>> classifier.probabilities(classifier.pixels(image)[np.newaxis]).shape
        (1, 2)
        """
        size = self.card.batch_size
        batches = [pixels[start : start + size] for start in range(0, len(pixels), size)]
        return np.concatenate([np.asarray(self.model.predict_on_batch(x)) for x in batches])

    def export(self, path: str | Path, format: "Format" = "tf_saved_model") -> None:
        """Writes the network for use without this program.

        The exported network is loaded again and compared with this one on images of the run. If
        their probabilities differ, nothing is written.

        Args:
            path: A folder for a TensorFlow SavedModel, or a file for ONNX (the extra `[onnx]`). An
                earlier export is replaced.
            format: "tf_saved_model" or "onnx". The input of both is uint8 (n, size, size,
                channels), as from `pixels`; the output is float32 (n, classes).

        Raises:
            InputError: `path` contains something else, or the extra is not installed.
            Error: The probabilities of the exported network differ.

        >>> Classifier.load(run).export(out)
        >>> (Path(out) / "saved_model.pb").exists()
        True
        """
        from cnn.model.export import export_model

        images = self._pictures()
        export_model(self.model, Path(path), format, images, self.probabilities(images))

    def _pictures(self) -> np.ndarray:
        """Images for the comparison with an exported network: those of the report, and noise."""
        from cnn.model.picture_file import read_pngs

        shape = (self.card.size, self.card.size, self.card.channels)
        noise = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
        found = list(noise)
        for png in read_pngs(self._run, _COMPARED) if self._run is not None else []:
            # The file cannot be trusted.
            with suppress(Unreadable):
                found.append(self.pixels(png))
        return np.stack(found)
