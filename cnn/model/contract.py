"""The requirements for a network: a search must be able to train, save and read it.

Keras is imported inside the functions, because the driver imports this module too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.model.file_check import foreign_part

if TYPE_CHECKING:
    import keras

# How far the sum of an image's probabilities may be from 1: in float32, and in lower precision.
_TOLERANCE, _TOLERANCE_OF_LESS = 1e-3, 2e-2
_MOST_TEXT = 500
_SOFTMAX = 'Dense({}, activation="softmax")'


class Broken(Exception):
    """A network breaks the contract; the message has the rule and what was got, in one line."""


@dataclass(frozen=True)
class Contract:
    """A network's input is (batch, size, size, channels), its output (batch, classes).

    `builder` is the name of its function in messages.
    """

    builder: str
    size: int
    channels: int
    classes: int

    def check_structure(self, model: Any) -> None:
        """Raises Broken if a network has the wrong type, input or output; computes nothing."""
        import keras

        if not isinstance(model, keras.Model):
            raise self._broken("return a keras.Model", f"returned {_described(model)}")
        if model.compiled:
            raise self._broken(
                "return a network that is not compiled, because the search compiles it: "
                "learning_rate of [space] is the rate that is searched, final.cooldown lowers it "
                "at the end, model.class_weights weights the classes",
                f"returned one compiled with {_how_compiled(model)}",
            )
        self._check_input(model)
        self._check_output(model)

    def _check_input(self, model: "keras.Model") -> None:
        wanted = (self.size, self.size, self.channels)
        rule = f"return a network with one input, keras.Input({wanted})"
        # A network whose layers have not been built has none, and so may a user's own subclass.
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise self._broken(rule, "returned one without a defined input")
        if len(inputs) != 1:
            raise self._broken(rule, f"returned one with {len(inputs)} inputs")
        batch, *sides = inputs[0].shape
        fits = len(sides) == len(wanted) and all(
            own in (None, side) for own, side in zip(sides, wanted, strict=True)
        )
        if batch is not None or not fits:
            raise self._broken(rule, f"returned one with the input {_shape(inputs[0].shape)}")

    def _check_output(self, model: "keras.Model") -> None:
        classes = self.classes
        shown = _shape((None, classes))
        rule = f"return a network with the output {shown}, a probability of each class"
        if len(model.outputs) != 1:
            raise self._broken(rule, f"returned one with {len(model.outputs)} outputs")
        shape = tuple(model.outputs[0].shape)
        if shape == (None, classes):
            return
        softmax = _SOFTMAX.format(classes)
        if len(shape) != 2:
            hint = f"end it with GlobalAveragePooling2D() or Flatten(), and {softmax}"
        elif shape[1] == 1:
            hint = f"end it with {softmax} instead of one output"
        else:
            hint = f"end it with {softmax}"
        raise self._broken(rule, f"returned one with the output {_shape(shape)}: {hint}")

    def check_values(self, model: "keras.Model") -> None:
        """Raises Broken if the outputs on a few images are not probabilities."""
        import keras

        shape = (2, self.size, self.size, self.channels)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        images = np.concatenate([np.full_like(noise[:1], value) for value in (0, 255)] + [noise])
        rule = "give probabilities of the classes"
        softmax = _SOFTMAX.format(self.classes)
        outputs = keras.ops.cast(model(images, training=False), "float32")
        values = keras.ops.convert_to_numpy(outputs)
        if values.shape != (len(images), self.classes):
            what = f"the output {_shape(values.shape)} for {len(images)} images"
            raise self._broken(rule, f"returned a network with {what}: end it with {softmax}")
        if not np.isfinite(values).all():
            raise self._broken(rule, "returned a network whose outputs are not finite numbers")
        exact = model.dtype_policy.compute_dtype == "float32"
        tolerance = _TOLERANCE if exact else _TOLERANCE_OF_LESS
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1 + tolerance:
            raise self._broken(
                f"{rule}, from 0 to 1",
                f"returned a network whose outputs range from {low:.3g} to {high:.3g}: "
                f"end it with {softmax}",
            )
        sums = values.sum(axis=1)
        if abs(sums - 1).max() > tolerance:
            worst = float(sums[abs(sums - 1).argmax()])
            raise self._broken(
                f"{rule}, which add up to 1",
                f"returned a network whose outputs for an image add up to {worst:.3g}: "
                f"end it with {softmax}, not with a sigmoid for each class",
            )

    def check_readable(self, model: Any) -> None:
        """Raises Broken if a network could not be saved and read again in Keras's safe mode."""
        import keras

        try:
            content = keras.saving.serialize_keras_object(model)
            found = foreign_part(content)
            if found is not None:
                raise TypeError(f"it has {found}")
            keras.saving.deserialize_keras_object(content, safe_mode=True)
        except Exception as error:
            raise self._broken(
                "return a network of Keras's own layers, because safe mode cannot read a saved "
                "model with Lambda or custom layers",
                f"returned another: {one_line(error)}",
            ) from None

    def _broken(self, rule: str, did: str) -> Broken:
        return Broken(f"model.builder must {rule}, but {self.builder} {did}")


def one_line(error: BaseException) -> str:
    """An exception's type and message in one line, cut if it is long."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _described(value: Any) -> str:
    kind = type(value)
    if value is None:
        return "None"
    return f"an object of {kind.__module__}.{kind.__qualname__}"


def _how_compiled(model: "keras.Model") -> str:
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", None)
    name = name or getattr(loss, "__name__", None) or type(loss).__name__
    optimizer = type(model.optimizer).__name__
    return f"{optimizer} and {name}" if loss is not None else optimizer


def _shape(shape: Any) -> str:
    each = ("batch" if place == 0 and side is None else side for place, side in enumerate(shape))
    return f"({', '.join(map(str, each))})"
