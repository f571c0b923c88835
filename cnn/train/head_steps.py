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
from cnn.train.scores import Evaluation, predict, score

if TYPE_CHECKING:
    import keras

# The features of one call, in float32. More would not be faster.
_CALL_BYTES = 2**24
# The rows of one call of a head whose features stay in memory.
_CALL_ROWS = 2**20


class ManySteps:
    """A `cnn.train.fit_parts.Machines`: this machine, with many steps of a head in one call.

    Args:
        model: The compiled head.
        batch_size: The images in a batch.
        table: Features that are to stay in memory, float16 or float32 (n, features); the inputs of
            all images are then numbers of its rows. It needs TensorFlow.
    """

    share = (0, 1)

    def __init__(
        self, model: "keras.Model", batch_size: int, table: np.ndarray | None = None
    ) -> None:
        import keras

        row = 4 * int(np.prod(model.input_shape[1:]))
        rows_a_call = _CALL_BYTES // row if table is None else _CALL_ROWS
        self.steps_a_call = max(1, rows_a_call // batch_size)
        self._model = model
        self._batch_size = batch_size
        self._dtype = np.float32 if table is None else np.int32
        self._steps, self._predict = None, model.predict_on_batch
        if keras.backend.backend() == "tensorflow":
            self._steps, self._predict = _functions(model, table)

    def train(self, batches: Sequence[Batch], rates: Sequence[float] | None) -> np.ndarray:
        if rates is None:
            rates = [float(self._model.optimizer.learning_rate)] * len(batches)
        whole = [len(batch[0]) == self._batch_size for batch in batches]
        sums = np.zeros(3)
        # Only the last batch of an epoch may be smaller.
        for same in (True, False):
            chosen = [place for place, full in enumerate(whole) if full is same]
            if chosen:
                group = [batches[place] for place in chosen]
                sums += self._train_same(group, [rates[place] for place in chosen])
        return sums

    def _train_same(self, batches: Sequence[Batch], rates: Sequence[float]) -> np.ndarray:
        """Trains on batches of the same size."""
        inputs = np.stack([batch[0] for batch in batches]).astype(self._dtype, copy=False)
        labels = np.stack([batch[1] for batch in batches])
        if len(batches[0]) == 3:
            weights = np.stack([batch[2] for batch in batches])
        else:
            weights = np.ones(labels.shape[:2], np.float32)
        if self._steps is None:
            return self._train_singly(inputs, labels, weights, rates)
        sums: np.ndarray = self._steps(inputs, labels, weights, np.asarray(rates, np.float32))
        return sums

    def _train_singly(
        self, inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, rates: Sequence[float]
    ) -> np.ndarray:
        sums = np.zeros(3)
        for batch, rate in zip(zip(inputs, labels, weights, strict=True), rates, strict=True):
            self._model.optimizer.learning_rate = rate
            logs = self._model.train_on_batch(*batch, return_dict=True)
            sums += len(batch[0]) * np.array([logs["loss"], logs["accuracy"], 1.0])
        return sums

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        found = predict(self._predict, images, self.steps_a_call * self._batch_size)
        return Evaluation.of(*score(found, images.row_labels(), classes))


def _functions(model: "keras.Model", table: np.ndarray | None) -> tuple[Any, Any]:
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

    def batched(spec: Any, *leading: None) -> Any:
        return tf.TensorSpec((*leading, *spec.shape), spec.dtype)

    signature = [
        batched(item, None, None),
        tf.TensorSpec((None, None, model.output_shape[-1]), tf.float32),
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    ]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]
    def steps(inputs: Any, labels: Any, weights: Any, rates: Any) -> Any:
        count = tf.cast(tf.shape(inputs)[1], tf.float32)

        def step(place: Any, sums: Any) -> tuple[Any, Any]:
            model.optimizer.learning_rate.assign(rates[place])
            with tf.GradientTape() as tape:
                probabilities = network(features(inputs[place]), training=True)
                loss = model.compute_loss(
                    None, labels[place], probabilities, weights[place], training=True
                )
            variables = [variable.value for variable in model.trainable_variables]
            model.optimizer.apply(tape.gradient(loss, variables), model.trainable_variables)
            right = tf.argmax(probabilities, axis=1) == tf.argmax(labels[place], axis=1)
            hits = tf.reduce_sum(tf.cast(right, tf.float32))
            return place + 1, sums + tf.stack([loss * count, hits, count])

        _, sums = tf.while_loop(
            lambda place, _: place < tf.shape(inputs)[0], step, (0, tf.zeros(3))
        )
        return sums

    model.optimizer.build(model.trainable_variables)
    function = tf.function(
        lambda inputs: network(features(inputs), training=False),
        input_signature=[batched(item, None)],
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
