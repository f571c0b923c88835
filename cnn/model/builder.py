"""The name of the function that builds the network."""

from collections.abc import Callable
from typing import Any

from cnn.model.own_function import function_name
from cnn.settings.schema import DEFAULT_BUILDER

Build = Callable[..., Any]

# The module and name of the function that settings call `cnn.model:build`.
_BUILT_IN = ("cnn.model.network", "build")


def builder_name(build: Build) -> str:
    """The value of `model.builder` for a function: its importable name, or `__main__:name`."""
    if (getattr(build, "__module__", None), getattr(build, "__qualname__", None)) == _BUILT_IN:
        return DEFAULT_BUILDER
    return function_name(build, "build")
