"""Loads a user's own function as a trial does; a mistake is one line that names the setting."""

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from cnn.core.near_misses import did_you_mean
from cnn.model.contract import Broken, one_line
from cnn.model.own_function import is_sent, load_function

# An error message names at most this many lines of the user's code.
_LINES = 2
_LOOK = (
    "executors look in each worker's installed packages, in the directory where they were started, "
    "and in the files that Spark sent them (--py-files)"
)


def loaded(setting: str, argument: str, name: str, packed: bytes | None) -> Callable[..., Any]:
    """The function that a setting names.

    Args:
        setting: The setting, such as model.builder.
        argument: What a function that is passed in Python is called.
        name: The function's name in the setting.
        packed: The function, if it was passed in Python.

    Raises:
        Broken: It cannot be loaded or is no function.
    """
    module, _, attribute = name.partition(":")
    rule = f"{setting} must name a function that executors can import"
    try:
        function = load_function(name, packed)
    except ImportError as error:
        if is_sent(name):
            rule = f"{argument} must be a function that executors can load"
        raise Broken(f"{rule}, but got {name}: {one_line(error)}; {_LOOK}") from None
    except Exception as error:
        there = vars(sys.modules[module]) if module in sys.modules else {}
        if isinstance(error, AttributeError) and there and attribute not in there:
            has = [key for key, value in there.items() if callable(value)]
            hint = did_you_mean(attribute, has)
            raise Broken(f"{rule}, but {module} has no {attribute}{hint}") from None
        raise Broken(
            f"{rule}, but loading {name} raised {one_line(error)}{own_lines(error, name)}"
        ) from None
    if not callable(function):
        raise Broken(
            f"{setting} must name a function, but {name} is of type {type(function).__name__}"
        )
    return function


def check_signature(
    setting: str,
    name: str,
    function: Callable[..., Any],
    parameters: str,
    *args: Any,
    **kwargs: Any,
) -> None:
    """Raises Broken if a function cannot be called with the arguments, named `parameters`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some functions written in C have no signature.
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise Broken(
            f"{setting} must name a function with the parameters {parameters}, but {name} has "
            f"{signature}: {error}"
        ) from None


def own_lines(error: Exception, name: str) -> str:
    """The last lines of the user's own code in an exception's traceback, in brackets."""
    paths = sysconfig.get_paths()
    others = [str(files("cnn")), *(paths[k] for k in ("stdlib", "purelib", "platlib"))]
    frames = traceback.extract_tb(error.__traceback__)
    # The named module counts as the user's own code even if it is installed.
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    own = [
        frame
        for frame in frames
        if frame.filename == file
        or not (frame.filename.startswith("<") or _is_below(frame.filename, others))
    ]
    said = [
        f"{Path(frame.filename).name}, line {frame.lineno}, in {frame.name}"
        + (f": {frame.line}" if frame.line else "")
        for frame in own[-_LINES:]
    ]
    return f" ({'; '.join(said)})" if said else ""


def _is_below(file: str, folders: list[str]) -> bool:
    return any(Path(file).is_relative_to(folder) for folder in folders)
