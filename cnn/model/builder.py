"""The function that builds the network: an importable one, or one that was passed in Python.

A function from a notebook reaches the executors only as a part of the job. It is never written to
disk or read from there, because a run directory must not be able to supply code.
"""

import importlib
import os
import re
import stat
import sys
from collections.abc import Callable
from typing import Any

from pyspark import cloudpickle

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.settings.schema import DEFAULT_BUILDER, SETTINGS, ModelSettings, Settings

Build = Callable[..., Any]

# The module and name of the function that settings call `cnn.model:build`.
_BUILT_IN = ("cnn.model.network", "build")
# The module in settings.toml of a function that cannot be imported.
_SENT = "__main__"
_RESUME = Option("resume")
# pyspark's pickler accepts lambdas and closures. It has no annotations.
_pickle: Any = cloudpickle


def builder_name(build: Build) -> str:
    """The value of `model.builder` for a function: its importable name, or `__main__:name`."""
    module, name = getattr(build, "__module__", None), getattr(build, "__qualname__", "build")
    imported = getattr(sys.modules.get(str(module)), name, None)
    if (module, name) == _BUILT_IN:
        return DEFAULT_BUILDER
    if module != _SENT and name.isidentifier() and imported is build:
        return f"{module}:{name}"
    last = re.sub(r"\W", "", name.rpartition(".")[2])
    return f"{_SENT}:{last or 'build'}"


def is_sent(builder: str) -> bool:
    """Whether the network's function was passed in Python, and must be passed again to resume."""
    return builder.partition(":")[0] == _SENT


def pack(build: Build) -> bytes:
    """Pickles a function for `load_builder` on an executor. Raises InputError if that fails."""
    if not callable(build):
        raise InputError(f"build must be a function, but got {build!r}")
    try:
        packed: bytes = _pickle.dumps(build)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(
            f"build must be a function that can be sent to executors, but: {reason}"
        ) from None
    return packed


def check_builder(model: ModelSettings, packed: bytes | None) -> None:
    """Raises InputError if executors would have no function to call."""
    if is_sent(model.builder) and packed is None:
        raise InputError(
            f"model.builder must be a function that can be imported, but {model.builder} was "
            "passed in Python: call cnn.tune(..., build=...) there, with resume=True for this run"
        )


def check_named_function(
    run: Directory, settings: Settings, named: bool, option: Option = _RESUME
) -> None:
    """Raises InputError if only a run directory that others can write to names the function.

    `named` tells whether the user names it too, who has given the run as `option`. A run directory
    is trusted if only this user can write to it. It is unknown who can write to an object store.
    """
    builder = settings.model.builder
    if settings.model.is_built_in or named or _is_own(run):
        return
    raise InputError(
        "{} must be used with model.builder={} again, because others may have written {}, which "
        "names it",
        option,
        builder,
        run.uri,
    )


def _is_own(run: Directory) -> bool:
    path = run.local_path
    if path is None:
        return False
    states = [path.stat(), (path / SETTINGS).stat()]
    return all(s.st_uid in {os.getuid(), 0} and not s.st_mode & stat.S_IWOTH for s in states)


def load_builder(builder: str, packed: bytes | None) -> Build:
    """On an executor: the function, from `pack` or imported by its name."""
    if packed is not None:
        sent: Build = _pickle.loads(packed)
        return sent
    module, _, name = builder.partition(":")
    build: Build = getattr(importlib.import_module(module), name)
    return build
