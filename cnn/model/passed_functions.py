"""Functions that a user passes in Python, put into settings by their names."""

from collections.abc import Mapping
from typing import Any

from cnn.core.errors import InputError
from cnn.model.builder import Build, builder_name
from cnn.model.own_function import function_name, is_sent, pack
from cnn.settings.objective import first_objective


def with_builder(
    model: Mapping[str, Any], build: Build, functions: dict[str, bytes]
) -> dict[str, Any]:
    """The settings of the model with the name of a function that builds it.

    `functions` gets the function if executors cannot import it.
    """
    if "builder" in model:
        raise InputError("build cannot be combined with model.builder, but both were given")
    name = builder_name(build)
    _send(name, pack(build, "build"), functions)
    return {**model, "builder": name}


def with_objective(
    search: Mapping[str, Any] | None, functions: dict[str, bytes], *, keeps: bool
) -> Mapping[str, Any] | None:
    """The settings of the search in which a function as `objective` is replaced by its name.

    `functions` gets the function if executors cannot import it. A run that `keeps` its settings,
    because it is resumed or extended, knows the name of such a function.
    """
    objective = search.get("objective") if isinstance(search, Mapping) else None
    function = first_objective(objective)
    if search is None or not callable(function):
        return search
    name = function_name(function, "objective")
    _send(name, pack(function, "objective"), functions)
    if keeps and is_sent(name):
        return {key: value for key, value in search.items() if key != "objective"}
    costs = objective[1:] if isinstance(objective, list | tuple) else []
    return {**search, "objective": [name, *costs] if costs else name}


def _send(name: str, packed: bytes, functions: dict[str, bytes]) -> None:
    if is_sent(name):
        if name in functions:
            raise InputError(
                f"build and objective must have different names, but both are called {name}"
            )
        functions[name] = packed
