"""One network trained by several executors together, each on its share of every batch.

TensorFlow's MultiWorkerMirroredStrategy in one barrier stage of Spark. Keras's `fit` fails under
that strategy, so the step is ours; epochs, the best weights and checkpoints are `cnn.train.fit`'s.
The only module that needs TensorFlow itself; it is imported inside the functions, on executors.
"""

import dataclasses
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pyspark import BarrierTaskContext, SparkContext
from pyspark.resource import ResourceProfile

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.rundir.trials import write_log
from cnn.spark.child import Ended
from cnn.spark.interruptible import interruptible
from cnn.spark.task import Isolation, Task
from cnn.train.final import FinalJob, attempt_of, final_images, fit_winner
from cnn.train.hosts import PixelsOnHost
from cnn.train.job import compiled, part, snapshot
from cnn.train.scores import Evaluation, predict, score

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Images

WORKERS = Option("final.workers", flag="--final-workers")


@dataclass(frozen=True)
class Member:
    """One of the workers that train together."""

    final: FinalJob
    attempt: int
    rank: int
    # host:port of all of them, by rank.
    addresses: tuple[str, ...]


class WorkerError(Exception):
    """A worker's process did not come to its end, and with it the stage."""


def check_workers(context: SparkContext, workers: int, slots: int) -> None:
    """Raises InputError where so many workers could never run at once: Spark would wait."""
    if workers > slots:
        raise InputError(
            "{} must be at most the number of slots, {}, but got {}", WORKERS, slots, workers
        )
    if workers > 1 and context.getConf().get("spark.dynamicAllocation.enabled") == "true":
        raise InputError(
            "{} must be 1 with spark.dynamicAllocation.enabled, which Spark's barrier stages "
            "refuse, but got {}",
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
    """Trains to the end and leaves the last state in the run's checkpoint of this attempt.

    Returns the accuracy on the validation images, or {"error": why there is none}. When a worker
    dies all end, and this raises what Spark says; called again, it goes on from the checkpoint of
    the last epoch. Spark would do so itself only where a trial's task may also be tried again
    unseen (spark.task.maxFailures).
    """

    def work(_: Iterable[int]) -> Iterator[dict[str, Any]]:
        yield _member_task(final, attempt, isolation)

    stage = context.parallelize(range(final.workers), final.workers)
    if profile is not None:
        stage = stage.withResources(profile)
    found: dict[str, Any] = interruptible(context, stage.barrier().mapPartitions(work).collect)[0]
    return found


def _member_task(final: FinalJob, attempt: int, isolation: Isolation) -> dict[str, Any]:
    context = BarrierTaskContext.get()
    rank = context.partitionId()
    host = context.getTaskInfos()[rank].address.rpartition(":")[0]
    with socket.socket() as port:
        # TensorFlow's server refuses a port that is bound: it is kept free for it no longer than
        # until all members have theirs.
        port.bind(("", 0))
        addresses = context.allGather(f"{host}:{port.getsockname()[1]}")
    member = Member(final, attempt, rank, tuple(addresses))
    before = PixelsOnHost(final.job, isolation.method)
    found: dict[str, Any] = Task(run_member, isolation, _concluded, rank, before)(member)
    return found


def _concluded(rank: int, member: Member, ended: Ended) -> dict[str, Any]:
    if ended.returned:
        return dict(ended.value)
    evidence = ended.evidence()
    write_log(Directory(member.final.job.run), f"final-worker-{rank}", evidence)
    raise WorkerError(f"worker {rank} of the winner's training: {evidence.splitlines()[-1]}")


def run_member(member: Member) -> dict[str, Any]:
    """A worker's part of the training, in its own process; the first one keeps the checkpoints."""
    _reach_directly(member.addresses)
    cluster = {"worker": list(member.addresses)}
    task = {"type": "worker", "index": member.rank}
    # TensorFlow reads it when the strategy is made, which must be before anything else.
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(gpus[:1], "GPU")
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

    from cnn.train.fit import Diverged

    final, job = member.final, member.final.job
    train, validation = final_images(final)
    name, seed = attempt_of(final, member.attempt)
    with strategy.scope():
        model = compiled(job, final.params, seed)
        model.optimizer.build(model.trainable_variables)
        saved = snapshot(job, final.params, name, seed, [train])
        start = saved.load([model])
        machines = Together(strategy, model, len(job.manifest.classes), member.rank)
        machines.check_same(len(start.epochs) if start else 0)
        first: dict[str, Any] = {"tells": member.rank == 0}
        if member.rank == 0:
            # Each epoch: what dies costs all workers their time.
            first |= {
                "on_epoch": lambda progress: saved.keep([model], progress),
                "on_end": lambda progress: saved.save([model], progress),
            }
        try:
            judged = None if final.data == "all" else validation
            own = part(job, model, train, judged, machines)
            fit_winner(final, own, member.attempt, seed=seed, start=start, **first)
        except Diverged as error:
            return {"error": str(error)}
        found = machines.evaluate(validation, len(job.manifest.classes))
    return {"accuracy": found.accuracy, "continued": len(start.epochs) if start else 0}


def _reach_directly(addresses: Iterable[str]) -> None:
    """Has gRPC, by which members speak to one another, go through no proxy to their hosts.

    It reads the first of these variables that is there.
    """
    hosts = [address.rpartition(":")[0] for address in addresses]
    for name in ("no_grpc_proxy", "no_proxy"):
        known = [host for host in os.environ.get(name, "").split(",") if host.strip()]
        os.environ[name] = ",".join(dict.fromkeys([*known, *hosts]))


class Together:
    """`cnn.train.fit.Machines`: a step of all workers, each with its share of the batch.

    Gradients are summed over workers and divided by the images of the whole batch, so that shares
    may be unequal. Batch normalisation takes its means over the whole batch.
    """

    def __init__(self, strategy: Any, model: "keras.Model", classes: int, rank: int) -> None:
        import keras
        import tensorflow as tf

        self.share = (rank, strategy.num_replicas_in_sync)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        for variable in model.variables:
            if variable.name == "seed_generator_state":
                # Otherwise each worker would drop the same units.
                variable.assign(variable.value + np.uint32(rank * 1_000_003))

        step = _replica_step(model)
        signature = [
            tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8),
            tf.TensorSpec((None, classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        ]

        def summed(values: Any) -> Any:
            return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

        self._step = tf.function(
            lambda *batch: summed(strategy.run(step, args=batch)), input_signature=signature
        )
        self._predict = tf.function(
            lambda pixels: model(pixels, training=False), input_signature=signature[:1]
        )
        self._sum = tf.function(
            lambda values: summed(strategy.run(lambda: values)),
            input_signature=[tf.TensorSpec((None,), tf.float64)],
        )

    def train(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        if len(batch) == 2:
            batch = (*batch, np.ones(len(batch[1]), np.float32))
        sums: np.ndarray = self._step(*batch).numpy()
        return sums

    def evaluate(self, images: "Images", classes: int) -> Evaluation:
        part, parts = self.share
        mine = dataclasses.replace(images, rows=images.rows[part::parts])
        sums = np.zeros(1 + classes**2)
        if len(mine):
            loss, confusion = score(predict(self._predict, mine), mine.row_labels(), classes)
            sums = np.concatenate([[loss], confusion.ravel()])
        loss, *counts = self._sum(sums).numpy()
        return Evaluation.of(float(loss), np.array(counts, np.int64).reshape(classes, classes))

    def check_same(self, epochs: int) -> None:
        """All must go on from the same epoch; where they do not, one differs from their mean."""
        if self._sum(np.array([epochs], np.float64)).numpy()[0] != epochs * self.share[1]:
            raise RuntimeError("workers found checkpoints of different epochs")


def _replica_step(model: "keras.Model") -> Callable[[Any, Any, Any], Any]:
    """A worker's part of a step: its images' sum of losses, how many are right, and their count."""
    import keras
    import tensorflow as tf

    loss_of = keras.losses.get(model.loss)

    def step(pixels: Any, labels: Any, weights: Any) -> Any:
        count = tf.cast(tf.shape(pixels)[0], tf.float32)
        context = tf.distribute.get_replica_context()
        whole = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
        with tf.GradientTape() as tape:
            probabilities = model(pixels, training=True)
            loss = tf.reduce_sum(loss_of(labels, probabilities) * weights)
            part = loss / whole
        variables = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(part, variables)
        # Keras's optimizer sums them over the workers.
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        right = tf.argmax(probabilities, axis=1) == tf.argmax(labels, axis=1)
        return tf.stack([loss, tf.reduce_sum(tf.cast(right, tf.float32)), count])

    return step
