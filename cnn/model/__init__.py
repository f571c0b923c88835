"""Networks: building, describing, checking and applying them.

`network` builds the built-in network from parameters. A user's own function may build it
(`builder`) and others may score it: `passed_functions` puts them into settings, `own_function`
sends and loads them, `named_functions` says who may name them. Pixels are uint8 up to the network,
which scales them itself (`pixel_scaling`). `backbone` turns pretrained networks (`applications`, or
a user's file: `backbone_file`) into layers behind stored pixels, and `head` puts the probabilities
of the classes behind them. `trainable` says which layers are trained, and `backbone_card` is what
the driver knows of a backbone. `operations` counts what a network computes. `contract` and
`file_check` check networks and saved models, `card` is RUN/model.json. `classifier` applies a saved
model in plain Python, `predict` with Spark. Keras is imported only inside functions of modules that
the driver imports.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.model.network import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    """`cnn.model:build`, the name of the built-in network's function in settings."""
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("cnn.model.network").build
