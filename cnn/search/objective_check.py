"""The check of a user's own objectives on an executor before a search begins.

A mistake in the user's function is reported at once and in one line, before any trial fails of it.
"""

import math
from dataclasses import dataclass

import numpy as np

from cnn.core.errors import Error, InputError
from cnn.core.failure_reason import failure
from cnn.model.contract import Broken, one_line
from cnn.model.named_functions import OBJECTIVE, named_functions
from cnn.search.context import Search, isolation
from cnn.search.function_check import check_signature, loaded, own_lines
from cnn.spark.child import Ended
from cnn.spark.retry import TaskFailed, launch
from cnn.spark.slots import count_slots, task_profile
from cnn.spark.task import Task

# The images of each class in the example.
_IMAGES = 4


@dataclass(frozen=True)
class _Question:
    # Their names, each with the function itself if it cannot be imported.
    functions: tuple[tuple[str, bytes | None], ...]
    classes: int


def check_objectives(search: Search) -> None:
    """Calls a user's own objectives with an example, in a process on an executor.

    Raises:
        InputError: One cannot be imported or called, or returns no finite number.
    """
    settings = search.settings
    names = [name for setting, name in named_functions(settings) if setting == OBJECTIVE]
    if not names:
        return
    search.say(f"checking the objective {', '.join(names)}")
    context, phase = search.spark.sparkContext, settings.phases[0]
    context.setJobDescription("checking the objective")
    functions = tuple((name, search.functions.get(name)) for name in names)
    try:
        problem: str | None = launch(
            context,
            Task(_answer, isolation(search, phase, count_slots(context, phase), 1), _concluded),
            _Question(functions, len(search.manifest.classes)),
            max_lost=phase.max_lost,
            profile=task_profile(context, phase.resource_profile),
        )
    except TaskFailed as error:
        raise Error(f"executors could not check the objective: {failure(error)}") from None
    if problem is not None:
        raise InputError(problem)


def _concluded(number: int, question: _Question, ended: Ended) -> str | None:
    """What is wrong with a function; None if nothing is."""
    if ended.returned:
        problem: str | None = ended.value
        return problem
    names = ", ".join(name for name, _ in question.functions)
    rule = f"{OBJECTIVE} must return a finite number"
    return f"{rule}, but the process that called {names} ended: {ended.reason}"


def _answer(question: _Question) -> str | None:
    problems = (problem_of(name, packed, question.classes) for name, packed in question.functions)
    return next(filter(None, problems), None)


def problem_of(name: str, packed: bytes | None, classes: int) -> str | None:
    """What is wrong with a user's objective, in one line; None if nothing is.

    Args:
        name: The function's name in the settings.
        packed: The function, if it cannot be imported (see cnn.model.own_function).
        classes: The number of classes.
    """
    try:
        _check(name, packed, classes)
    except Broken as error:
        return str(error)
    return None


def _check(name: str, packed: bytes | None, classes: int) -> None:
    function = loaded(OBJECTIVE, "objective", name, packed)
    labels = np.repeat(np.arange(classes), _IMAGES)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(classes), len(labels))
    example = probabilities, labels
    check_signature(OBJECTIVE, name, function, "(probabilities, labels)", *example)
    rule = f"{OBJECTIVE} must return a finite number"
    try:
        value = function(*example)
    except Exception as error:
        raise Broken(
            f"{rule}, but {name} raised {one_line(error)}{own_lines(error, name)}"
        ) from None
    try:
        number = float(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise Broken(f"{rule}, but {name} returned a value of type {kind}") from None
    if not math.isfinite(number):
        raise Broken(f"{rule}, but {name} returned {number}")
