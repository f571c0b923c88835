"""Spark-distributed hyperparameter search for image classifiers.

>>> from cnn import preprocess, tune, Classifier

Nothing is imported before it is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.api import preprocess, tune
    from cnn.classifier import Classifier
    from cnn.errors import Error, InputError
    from cnn.preprocessing import DataSet
    from cnn.run import Run

_WHERE = {
    "Classifier": "cnn.classifier",
    "DataSet": "cnn.preprocessing",
    "Error": "cnn.errors",
    "InputError": "cnn.errors",
    "Run": "cnn.run",
    "preprocess": "cnn.api",
    "tune": "cnn.api",
}

__all__ = ["Classifier", "DataSet", "Error", "InputError", "Run", "preprocess", "tune"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
