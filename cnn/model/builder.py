"""The function that makes the network: one that can be imported, or one that was sent from Python.

A function of a notebook crosses to executors as part of the job alone. It is never written to disk,
and none is ever read from there: a run directory must not be able to bring code along.
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

# Where the function that settings know as `cnn.model:build` is defined.
_OURS = ("cnn.model.network", "build")
# What settings.toml says of a function that cannot be imported.
_SENT = "__main__"
# pyspark's own pickler takes lambdas and closures. It has no types.
_pickle: Any = cloudpickle


def builder_name(build: Build) -> str:
    """What `model.builder` is for a function: where it can be imported from, or `__main__:name`."""
    module, name = getattr(build, "__module__", None), getattr(build, "__qualname__", "build")
    imported = getattr(sys.modules.get(str(module)), name, None)
    if (module, name) == _OURS:
        return DEFAULT_BUILDER
    if module != _SENT and name.isidentifier() and imported is build:
        return f"{module}:{name}"
    last = re.sub(r"\W", "", name.rpartition(".")[2])
    return f"{_SENT}:{last or 'build'}"


def is_sent(builder: str) -> bool:
    """Whether a run's network is made by a function that must be given anew."""
    return builder.partition(":")[0] == _SENT


def pack(build: Build) -> bytes:
    """A function for `load_builder` on an executor. Raises InputError where it cannot be sent."""
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
    """Raises InputError where executors would have no function to call."""
    if is_sent(model.builder) and packed is None:
        raise InputError(
            f"model.builder must be a function that can be imported, but {model.builder} was given "
            "in Python: call cnn.tune(..., build=...) there, with resume=True to go on with a run"
        )


def check_named_function(run: Directory, settings: Settings, named: bool) -> None:
    """Raises InputError where a function would be called because others may have named it.

    `named`: whether the user names it too. A run directory is trusted with that where it is this
    user's own; who may write to an object store cannot be known.
    """
    builder = settings.model.builder
    if settings.model.is_built_in or named or _is_own(run):
        return
    raise InputError(
        "{} must be given model.builder={} again, since {}, which names it, may have been written "
        "by others",
        Option("resume"),
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
    """The function itself, on an executor."""
    if packed is not None:
        sent: Build = _pickle.loads(packed)
        return sent
    module, _, name = builder.partition(":")
    build: Build = getattr(importlib.import_module(module), name)
    return build
