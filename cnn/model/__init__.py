"""A network: made, described, checked, applied.

`network` makes ours from parameters, `builder` finds a user's own, `contract` and `file_check` say
what is accepted, `card` is RUN/model.json. `classifier` applies a saved model in plain Python,
`predict` with Spark. Keras is imported inside functions alone.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.model.network import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """`cnn.model:build`, the name by which settings know our network's function."""
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("cnn.model.network").build
