"""The check of a user's own network on an executor before a search begins.

A mistake in the user's function is reported at once and in one line, before any trial fails of it.
TensorFlow is imported inside the functions because the driver imports this module too.
"""

from dataclasses import dataclass

from cnn.core.errors import Error, InputError
from cnn.core.failure_reason import failure
from cnn.model.contract import Broken, one_line
from cnn.model.named_functions import BUILDER
from cnn.search.context import Search, isolation
from cnn.search.function_check import check_signature, loaded, own_lines
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
                f"{one_line(error)}{own_lines(error, job.model.builder)}"
            ) from None
        contract.check_readable(model)
        try:
            contract.check_values(model)
        except Broken:
            raise
        except Exception as error:
            raise Broken(
                f"model.builder must return a network that can be called, but that of "
                f"{job.model.builder} raised {one_line(error)}{own_lines(error, job.model.builder)}"
            ) from None
        return _Answer()
    return _Answer(
        remark=f"none of {len(configurations)} configurations could be built; the last: {refusal}"
    )


def _check_function(job: Job, params: TrainingParams) -> None:
    """Raises Broken if the function cannot be loaded or cannot be called as it must be."""
    name = job.model.builder
    build = loaded(BUILDER, "build", name, job.build)
    shape = dict.fromkeys(("size", "channels", "classes"), 0)
    check_signature(BUILDER, name, build, "(params, *, size, channels, classes)", params, **shape)
