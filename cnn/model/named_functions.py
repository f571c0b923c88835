"""The functions that settings name: whether executors have them, and who may name them."""

import os
import stat
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.model.own_function import is_sent
from cnn.settings.objective import first_objective, is_function
from cnn.settings.schema import SETTINGS, Settings
from cnn.settings.toml import assign, overlay

RESUME = Option("resume")
# The settings that may name a function, and how it is passed in Python instead.
BUILDER, OBJECTIVE = "model.builder", "search.objective"
_PASSED = {BUILDER: "build=...", OBJECTIVE: 'search={"objective": ...}'}


def named_functions(settings: Settings) -> Iterator[tuple[str, str]]:
    """The settings that name a user's own function, each with that name, once."""
    if not settings.model.is_built_in:
        yield BUILDER, settings.model.builder
    for objective in dict.fromkeys(phase.objective for phase in settings.phases):
        if is_function(objective):
            yield OBJECTIVE, objective


def names_given(tables: Mapping[str, Any], assignments: Sequence[str]) -> set[str]:
    """The functions that a user names in settings beside a run's own.

    >>> sorted(names_given({"model": {"builder": "my:build"}}, ["search.objective=my:score"]))
    ['my:build', 'my:score']
    """
    assigned: dict[str, Any] = {}
    for assignment in assignments:
        assign(assigned, assignment)
    tree = overlay(dict(tables), assigned)
    # An assignment may reach into a phase: phases.0.objective.
    searches = [tree.get("search", {}), *tree.get("phases", {}).values()]
    objectives = (first_objective(table.get("objective")) for table in searches)
    given = [tree.get("model", {}).get("builder"), *objectives]
    return {name for name in given if isinstance(name, str)}


def check_sent(settings: Settings, passed: Collection[str]) -> None:
    """Raises InputError if executors would have no function to call.

    `passed` are the names of the functions that were passed in Python.
    """
    for setting, name in named_functions(settings):
        if is_sent(name) and name not in passed:
            raise InputError(
                f"{setting} must be a function that can be imported, but {name} was passed in "
                f"Python: call cnn.tune(..., {_PASSED[setting]}) there, with resume=True for this "
                "run"
            )


def check_passed(settings: Settings, passed: Collection[str], option: Option = RESUME) -> None:
    """Raises InputError if a function that was passed with a run is none of the run's.

    `option` is how the run was given.
    """
    known = [name for _, name in named_functions(settings)]
    for name in passed:
        if name not in known:
            raise InputError(
                "{} must be given the run's functions, {}, but got {}",
                option,
                ", ".join(known) or "none",
                name,
            )


def check_named_functions(
    run: Directory, settings: Settings, named: Collection[str], option: Option = RESUME
) -> None:
    """Raises InputError if only a run directory that others can write to names a function.

    `named` are the functions that the user names too, who has given the run as `option`. A run
    directory is trusted if only this user can write to it. It is unknown who can write to an object
    store.
    """
    for setting, name in named_functions(settings):
        # The code of a function that is passed in Python comes from the user.
        if not is_sent(name) and name not in named and not _is_own(run):
            raise InputError(
                "{} must be used with {}={} again, because others may have written {}, which "
                "names it",
                option,
                setting,
                name,
                run.uri,
            )


def _is_own(run: Directory) -> bool:
    path = run.local_path
    if path is None:
        return False
    states = [path.stat(), (path / SETTINGS).stat()]
    return all(s.st_uid in {os.getuid(), 0} and not s.st_mode & stat.S_IWOTH for s in states)
