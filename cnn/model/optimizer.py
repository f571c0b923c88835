"""Adam with a lower learning rate for some of the variables."""

from collections.abc import Sequence
from typing import Any

import keras


class TwoRateAdam(keras.optimizers.Adam):
    """Adam (Kingma and Ba, 2015, arXiv:1412.6980) in which some variables learn more slowly.

    Scaling their gradients would not do, because Adam's steps do not depend on the gradients'
    scale. There is one state, so that checkpoints and schedules work as with Adam itself.
    """

    def __init__(
        self, learning_rate: float, slow: Sequence[keras.Variable] = (), factor: float = 1.0
    ) -> None:
        """`slow` variables have `factor` times the learning rate."""
        super().__init__(learning_rate, name="adam")
        self._slow = tuple(slow)
        self._factor = factor
        self._factors: list[float] = []

    def build(self, variables: Any) -> None:
        super().build(variables)
        slow = {id(variable) for variable in self._slow}
        self._factors = [self._factor if id(one) in slow else 1.0 for one in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = self._factors[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * factor)
