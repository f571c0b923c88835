"""The images' pixels on every host before trials begin: no trial's clock counts that."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnn.core.directory import Directory
from cnn.core.errors import Error, failure
from cnn.core.lock import Locked
from cnn.data.arrays import arrays_size, is_built, verify_pixels
from cnn.data.splits import TRAIN
from cnn.rundir.heartbeat import HostTeller
from cnn.spark.child import Ended, Method, supervise
from cnn.spark.launch import TaskFailed, retry_if_lost
from cnn.spark.task import Isolation, Task
from cnn.train.job import Job

if TYPE_CHECKING:
    from pyspark import SparkContext


@dataclass(frozen=True)
class PixelsOnHost:
    """Called on a host that has no pixels yet, it brings them there.

    In a process of its own, like all work: reading from an object store starts threads, which a
    process that is to fork a trial must not have. If it fails the trial says why.
    """

    job: Job
    method: Method

    def __call__(self) -> None:
        if not is_built(self.job.manifest, TRAIN, self.job.cache):
            supervise(_bring, self.job, method=self.method)


@dataclass(frozen=True)
class _Brought:
    """What a task came to. `built` is None where another task of its host sees to it."""

    host: str
    built: bool | None = None
    error: str | None = None


def prepare_hosts(
    context: "SparkContext", job: Job, tasks: int, method: Method, say: Callable[[str], None]
) -> None:
    """Builds the arrays on each host, or reads and checks those that it has.

    `tasks` is the number of slots: as they are all free, Spark gives each of them one. A host that
    joins later is served by its first trial's PixelsOnHost. Raises Error.
    """
    began = time.monotonic()
    size = f"{arrays_size(job.manifest, TRAIN) / 2**20:,.0f} MiB"
    say(f"bringing the images to the executors' hosts, {size} each")
    context.setJobDescription("bringing the images to each host")
    work = Task(_bring, Isolation(method=method), _concluded)
    try:
        found: list[_Brought] = retry_if_lost(
            context,
            lambda: context.parallelize([job] * tasks, tasks).map(work).collect(),
            job.phase.max_lost,
        )
    except TaskFailed as error:
        raise Error(f"the images cannot be brought to the hosts: {failure(error)}") from None
    for brought in found:
        if brought.error is not None:
            raise Error(f"the images cannot be brought to host {brought.host}: {brought.error}")
    hosts = {brought.host for brought in found}
    built = {brought.host for brought in found if brought.built}
    seconds = time.monotonic() - began
    say(f"hosts with the images: {len(hosts)}, {len(built)} of them new, after {seconds:.1f} s")


def _bring(job: Job) -> _Brought:
    host = socket.gethostname()
    data, tell = Directory(job.data), HostTeller(Directory(job.run), host)
    try:
        return _Brought(host, verify_pixels(data, job.manifest, TRAIN, job.cache, tell))
    except Locked:
        return _Brought(host)
    except Error as error:
        return _Brought(host, error=str(error))


def _concluded(number: int, job: Job, ended: Ended) -> _Brought:
    if ended.returned:
        brought: _Brought = ended.value
        return brought
    return _Brought(socket.gethostname(), error=ended.evidence().strip().splitlines()[-1])
