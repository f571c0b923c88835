"""How much a network computes for an image, counted from its layers."""

import math
from collections.abc import Iterator

import keras
from keras import layers

from cnn.model.backbone_card import Backbone

# Each weight of their kernels is used once at each position of the output, or of the input.
_AT_OUTPUT = (
    *(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    *(layers.SeparableConv1D, layers.SeparableConv2D),
)
_AT_INPUT = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)


def operations(model: keras.Model) -> int | None:
    """Counts the floating-point operations of a network for one image.

    They are two, a multiplication and an addition, for each use of a weight of a convolution or a
    dense layer. What takes few in comparison is left out: biases, normalisation, activation
    functions and pooling. The count is the same on every machine, unlike a measured time.

    Args:
        model: A network whose images have a fixed size, channels last.

    Returns:
        The number, or None if it is unknown: of a layer of another kind that has matrices of
        weights, such as attention, and of images of any size.

    Examples:
        >>> image = keras.Input((8, 8, 1))
        >>> map = layers.Conv2D(4, 3, padding="same")(image)
        >>> classes = layers.Dense(2)(layers.Flatten()(map))
        >>> operations(keras.Model(image, classes))  # 2 x (8 x 8 x 3 x 3 x 4 + 256 x 2)
        5632
    """
    counts = [_uses(layer) for layer in _flat(model)]
    known = [count for count in counts if count is not None]
    return 2 * sum(known) if len(known) == len(counts) else None


def with_backbone(backbone: Backbone, head: keras.Model) -> int | None:
    """The operations of a backbone and a head on it together; None if one is unknown."""
    own = operations(head)
    return None if own is None or backbone.operations is None else backbone.operations + own


def _flat(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _uses(layer: keras.layers.Layer) -> int | None:
    """How often weights of the layer are used for one image; None if it is unknown."""
    kernels = [weight.shape for weight in layer.weights if len(weight.shape) > 1]
    if not kernels:
        return 0
    try:
        read, written = tuple(layer.input.shape), tuple(layer.output.shape)
    except (AttributeError, ValueError):
        # It is used more than once, or by code of another layer.
        return None
    if None in read[1:] + written[1:]:
        return None
    if isinstance(layer, layers.EinsumDense):
        (kernel,) = kernels
        return math.prod(written[1:]) * _summed(layer.equation, kernel)
    if isinstance(layer, _AT_OUTPUT + _AT_INPUT):
        positions = (written if isinstance(layer, _AT_OUTPUT) else read)[1:-1]
        return math.prod(positions) * sum(map(math.prod, kernels))
    return None


def _summed(equation: str, kernel: tuple[int, ...]) -> int:
    """How many products an `EinsumDense` layer sums for each value of its output.

    >>> _summed("abc,cd->abd", (5, 7))
    5
    """
    inputs, output = equation.split("->")
    letters = inputs.split(",")[1]
    return math.prod(
        size for letter, size in zip(letters, kernel, strict=True) if letter not in output
    )
