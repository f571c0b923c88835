"""The check of a user's own network on an executor before a search begins.

A mistake in the user's function is reported at once and in one line, before any trial fails of it.
TensorFlow is imported inside the functions because the driver imports this module too.
"""

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cnn.core.errors import Error, InputError
from cnn.core.failure_reason import failure
from cnn.core.near_misses import did_you_mean
from cnn.model.builder import is_sent, load_builder
from cnn.model.contract import Broken, one_line
from cnn.search.context import Search, isolation
from cnn.search.space import SearchSpace
from cnn.settings.params import TrainingParams
from cnn.spark.child import Ended
from cnn.spark.retry import TaskFailed, launch
from cnn.spark.slots import count_slots, task_profile
from cnn.spark.task import Task
from cnn.train.job import Job, network
from cnn.train.trial import status_of

# At most this many configurations are tried until one can be built.
_DRAWS = 16
# An error message names at most this many lines of the user's code.
_LINES = 2
_LOOK = (
    "executors look in each worker's installed packages, in the directory where they were started, "
    "and in the files that Spark sent them (--py-files)"
)


@dataclass(frozen=True)
class _Question:
    job: Job
    # In the order in which they are tried.
    configurations: tuple[TrainingParams, ...]


@dataclass(frozen=True)
class _Answer:
    """What is wrong with the function, or a remark if that is unknown."""

    problem: str | None = None
    remark: str | None = None


def check_network(search: Search) -> None:
    """Builds a user's own network on an executor, as trials do.

    If the function raises ValueError, this configuration has no network and the next one is tried.

    Raises:
        InputError: The function breaks its contract (see `cnn.model.contract`).
    """
    model, phase = search.settings.model, search.settings.phases[0]
    if model.is_built_in:
        return
    search.say(f"checking the network of {model.builder}")
    context = search.spark.sparkContext
    context.setJobDescription("checking the network")
    configurations = SearchSpace(phase, kind=model.params_kind).first(_DRAWS)
    try:
        answer: _Answer = launch(
            context,
            Task(_answer, isolation(search, phase, count_slots(context, phase), 1), _concluded),
            _Question(search.job(phase), tuple(configurations)),
            max_lost=phase.max_lost,
            profile=task_profile(context, phase.resource_profile),
        )
    except TaskFailed as error:
        raise Error(f"executors could not check the network: {failure(error)}") from None
    if answer.problem is not None:
        raise InputError(answer.problem)
    if answer.remark is not None:
        search.say(answer.remark)


def _concluded(number: int, question: _Question, ended: Ended) -> _Answer:
    if ended.returned:
        found: _Answer = ended.value
        return found
    # The cause may be this configuration alone; the trials will show.
    return _Answer(remark=f"the network could not be checked: {ended.reason}")


def _answer(question: _Question) -> _Answer:
    job = question.job
    try:
        _check_function(job, question.configurations[0])
        return _check_first(job, question.configurations)
    except Broken as error:
        return _Answer(problem=str(error))


def _check_first(job: Job, configurations: tuple[TrainingParams, ...]) -> _Answer:
    """Checks the first network that can be built."""
    contract, refusal = job.contract(), ""
    for params in configurations:
        try:
            model = network(job, params, 0, precision="float32")
        except ValueError as error:
            refusal = one_line(error)
            continue
        except Broken:
            raise
        except Exception as error:
            if status_of(error) == "out_of_memory":
                refusal = one_line(error)
                continue
            raise Broken(
                f"model.builder must return a network, but {job.model.builder} raised "
                f"{one_line(error)}{_lines(error, job)}"
            ) from None
        contract.check_readable(model)
        try:
            contract.check_values(model)
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"model.builder must return a network that can be called, but that of "
                f"{job.model.builder} raised {one_line(error)}{_lines(error, job)}"
            ) from None
        return _Answer()
    return _Answer(
        remark=f"none of {len(configurations)} configurations could be built; the last: {refusal}"
    )


def _check_function(job: Job, params: TrainingParams) -> None:
    """Raises Broken if the function cannot be loaded or cannot be called as it must be."""
    builder = job.model.builder
    module, _, name = builder.partition(":")
    rule = "model.builder must name a function that executors can import"
    try:
        build = load_builder(builder, job.build)
    except ImportError as error:
        if is_sent(builder):
            rule = "build must be a function that executors can load"
        raise Broken(f"{rule}, but got {builder}: {one_line(error)}; {_LOOK}") from None
    except Exception as error:
        there = vars(sys.modules[module]) if module in sys.modules else {}
        if isinstance(error, AttributeError) and there and name not in there:
            has = [key for key, value in there.items() if callable(value)]
            hint = did_you_mean(name, has)
            raise Broken(f"{rule}, but {module} has no {name}{hint}") from None
        raise Broken(
            f"{rule}, but loading {builder} raised {one_line(error)}{_lines(error, job)}"
        ) from None
    if not callable(build):
        raise Broken(
            f"model.builder must name a function, but {builder} is of type {type(build).__name__}"
        )
    _check_signature(job, build, params)


def _check_signature(job: Job, build: Callable[..., Any], params: TrainingParams) -> None:
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):
        # Some functions written in C have no signature.
        return
    try:
        signature.bind(params, size=0, channels=0, classes=0)
    except TypeError as error:
        raise Broken(
            "model.builder must name a function with the parameters (params, *, size, channels, "
            f"classes), but {job.model.builder} has {signature}: {error}"
        ) from None


def _lines(error: Exception, job: Job) -> str:
    """The last lines of the user's own code in an exception's traceback."""
    paths = sysconfig.get_paths()
    others = [str(files("cnn")), *(paths[k] for k in ("stdlib", "purelib", "platlib"))]
    frames = traceback.extract_tb(error.__traceback__)
    # The named module counts as the user's own code even if it is installed.
    file = getattr(sys.modules.get(job.model.builder.partition(":")[0]), "__file__", None)
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
