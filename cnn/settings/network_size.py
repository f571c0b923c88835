"""How large the built-in network of a configuration is, before anything is built.

Plain arithmetic, so that the driver can refuse a configuration without a framework. What is built
has the same numbers (`tests/model/test_operations.py`).
"""

import itertools
from typing import NamedTuple

from cnn.settings.params import ModelParams


class NetworkSize(NamedTuple):
    """The parameters of a network, and its floating-point operations for one image."""

    parameters: int
    # None if they are unknown.
    operations: int | None

    def beyond(self, max_parameters: int | None, max_operations: int | None) -> str | None:
        """Why a network is larger than these limits of [search] allow, or None.

        >>> NetworkSize(parameters=154, operations=288).beyond(200, 200)
        '288 operations, but search.max_operations allows 200'
        """
        for name, number, most in [
            ("parameters", self.parameters, max_parameters),
            ("operations", self.operations, max_operations),
        ]:
            if number is not None and most is not None and number > most:
                return f"{number:,} {name}, but search.max_{name} allows {most:,}"
        return None


def network_size(params: ModelParams, *, size: int, channels: int, classes: int) -> NetworkSize:
    """The size of a network from scratch for `size` x `size` images.

    Operations are counted as in `cnn.model.operations`.

    >>> network_size(ModelParams(conv_layers=1, filters=4), size=32, channels=1, classes=2)
    NetworkSize(parameters=28938, operations=122528)
    """
    parameters, uses, side, maps = 0, 0, size, channels
    for filters in params.layer_filters():
        # A 3x3 convolution without padding, then 2x2 max pooling.
        kernel = 9 * maps * filters
        side -= 2
        uses += side * side * kernel
        # Without a bias there are four numbers of batch normalisation for each filter.
        parameters += kernel + (4 if params.batch_norm else 1) * filters
        side, maps = side // 2, filters
    width = maps if params.pooling == "average" else side * side * maps
    dense = dense_size((width, *params.layer_units(), classes))
    return NetworkSize(parameters + dense.parameters, 2 * uses + (dense.operations or 0))


def head_size(params: ModelParams, *, features: int, classes: int) -> NetworkSize:
    """The size of a head on a backbone with that many features.

    >>> head_size(ModelParams(backbone="any", head_units=8), features=16, classes=2)
    NetworkSize(parameters=186, operations=288)
    """
    hidden = (params.head_units,) if params.head_units else ()
    dense = dense_size((features, *hidden, classes))
    # Mean and variance of each feature.
    return NetworkSize(dense.parameters + 2 * features, dense.operations)


def dense_size(widths: tuple[int, ...]) -> NetworkSize:
    """The size of dense layers, given the width of their input and of each layer.

    >>> dense_size((16, 8, 2))
    NetworkSize(parameters=154, operations=288)
    """
    uses = sum(before * after for before, after in itertools.pairwise(widths))
    return NetworkSize(uses + sum(widths[1:]), 2 * uses)
