"""One network on several machines that train it together, each on its share of every batch.

Keras's `fit` fails under TensorFlow's MultiWorkerMirroredStrategy, so this module defines the
training step. It and `cnn.train.multi_worker` are the only modules that need TensorFlow itself,
which is imported inside the functions.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.train.scores import Evaluation, batch_of, predict, score

if TYPE_CHECKING:
    import keras

    from cnn.train.batches import Batch, Images


class SeveralMachines:
    """A `cnn.train.fit_parts.Machines`: all workers, each with its share of the batch.

    Gradients are summed over the workers and divided by the number of images in the whole batch, so
    that shares may be unequal. Batch normalization averages over the whole batch.
    """

    steps_a_call = 1

    def __init__(self, strategy: Any, model: "keras.Model", classes: int, rank: int) -> None:
        import keras
        import tensorflow as tf

        self.share = (rank, strategy.num_replicas_in_sync)
        self._model = model
        self._classes = classes
        self._batch = batch_of(model)
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        for variable in model.variables:
            if variable.name == "seed_generator_state":
                # Without this, dropout would drop the same units in each worker.
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

    def train(self, batches: "Sequence[Batch]", rates: Sequence[float] | None) -> np.ndarray:
        (batch,) = batches
        if rates is not None:
            (self._model.optimizer.learning_rate,) = rates
        if len(batch) == 2:
            batch = (*batch, np.ones(len(batch[1]), np.float32))
        sums: np.ndarray = self._step(*batch).numpy()
        return sums

    def evaluate(self, images: "Images", classes: int) -> Evaluation:
        part, parts = self.share
        mine = dataclasses.replace(images, rows=images.rows[part::parts])
        sums = np.zeros(1 + classes**2)
        if len(mine):
            found = predict(self._predict, mine, self._batch)
            loss, confusion = score(found, mine.row_labels(), classes)
            sums = np.concatenate([[loss], confusion.ravel()])
        loss, *counts = self._sum(sums).numpy()
        return Evaluation.of(float(loss), np.array(counts, np.int64).reshape(classes, classes))

    def predict(self, images: "Images") -> np.ndarray:
        part, parts = self.share
        mine = dataclasses.replace(images, rows=images.rows[part::parts])
        # Each worker fills in its own rows, so that the sum has all rows.
        whole = np.zeros((len(images), self._classes))
        if len(mine):
            whole[part::parts] = predict(self._predict, mine, self._batch)
        summed: np.ndarray = self._sum(whole.ravel()).numpy()
        return summed.reshape(whole.shape)

    def agree(self, value: float) -> float:
        own = value if self.share[0] == 0 else 0.0
        return float(self._sum(np.array([own])).numpy()[0])

    def check_same(self, epochs: int) -> None:
        """Raises RuntimeError if not all workers continue from the same epoch.

        Then the epoch of at least one differs from their mean.
        """
        if self._sum(np.array([epochs], np.float64)).numpy()[0] != epochs * self.share[1]:
            raise RuntimeError("workers found checkpoints of different epochs")


def _replica_step(model: "keras.Model") -> Callable[[Any, Any, Any], Any]:
    """A worker's part of a step; it returns its images' sum of losses, hits, and count."""
    import keras
    import tensorflow as tf

    loss_of = keras.losses.get(model.loss)
    if isinstance(loss_of, keras.losses.Loss):
        loss_of = loss_of.call  # its value for each image, without the mean

    def step(pixels: Any, labels: Any, weights: Any) -> Any:
        count = tf.cast(tf.shape(pixels)[0], tf.float32)
        context = tf.distribute.get_replica_context()
        whole = context.all_reduce(tf.distribute.ReduceOp.SUM, count)
        with tf.GradientTape() as tape:
            probabilities = model(pixels, training=True)
            loss = tf.reduce_sum(loss_of(labels, probabilities) * weights)
            penalty = sum(model.losses)  # of the weights: every worker adds its share
            part = loss / whole + penalty / context.num_replicas_in_sync
        variables = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(part, variables)
        # Keras's optimizer sums them over the workers.
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        right = tf.argmax(probabilities, axis=1) == tf.argmax(labels, axis=1)
        hits = tf.reduce_sum(tf.cast(right, tf.float32))
        return tf.stack([loss + penalty * count, hits, count])

    return step
