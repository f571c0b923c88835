"""A user's own function: an importable one, or one that was passed in Python.

A function from a notebook reaches the executors only as a part of the job. It is never written to
disk or read from there, because a run directory must not be able to supply code.
"""

import importlib
import re
import sys
from collections.abc import Callable
from typing import Any

from pyspark import cloudpickle

from cnn.core.errors import InputError

# The module in settings.toml of a function that cannot be imported.
_SENT = "__main__"
# pyspark's pickler accepts lambdas and closures. It has no annotations.
_pickle: Any = cloudpickle


def function_name(function: Callable[..., Any], otherwise: str) -> str:
    """The name of a function in settings: package.module:name, or `__main__:name` if it is sent.

    `otherwise` is the name of a sent function that has none.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", otherwise)
    imported = getattr(sys.modules.get(str(module)), name, None)
    if module != _SENT and name.isidentifier() and imported is function:
        return f"{module}:{name}"
    last = re.sub(r"\W", "", name.rpartition(".")[2])
    return f"{_SENT}:{last or otherwise}"


def is_sent(name: str) -> bool:
    """Whether a function was passed in Python, and must be passed again to resume."""
    return name.partition(":")[0] == _SENT


def pack(function: Callable[..., Any], argument: str) -> bytes:
    """Pickles a function for `load_function` on an executor.

    Raises InputError, in which `argument` names the function, if that fails.
    """
    if not callable(function):
        raise InputError(f"{argument} must be a function, but got {function!r}")
    try:
        packed: bytes = _pickle.dumps(function)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{argument} must be a function that can be sent to executors, but: {reason}"
        ) from None
    return packed


def load_function(name: str, packed: bytes | None) -> Callable[..., Any]:
    """On an executor: the function, from `pack` or imported by its name."""
    if packed is not None:
        sent: Callable[..., Any] = _pickle.loads(packed)
        return sent
    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return found
