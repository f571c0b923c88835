"""The networks that are trained together: one, or one for each fold of a cross-validation."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Protocol

import keras
import numpy as np

from cnn.train.augmentation import augmented
from cnn.train.batches import Batches, Images
from cnn.train.scores import Evaluation, evaluate


class Machines(Protocol):
    """Where a network computes: one machine, or several with a share of every batch each."""

    # The index of this machine's share, and the number of shares.
    share: tuple[int, int]

    def train(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        """Trains one step; returns the whole batch's sum of losses, hits, and number of images."""

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        """Evaluates the network on all of `images`."""


class OneMachine:
    """This machine alone, with Keras's own training steps.

    Keras's `fit` is not used because closing the pipeline that it builds took up to five seconds.
    """

    share = (0, 1)

    def __init__(self, model: keras.Model) -> None:
        self._model = model

    def train(self, batch: tuple[np.ndarray, ...]) -> np.ndarray:
        # The means are those of this batch alone, since Keras resets its metrics.
        logs = self._model.train_on_batch(*batch, return_dict=True)
        return len(batch[0]) * np.array([logs["loss"], logs["accuracy"], 1.0])

    def evaluate(self, images: Images, classes: int) -> Evaluation:
        return evaluate(self._model, images, classes=classes)


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


class TrainingParts:
    """The parts of one training, trained step by step."""

    def __init__(
        self, parts: Sequence[TrainingPart], batch_size: int, classes: int, seed: int, augment: bool
    ) -> None:
        self._models = [part.model for part in parts]
        self._validation = [part.validation for part in parts]
        self._machines = [part.machines or OneMachine(part.model) for part in parts]
        self._classes = classes
        change = partial(augmented, seed=seed) if augment else None
        self._batches = [
            Batches(
                part.train,
                batch_size,
                classes=classes,
                seed=seed,
                class_weights=part.class_weights,
                share=machines.share,
                change=change,
            )
            for part, machines in zip(parts, self._machines, strict=True)
        ]
        # The steps of an epoch; folds may differ by one batch.
        self.steps = max(map(len, self._batches))

    def set_learning_rate(self, rate: float) -> None:
        """Sets the learning rate of all networks."""
        for model in self._models:
            model.optimizer.learning_rate = rate

    def epoch(self, number: int, rate: Callable[[int], float] | None) -> Iterator[np.ndarray]:
        """Trains epoch `number` (from 1), one step of all parts at a time.

        Yields the sums of `Machines.train` over the parts. `rate` gives the learning rate of a
        step, counted from 0 since the start of the training.
        """
        together = zip_longest(*(own.epoch(number) for own in self._batches))
        for step, batches in enumerate(together, (number - 1) * self.steps):
            if rate:
                self.set_learning_rate(rate(step))
            pairs = zip(self._machines, batches, strict=True)
            yield np.sum([own.train(batch) for own, batch in pairs if batch is not None], axis=0)

    def evaluate(self) -> Evaluation | None:
        """Evaluates all validation images together; None if there are none."""
        found = [
            own.evaluate(images, self._classes)
            for own, images in zip(self._machines, self._validation, strict=True)
            if images is not None and len(images)
        ]
        if not found:
            return None
        confusion: np.ndarray = np.sum([one.confusion for one in found], axis=0)
        return Evaluation.of(sum(one.loss * one.count for one in found), confusion)

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
