"""The networks that are trained together: one, or one for each fold of a cross-validation."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Protocol

import keras
import numpy as np

from cnn.train.batches import Batch, Batches, Change, Images
from cnn.train.objective import Measure, finite
from cnn.train.scores import Evaluation, batch_of, predict, score


class Machines(Protocol):
    """Where a network computes: one machine, or several with a share of every batch each."""

    # The index of this machine's share, and the number of shares.
    share: tuple[int, int]
    # How many steps it takes in one call.
    steps_a_call: int

    def train(self, batches: Sequence[Batch], rates: Sequence[float] | None) -> np.ndarray:
        """Trains a step on each batch, at its learning rate if `rates` are given.

        Returns the sum of the losses, the hits and the number of images, over all batches.
        """

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        """Evaluates the network on all of `images`."""

    def predict(self, images: Images) -> np.ndarray:
        """The probabilities of all of `images`, float (n, classes), on every machine."""

    def agree(self, value: float) -> float:
        """The first machine's `value`, on every machine, so that all decide alike."""


class OneMachine:
    """This machine alone, with Keras's own training steps.

    Keras's `fit` is not used because closing the pipeline that it builds took up to five seconds.
    """

    share = (0, 1)
    steps_a_call = 1

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def train(self, batches: Sequence[Batch], rates: Sequence[float] | None) -> np.ndarray:
        (batch,) = batches
        if rates is not None:
            (self._model.optimizer.learning_rate,) = rates
        # The means are those of this batch alone, since Keras resets its metrics.
        logs = self._model.train_on_batch(*batch, return_dict=True)
        return len(batch[0]) * np.array([logs["loss"], logs["accuracy"], 1.0])

    def predict(self, images: Images) -> np.ndarray:
        """The probabilities of images, float32 (n, classes)."""
        return predict(self._model.predict_on_batch, images, batch_of(self._model))

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        return Evaluation.of(*score(self.predict(images), images.row_labels(), classes))

    def agree(self, value: float) -> float:
        return value


@dataclass(frozen=True)
class TrainingPart:
    """A compiled network with its training and validation images.

    A cross-validation has one part per fold. The parts are trained independently and validated
    together: each image once, by the network that was not trained on it.
    """

    model: keras.Model
    train: Images
    validation: Images | None
    class_weights: np.ndarray | None = None
    # None for this machine alone.
    machines: Machines | None = None
    # What is done to the training images of each batch.
    change: Change | None = None

    def where(self) -> Machines:
        """The machines that compute it."""
        return self.machines or OneMachine(self.model)


class TrainingParts:
    """The parts of one training, trained step by step."""

    def __init__(
        self,
        parts: Sequence[TrainingPart],
        batch_size: int,
        classes: int,
        seed: int,
        measure: Measure,
    ) -> None:
        self._models = [part.model for part in parts]
        self._validation = [part.validation for part in parts]
        self._machines = [part.where() for part in parts]
        self._classes = classes
        self._measure = measure
        self._batches = [
            Batches(
                part.train,
                batch_size,
                classes=classes,
                seed=seed,
                class_weights=part.class_weights,
                share=machines.share,
                change=part.change,
            )
            for part, machines in zip(parts, self._machines, strict=True)
        ]
        self._steps_a_call = min(machines.steps_a_call for machines in self._machines)
        # The steps of an epoch; folds may differ by one batch.
        self.steps = max(map(len, self._batches))

    def set_learning_rate(self, rate: float) -> None:
        """Sets the learning rate of all networks."""
        for model in self._models:
            model.optimizer.learning_rate = rate

    def epoch(
        self, number: int, rate: Callable[[int], float] | None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Trains epoch `number` (from 1): all parts one step, or as many as they take in one call.

        Yields the steps done in the epoch, and the sums of `Machines.train` over the parts since
        the last time. `rate` gives the learning rate of a step, counted from 0 since the start of
        the training.
        """
        together = zip_longest(*(own.epoch(number) for own in self._batches))
        first, done = (number - 1) * self.steps, 0
        while group := list(islice(together, self._steps_a_call)):
            rates = [rate(first + done + place) for place in range(len(group))] if rate else None
            own_batches = ([batch for batch in own if batch] for own in zip(*group, strict=True))
            yielded = [
                machines.train(batches, rates)
                for machines, batches in zip(self._machines, own_batches, strict=True)
                if batches
            ]
            done += len(group)
            yield done, np.sum(yielded, axis=0)

    def evaluate(self) -> Evaluation | None:
        """Evaluates all validation images together; None if there are none."""
        sides = [
            (own, images)
            for own, images in zip(self._machines, self._validation, strict=True)
            if images is not None and len(images)
        ]
        if not sides:
            return None
        if self._measure.function is not None:
            return self._evaluate_probabilities(sides)
        found = [own.evaluate(images, self._classes) for own, images in sides]
        confusion: np.ndarray = np.sum([one.confusion for one in found], axis=0)
        together = Evaluation.of(sum(one.loss * one.count for one in found), confusion)
        return replace(together, objective=self._measure.value(together))

    def _evaluate_probabilities(self, sides: Sequence[tuple[Machines, Images]]) -> Evaluation:
        """`evaluate` for an objective that needs all probabilities at once."""
        probabilities = np.concatenate([own.predict(images) for own, images in sides])
        labels = np.concatenate([images.row_labels() for _, images in sides])
        found = Evaluation.of(*score(probabilities, labels, self._classes))
        value = self._measure.value(found, probabilities, labels)
        agreed = self._machines[0].agree(math.nan if value is None else value)
        return replace(found, objective=finite(agreed))

    def weights(self) -> list[np.ndarray]:
        """The weights of all networks in one list."""
        return [array for model in self._models for array in model.get_weights()]

    def set_weights(self, arrays: Sequence[np.ndarray]) -> None:
        """Sets the weights to those that `weights` returned."""
        start = 0
        for model in self._models:
            end = start + len(model.weights)
            model.set_weights(arrays[start:end])
            start = end


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class weights, float32 (classes,), that make all classes count equally in the loss."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)
