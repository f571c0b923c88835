"""Spark-distributed hyperparameter search for image classifiers.

>>> from cnn import preprocess, tune, Classifier

Names are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnn.api import preprocess, tune
    from cnn.core.errors import Error, InputError
    from cnn.data.data_set import DataSet
    from cnn.model.classifier import Classifier
    from cnn.run import Run

_WHERE = {
    "Classifier": "cnn.model.classifier",
    "DataSet": "cnn.data.preprocess",
    "Error": "cnn.core.errors",
    "InputError": "cnn.core.errors",
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
