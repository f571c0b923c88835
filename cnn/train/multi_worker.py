"""One network trained by several executors together, each on its share of every batch.

It uses TensorFlow's MultiWorkerMirroredStrategy in one barrier stage of Spark.
`cnn.train.several_machines` has the training step, `cnn.train.fit` does the rest. TensorFlow is
imported inside the functions.
"""

import dataclasses
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pyspark import BarrierTaskContext, SparkContext
from pyspark.resource import ResourceProfile

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.core.failure_reason import last_line
from cnn.rundir.trials import write_log
from cnn.spark.child import Ended
from cnn.spark.interruptible import interruptible
from cnn.spark.task import Isolation, Task
from cnn.train.final import (
    FinalJob,
    checkpoint_and_seed,
    final_images,
    fit_winner,
    winner_before,
    winner_stage,
)
from cnn.train.hosts import PixelsOnHost
from cnn.train.job import checkpoint
from cnn.train.several_machines import SeveralMachines

WORKERS = Option("final.workers", flag="--final-workers")


@dataclass(frozen=True)
class Worker:
    """What one of the workers that train together is told."""

    final: FinalJob
    attempt: int
    rank: int
    # host:port of all workers, by rank.
    addresses: tuple[str, ...]


class WorkerError(Exception):
    """A worker's process died, and with it the whole stage."""


@dataclass(frozen=True)
class BeforeTogether:
    """An attempt of the winner's training, before several executors continue it together."""

    final: FinalJob
    attempt: int


def run_before(asked: BeforeTogether) -> None:
    """Trains what comes before the winner's last stage, on one executor, into checkpoints."""
    winner_before(asked.final, asked.attempt, *final_images(asked.final))


def check_workers(context: SparkContext, workers: int, slots: int) -> None:
    """Raises InputError if Spark would wait forever for so many workers to run at once."""
    if workers > slots:
        raise InputError(
            "{} must be at most the number of slots, {}, but got {}", WORKERS, slots, workers
        )
    if workers > 1 and context.getConf().get("spark.dynamicAllocation.enabled") == "true":
        raise InputError(
            "{} must be 1 with spark.dynamicAllocation.enabled, because barrier stages do not "
            "support it, but got {}",
            WORKERS,
            workers,
        )


def train_together(
    context: SparkContext,
    final: FinalJob,
    attempt: int,
    isolation: Isolation,
    profile: ResourceProfile | None = None,
) -> dict[str, Any]:
    """Trains the winner to the end and leaves its last state in the attempt's checkpoint.

    If a worker dies, all workers end and this raises Spark's error. Called again, it continues from
    the checkpoint of the last epoch. Spark itself would retry only with spark.task.maxFailures
    above 1, with which it would also retry the tasks of trials.

    Returns:
        "accuracy" on the validation images and the epochs "continued" from a checkpoint, or
        {"error": why the training failed}.
    """

    def work(_: Iterable[int]) -> Iterator[dict[str, Any]]:
        yield _worker_task(final, attempt, isolation)

    stage = context.parallelize(range(final.workers), final.workers)
    if profile is not None:
        stage = stage.withResources(profile)
    found: dict[str, Any] = interruptible(context, stage.barrier().mapPartitions(work).collect)[0]
    return found


def _worker_task(final: FinalJob, attempt: int, isolation: Isolation) -> dict[str, Any]:
    context = BarrierTaskContext.get()
    rank = context.partitionId()
    host = context.getTaskInfos()[rank].address.rpartition(":")[0]
    with socket.socket() as port:
        # TensorFlow's server needs the port unbound. This socket reserves it only until every
        # worker has chosen its own.
        port.bind(("", 0))
        addresses = context.allGather(f"{host}:{port.getsockname()[1]}")
    worker = Worker(final, attempt, rank, tuple(addresses))
    before = PixelsOnHost(final.job, isolation.method)
    found: dict[str, Any] = Task(run_worker, isolation, _concluded, rank, before)(worker)
    return found


def _concluded(rank: int, worker: Worker, ended: Ended) -> dict[str, Any]:
    if ended.returned:
        return dict(ended.value)
    evidence = ended.evidence()
    write_log(Directory(worker.final.job.run), f"final-worker-{rank}", evidence)
    raise WorkerError(f"worker {rank} of the winner's training failed: {last_line(evidence)}")


def run_worker(worker: Worker) -> dict[str, Any]:
    """Trains as one of the workers, in its own process; the first one writes checkpoints."""
    _reach_directly(worker.addresses)
    cluster = {"worker": list(worker.addresses)}
    task = {"type": "worker", "index": worker.rank}
    # TensorFlow reads it when the strategy is created, which must come before anything else.
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(gpus[:1], "GPU")
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    from cnn.train.fit import Diverged

    final, job = worker.final, worker.final.job
    train, validation = final_images(final)
    name, seed = checkpoint_and_seed(final, worker.attempt)
    # One executor has trained the head of a network that is fine-tuned: it is read here.
    earlier = winner_before(final, worker.attempt, train, validation)
    with strategy.scope():
        stage = winner_stage(final, worker.attempt, train, validation, earlier)
        (model,), (own,) = stage.models, stage.parts
        model.optimizer.build(model.trainable_variables)
        saved = checkpoint(job, final.params, name, seed, [train])
        start = saved.load([model])
        machines = SeveralMachines(strategy, model, len(job.manifest.classes), worker.rank)
        machines.check_same(len(start.epochs) if start else 0)
        extra: dict[str, Any] = {"reports": worker.rank == 0}
        if worker.rank == 0:
            # Every epoch, because a worker that dies costs all workers their time.
            extra |= {
                "on_epoch": lambda progress: saved.try_save([model], progress),
                "on_end": lambda progress: saved.save([model], progress),
            }
        try:
            own = dataclasses.replace(own, machines=machines)
            fit_winner(final, own, worker.attempt, stage, start=start, **extra)
        except Diverged as error:
            return {"error": str(error)}
        found = machines.evaluate(validation, len(job.manifest.classes))
    return {"accuracy": found.accuracy, "continued": len(start.epochs) if start else 0}


def _reach_directly(addresses: Iterable[str]) -> None:
    """Makes gRPC, which connects the workers, bypass any proxy for their hosts.

    gRPC reads the first of these variables that is set.
    """
    hosts = [address.rpartition(":")[0] for address in addresses]
    for name in ("no_grpc_proxy", "no_proxy"):
        known = [host for host in os.environ.get(name, "").split(",") if host.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*known, *hosts]))
