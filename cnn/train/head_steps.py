"""Training steps of a head, many in one call.

A step on features takes less time than Keras needs to begin one, so that one at a time most of a
head's training would be overhead. If there are few features, their standardised values also stay in
memory, and a step is told the numbers of its rows: copying and standardising them would take most
of its time.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.model.head import STANDARDISATION
from cnn.train.batches import Batch, Images
from cnn.train.fit_parts import OneMachine
from cnn.train.scores import predict

if TYPE_CHECKING:
    import keras

# The features of one call, in float32. More would not be faster.
_CALL_BYTES = 2**24
# The rows of one call of a head whose features stay in memory.
_CALL_ROWS = 2**20


class ManySteps(OneMachine):
    """This machine, with many steps of a head in one call.

    Args:
        model: The compiled head.
        batch_size: The images in a batch.
        table: Features that are to stay in memory, float16 or float32 (n, features); the inputs of
            all images are then numbers of its rows. It needs TensorFlow.
    """

    def __init__(
        self, model: "keras.Model", batch_size: int, table: np.ndarray | None = None
    ) -> None:
        import keras

        super().__init__(model)
        row = 4 * int(np.prod(model.input_shape[1:]))
        rows_a_call = _CALL_BYTES // row if table is None else _CALL_ROWS
        self.steps_a_call = max(1, rows_a_call // batch_size)
        self._batch_size = batch_size
        self._dtype = np.float32 if table is None else np.int32
        self._steps, self._predict = None, model.predict_on_batch
        if keras.backend.backend() == "tensorflow":
            self._steps, self._predict = _functions(model, batch_size, table)

    def train(self, batches: Sequence[Batch], rates: Sequence[float] | None) -> np.ndarray:
        if rates is None:
            rates = [float(self._model.optimizer.learning_rate)] * len(batches)
        if self._steps is None:
            return self._train_singly(batches, rates)
        # Only the last batch of an epoch may be smaller.
        inputs, labels, *weights = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        weight = weights[0] if weights else np.ones(len(labels), np.float32)
        inputs = inputs.astype(self._dtype, copy=False)
        sums: np.ndarray = self._steps(inputs, labels, weight, np.asarray(rates, np.float32))
        return sums

    def _train_singly(self, batches: Sequence[Batch], rates: Sequence[float]) -> np.ndarray:
        sums = np.zeros(3)
        for (inputs, *others), rate in zip(batches, rates, strict=True):
            self._model.optimizer.learning_rate = rate
            inputs = inputs.astype(self._dtype, copy=False)
            logs = self._model.train_on_batch(inputs, *others, return_dict=True)
            sums += len(inputs) * np.array([logs["loss"], logs["accuracy"], 1.0])
        return sums

    def predict(self, images: Images) -> np.ndarray:
        return predict(self._predict, images, self.steps_a_call * self._batch_size)


def _functions(model: "keras.Model", batch_size: int, table: np.ndarray | None) -> tuple[Any, Any]:
    """Compiled functions: of the steps on many batches, and from inputs to probabilities."""
    import keras
    import tensorflow as tf

    network, item = model, tf.TensorSpec(model.input_shape[1:], tf.float32)

    def features(inputs: Any) -> Any:
        return inputs

    if table is not None:
        layer = model.get_layer(STANDARDISATION)
        network, item = keras.Model(layer.output, model.output), tf.TensorSpec((), tf.int32)
        held = tf.constant(_standardised(layer, table))

        def features(inputs: Any) -> Any:
            return tf.gather(held, inputs)

    def batch_of(spec: Any) -> Any:
        return tf.TensorSpec((None, *spec.shape), spec.dtype)

    number = tf.TensorSpec((), tf.float32)
    one_hot = tf.TensorSpec(model.output_shape[1:], tf.float32)
    signature = [*map(batch_of, (item, one_hot, number)), batch_of(number)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def steps(inputs: Any, labels: Any, weights: Any, rates: Any) -> Any:
        def step(place: Any, sums: Any) -> tuple[Any, Any]:
            model.optimizer.learning_rate.assign(rates[place])
            own = slice(place * batch_size, (place + 1) * batch_size)
            truth = labels[own]
            with tf.GradientTape() as tape:
                probabilities = network(features(inputs[own]), training=True)
                loss = model.compute_loss(None, truth, probabilities, weights[own], training=True)
            variables = [variable.value for variable in model.trainable_variables]
            model.optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
            right = tf.argmax(probabilities, axis=1) == tf.argmax(truth, axis=1)
            hits = tf.reduce_sum(tf.cast(right, tf.float32))
            count = tf.cast(tf.shape(truth)[0], tf.float32)
            return place + 1, sums + tf.stack([loss * count, hits, count])

        _, sums = tf.while_loop(lambda place, _: place < tf.shape(rates)[0], step, (0, tf.zeros(3)))
        return sums

    model.optimizer.build(model.trainable_variables)
    function = tf.function(
        lambda inputs: network(features(inputs), training=False),
        input_signature=[batch_of(item)],
    )
    return _concrete(steps), _concrete(function)


def _concrete(function: Any) -> Any:
    """A compiled function from arrays to an array.

    What a `tf.function` does with its arguments at each call takes longer than some calls compute.
    """
    import tensorflow as tf

    concrete = function.get_concrete_function()
    dtypes = [spec.dtype for spec in function.input_signature]
    return lambda *arrays: concrete(*map(tf.convert_to_tensor, arrays, dtypes)).numpy()


def _standardised(layer: "keras.layers.Layer", table: np.ndarray) -> np.ndarray:
    found = np.empty(table.shape, np.float32)
    for start in range(0, len(table), 1024):
        rows = slice(start, start + 1024)
        found[rows] = layer(table[rows].astype(np.float32), training=False)
    return found
