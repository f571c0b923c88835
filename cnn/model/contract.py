"""What the function that makes the network must return: what a search can train, save and read.

Keras is imported inside the functions: the driver imports this module too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.model.file_check import foreign_part

if TYPE_CHECKING:
    import keras

# How far the probabilities of an image may be from 1 together: in float32, and in less.
_TOLERANCE, _TOLERANCE_OF_LESS = 1e-3, 2e-2
_MOST_TEXT = 500
_SOFTMAX = 'Dense({}, activation="softmax")'


class Broken(Exception):
    """Says in one line what the network must be, and what it is instead."""


@dataclass(frozen=True)
class Contract:
    """A network takes pixels (batch, size, size, channels) and gives (batch, classes).

    `builder` is who is said to have broken it.
    """

    builder: str
    size: int
    channels: int
    classes: int

    def check_structure(self, model: Any) -> None:
        """Raises Broken where a network cannot be what is wanted; computes nothing."""
        import keras

        if not isinstance(model, keras.Model):
            raise self._broken("return a keras.Model", f"returned {_described(model)}")
        if model.compiled:
            raise self._broken(
                "return a network that is not compiled, since the search compiles it: "
                "learning_rate of [space] is the rate that is searched, final.cooldown lowers it "
                "at the end, model.class_weights weighs the classes",
                f"returned one compiled with {_how_compiled(model)}",
            )
        self._check_input(model)
        self._check_output(model)

    def _check_input(self, model: "keras.Model") -> None:
        wanted = (self.size, self.size, self.channels)
        rule = f"return a network of one input, keras.Input({wanted})"
        # A network whose layers have not been built, and a class of one's own, have none.
        inputs = getattr(model, "inputs", None)
        if not inputs:
            raise self._broken(rule, "returned one that does not say what it takes")
        if len(inputs) != 1:
            raise self._broken(rule, f"returned one of {len(inputs)} inputs")
        batch, *sides = inputs[0].shape
        fits = len(sides) == len(wanted) and all(
            own in (None, side) for own, side in zip(sides, wanted, strict=True)
        )
        if batch is not None or not fits:
            raise self._broken(rule, f"returned one that takes {_shape(inputs[0].shape)}")

    def _check_output(self, model: "keras.Model") -> None:
        classes = self.classes
        rule = f"return a network that gives {_shape((None, classes))}, a probability of each class"
        if len(model.outputs) != 1:
            raise self._broken(rule, f"returned one of {len(model.outputs)} outputs")
        shape = tuple(model.outputs[0].shape)
        if shape == (None, classes):
            return
        softmax = _SOFTMAX.format(classes)
        if len(shape) != 2:
            hint = f"end it with GlobalAveragePooling2D() or Flatten(), and {softmax}"
        elif shape[1] == 1:
            hint = f"end it with {softmax} in place of one output"
        else:
            hint = f"end it with {softmax}"
        raise self._broken(rule, f"returned one that gives {_shape(shape)}: {hint}")

    def check_values(self, model: "keras.Model") -> None:
        """Raises Broken where the outputs on a few images are no probabilities."""
        import keras

        shape = (2, self.size, self.size, self.channels)
        noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        images = np.concatenate([np.full_like(noise[:1], value) for value in (0, 255)] + [noise])
        rule = "give probabilities of the classes"
        softmax = _SOFTMAX.format(self.classes)
        outputs = keras.ops.cast(model(images, training=False), "float32")
        values = keras.ops.convert_to_numpy(outputs)
        if values.shape != (len(images), self.classes):
            what = f"gives {_shape(values.shape)} for {len(images)} images"
            raise self._broken(rule, f"returned a network that {what}: end it with {softmax}")
        if not np.isfinite(values).all():
            raise self._broken(rule, "returned a network whose outputs are not finite numbers")
        exact = model.dtype_policy.compute_dtype == "float32"
        tolerance = _TOLERANCE if exact else _TOLERANCE_OF_LESS
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1 + tolerance:
            raise self._broken(
                f"{rule}, from 0 to 1",
                f"returned a network whose outputs are from {low:.3g} to {high:.3g}: "
                f"end it with {softmax}",
            )
        sums = values.sum(axis=1)
        if abs(sums - 1).max() > tolerance:
            worst = float(sums[abs(sums - 1).argmax()])
            raise self._broken(
                f"{rule}, which are 1 together",
                f"returned a network whose outputs for an image come to {worst:.3g}: "
                f"end it with {softmax}, not with a sigmoid for each class",
            )

    def check_readable(self, model: Any) -> None:
        """Raises Broken where a network could be saved but not read again in Keras's safe mode."""
        import keras

        try:
            content = keras.saving.serialize_keras_object(model)
            found = foreign_part(content)
            if found is not None:
                raise TypeError(f"it has {found}")
            keras.saving.deserialize_keras_object(content, safe_mode=True)
        except Exception as error:
            raise self._broken(
                "return a network of Keras's own layers, which a saved model can be read with in "
                "safe mode; Lambda and layers of one's own cannot",
                f"returned another: {one_line(error)}",
            ) from None

    def _broken(self, rule: str, did: str) -> Broken:
        return Broken(f"model.builder must {rule}, but {self.builder} {did}")


def one_line(error: BaseException) -> str:
    """An exception's type and message, as a line has room for it."""
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
