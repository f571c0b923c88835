"""Copies the images to every host before trials begin, so that no trial's time includes it."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.core.failure_reason import failure, last_line
from cnn.core.lock import Locked
from cnn.data.arrays import arrays_size, is_built, verify_pixels
from cnn.data.splits import TRAIN
from cnn.rundir.heartbeat import HostReporter
from cnn.spark.child import Ended, Method, supervise
from cnn.spark.retry import TaskFailed, retry_if_lost
from cnn.spark.task import Isolation, Task
from cnn.train.features import missing_chunks, on_host, open_features
from cnn.train.job import Job

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass(frozen=True)
class PixelsOnHost:
    """Copies the images to the host on which it is called, if they are not there.

    It does so in a separate process, because reading from an object store starts threads, which a
    process that will fork a trial must not have. If it fails, the trial reports why.
    """

    job: Job
    method: Method

    def __call__(self) -> None:
        if not is_built(self.job.manifest, TRAIN, self.job.cache) or not self._has_features():
            supervise(_copy, self.job, method=self.method)

    def _has_features(self) -> bool:
        job, pretrained = self.job, self.job.pretrained
        wanted = (pretrained.features(b.name, job.manifest) for b in pretrained.backbones)
        return all(on_host(features, job.cache) for features in wanted)


@dataclass(frozen=True)
class _Copied:
    """A task's result. `built` is None if another task copies the images to the same host."""

    host: str
    built: bool | None = None
    error: str | None = None


def prepare_hosts(
    context: "SparkContext", job: Job, tasks: int, method: Method, say: Callable[[str], None]
) -> None:
    """Copies the images to each host, or checks those that it already has.

    A host that joins later gets them from its first trial's `PixelsOnHost`.

    Args:
        context: The session's.
        job: What executors are told.
        tasks: The number of slots. All are free, so that Spark gives one task to each.
        method: How processes start.
        say: Prints a line.

    Raises:
        Error: A host could not get the images.
    """
    began = time.monotonic()
    size = f"{arrays_size(job.manifest, TRAIN) / 2**20:,.0f} MiB"
    say(f"copying the images to the executors' hosts, {size} each")
    context.setJobDescription("copying the images to each host")
    work = Task(_copy, Isolation(method=method), _concluded)
    try:
        found: list[_Copied] = retry_if_lost(
            context,
            lambda: context.parallelize([job] * tasks, tasks).map(work).collect(),
            job.phase.max_lost,
        )
    except TaskFailed as error:
        raise Error(f"the images could not be copied to the hosts: {failure(error)}") from None
    for copied in found:
        if copied.error is not None:
            raise Error(f"the images could not be copied to host {copied.host}: {copied.error}")
    hosts = {copied.host for copied in found}
    built = {copied.host for copied in found if copied.built}
    seconds = time.monotonic() - began
    say(f"hosts with the images: {len(hosts)}, {len(built)} of them new, after {seconds:.1f} s")


def _copy(job: Job) -> _Copied:
    host = socket.gethostname()
    data, report = Directory(job.data), HostReporter(Directory(job.run), host)
    try:
        built = verify_pixels(data, job.manifest, TRAIN, job.cache, report)
        for backbone in job.pretrained.backbones:
            features = job.pretrained.features(backbone.name, job.manifest)
            # They are computed after the images are there; a host that joins later copies both.
            if not missing_chunks(Directory(job.run), features):
                open_features(Directory(job.run), features, job.cache)
        return _Copied(host, built)
    except Locked:
        return _Copied(host)
    except Error as error:
        return _Copied(host, error=str(error))


def _concluded(number: int, job: Job, ended: Ended) -> _Copied:
    if ended.returned:
        copied: _Copied = ended.value
        return copied
    return _Copied(socket.gethostname(), error=last_line(ended.evidence()))
