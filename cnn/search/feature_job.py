"""The Spark job that computes the features of the training images, once for all trials.

What it computes and where it goes is described in `cnn.train.features`. Keras is imported inside
the functions because the driver imports this module too.
"""

import dataclasses
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure, last_line
from cnn.core.lock import Locked
from cnn.data.arrays import open_pixels
from cnn.data.splits import TRAIN
from cnn.search.context import Search, isolation, method_of
from cnn.search.hosts_progress import hosts_progress
from cnn.spark.child import Ended
from cnn.spark.retry import TaskFailed, launch, retry_if_lost
from cnn.spark.slots import Slots, task_profile
from cnn.spark.task import Isolation, Task
from cnn.train.features import (
    FeatureSet,
    cached_features,
    compute_chunk,
    missing_chunks,
    read_chunk,
    verify_features,
    write_chunk,
)
from cnn.train.job import Job, device
from cnn.train.pretrained import extract_function, load_extractor

if TYPE_CHECKING:
    from pyspark import SparkContext

# A task has at least so many chunks, if there are enough: loading a backbone takes seconds.
_CHUNKS_A_TASK = 16


@dataclass(frozen=True)
class _Work:
    """A task's share: chunks of one set of features."""

    job: Job
    features: FeatureSet
    chunks: tuple[int, ...]


@dataclass(frozen=True)
class _Done:
    """How a task ended, with the seconds of its computing alone."""

    host: str
    seconds: float = 0.0
    error: str | None = None


def resolved_precision(search: Search, slots: Slots) -> Literal["float32", "bfloat16"]:
    """The precision of features, resolved for an executor's device."""
    phase = search.settings.phases[0]
    context = search.spark.sparkContext
    context.setJobDescription("asking an executor for its precision")
    try:
        found: Literal["float32", "bfloat16"] | str = launch(
            context,
            Task(_precision, isolation(search, phase, slots, 1), _returned),
            search.job(phase),
            max_lost=phase.max_lost,
            profile=task_profile(context, phase.resource_profile),
        )
    except TaskFailed as error:
        raise Error(f"an executor could not load Keras: {failure(error)}") from None
    if found not in ("float32", "bfloat16"):
        raise Error(f"an executor could not load Keras: {found}")
    return "float32" if found == "float32" else "bfloat16"


def _precision(job: Job) -> str:
    from cnn.model.precision import resolve

    return resolve(job.model.precision, device())


def _returned(number: int, job: Job, ended: Ended) -> str:
    return str(ended.value) if ended.returned else ended.reason


def compute_features(search: Search, slots: Slots) -> None:
    """Computes the features of all backbones, and copies them to each host.

    Every host has the images already. What an earlier driver of the run has computed, or an earlier
    run on the same host, is not computed again.

    Raises:
        Error: A feature is not finite, or a host could not compute or copy the features.
    """
    phase = search.settings.phases[0]
    job = search.job(phase)
    for backbone in job.pretrained.backbones:
        features = job.pretrained.features(backbone.name, search.manifest)
        _compute_set(search, job, features, slots)
        _copy_set(search, job, features, slots)


def _compute_set(search: Search, job: Job, features: FeatureSet, slots: Slots) -> None:
    context, name = search.spark.sparkContext, features.backbone.name
    phase = search.settings.phases[0]
    every = features.chunks()
    if not missing_chunks(search.run, features):
        return
    views = f" and {features.views} views of each" if features.views else ""
    search.say(f"computing the features of {features.count:,} images{views} with {name}")
    began = time.monotonic()

    def share() -> list[float]:
        return [1 - len(missing_chunks(search.run, features)) / every]

    parallelism = slots.total
    isolated = dataclasses.replace(isolation(search, phase, slots, parallelism), timeout=None)
    task = Task(_compute, isolated, _concluded)
    context.setJobDescription(f"computing the features of {name}")
    with hosts_progress(share, search.say, what=f"features of {name}"):

        def run() -> list[_Done]:
            # An earlier attempt may have left some.
            work = _shares(job, features, missing_chunks(search.run, features), parallelism)
            return _collect(context, task, work, job)

        _finish(context, run, job, "computed")
    seconds = time.monotonic() - began
    search.say(f"features of {name}: {features.backbone.features} an image, after {seconds:.1f} s")


def _copy_set(search: Search, job: Job, features: FeatureSet, slots: Slots) -> None:
    context = search.spark.sparkContext
    context.setJobDescription(f"copying the features of {features.backbone.name} to each host")
    work = [_Work(job, features, ())] * slots.total
    task = Task(_copy, Isolation(method=method_of(search, job.phase)), _concluded)
    _finish(context, lambda: _collect(context, task, work, job), job, "copied")


def _shares(job: Job, features: FeatureSet, chunks: Sequence[int], slots: int) -> list[_Work]:
    """Divides chunks among tasks: one for each slot, or more if each has enough to do."""
    rounds = max(1, len(chunks) // (slots * _CHUNKS_A_TASK))
    tasks = min(len(chunks), slots * rounds)
    bounds = [len(chunks) * place // tasks for place in range(tasks + 1)]
    return [
        _Work(job, features, tuple(chunks[start:end])) for start, end in itertools.pairwise(bounds)
    ]


def _collect(context: "SparkContext", task: Task, work: Sequence[_Work], job: Job) -> list[_Done]:
    if not work:
        return []
    tasks = context.parallelize(work, len(work)).map(task)
    profile = task_profile(context, job.phase.resource_profile)
    if profile is not None:
        tasks = tasks.withResources(profile)
    found: list[_Done] = tasks.collect()
    return found


def _finish(context: "SparkContext", run: Callable[[], list[_Done]], job: Job, done: str) -> None:
    """Runs the tasks, again if an executor is lost; raises Error if they could not be `done`."""
    try:
        found: list[_Done] = retry_if_lost(context, run, job.phase.max_lost)
    except TaskFailed as error:
        raise Error(f"the features could not be {done}: {failure(error)}") from None
    for one in found:
        if one.error is not None:
            raise Error(f"the features could not be {done} on host {one.host}: {one.error}")


def _compute(work: _Work) -> _Done:
    """In a task's process: computes and writes those chunks that are not there yet."""
    job, features, host = work.job, work.features, socket.gethostname()
    run, began = Directory(job.run), time.monotonic()
    try:
        cached = cached_features(features, job.cache)
        if cached is not None:
            for chunk in work.chunks:
                write_chunk(run, features, chunk, cached.chunk(features.rows(chunk)))
            return _Done(host)
        split = open_pixels(Directory(job.data), job.manifest, TRAIN, job.cache)
        size, channels = job.manifest.size, job.manifest.channels
        network = load_extractor(
            run,
            features.backbone,
            job.cache,
            size=size,
            channels=channels,
            precision=job.pretrained.precision,
        )
        extract = extract_function(network)
        for chunk in work.chunks:
            if read_chunk(run, features, chunk) is None:
                write_chunk(run, features, chunk, compute_chunk(extract, features, split, chunk))
        return _Done(host, time.monotonic() - began)
    except Error as error:
        return _Done(host, error=str(error))


def _copy(work: _Work) -> _Done:
    try:
        verify_features(Directory(work.job.run), work.features, work.job.cache)
        return _Done(socket.gethostname())
    except Locked:  # another task of this host does it
        return _Done(socket.gethostname())
    except Error as error:
        return _Done(socket.gethostname(), error=str(error))


def _concluded(number: int, work: _Work, ended: Ended) -> _Done:
    if ended.returned:
        done: _Done = ended.value
        return done
    return _Done(socket.gethostname(), error=last_line(ended.evidence()))
