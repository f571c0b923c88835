"""Confident learning: which labels are probably wrong, by probabilities that can be believed.

Every probability must come from a network that was not trained on the image it is of; otherwise
the network has learnt the wrong labels too.

Confident learning (Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 70,
2021) first asks how many labels are wrong. A network has its habits: it may give images of one
class 0.99 on average and those of another 0.7. So a class counts as likely for an image if its
probability is at least the mean that images labelled with this class get. An image whose most
probable likely class is not its label stands off the diagonal of the confident joint. Images
without a likely class are divided like the others of their label, which gives the expected number
of wrong labels.

So many, and one standard error more, are then looked for where the network contradicts the label
most: by the normalised margin, the probability of its class less that of the label. The paper
counts and ranks for each pair of classes; with few images of a pair, rounding would lose most of
them, so here it is done for all images together.
"""

import math
from dataclasses import dataclass

import numpy as np

# The classes of an image that are kept. Of more classes than these, one could only be missed that
# is likely for its image while all of these are not: its probability is below 1/9.
_MOST_CLASSES = 8
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Answers:
    """What networks say of images that they were not trained on, in a few bytes an image."""

    # The probability of the image's own label, float32 (n,).
    own: np.ndarray
    # The most probable classes, int32 (n, k), and their probabilities, float32 (n, k): descending.
    classes: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Answers":
        """The answers from the probabilities (n, classes) of images with labels (n,)."""
        parts = []
        # An order of all classes of all images at once may not fit into memory.
        for start in range(0, max(1, len(labels)), _ROWS_AT_ONCE):
            some, own = (array[start : start + _ROWS_AT_ONCE] for array in (probabilities, labels))
            order = np.argsort(-some, axis=1, kind="stable")[:, :_MOST_CLASSES]
            most = np.take_along_axis(some, order, axis=1)
            of_label = some[np.arange(len(own)), own]
            parts.append(
                cls(of_label.astype(np.float32), order.astype(np.int32), most.astype(np.float32))
            )
        return cls.joined(*parts)

    @classmethod
    def joined(cls, *some: "Answers") -> "Answers":
        """The answers about several sets of images, one after the other."""
        return cls(
            *(
                np.concatenate([getattr(one, name) for one in some])
                for name in ("own", "classes", "probabilities")
            )
        )

    def __len__(self) -> int:
        return len(self.own)


@dataclass(frozen=True)
class LabelErrors:
    """The images whose label is suspected, the surest first."""

    # Places among the images, int64 (m,).
    images: np.ndarray
    # The likely class, int32 (m,), and its probability, float32 (m,).
    suggested: np.ndarray
    probability: np.ndarray
    # Whether the networks are nearer to guessing than to agreeing with all labels. What they
    # contradict is then mostly their own mistakes, and nothing is suspected.
    too_poor: bool = False


def find_label_errors(answers: Answers, labels: np.ndarray, classes: int) -> LabelErrors:
    """Finds the images whose label is probably wrong; none if the networks are too poor to tell.

    Args:
        answers: From networks that were not trained on the images.
        labels: int (n,).
        classes: The number of classes.

    >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.05, 0.95], [0.4, 0.6], [0.1, 0.9]])
    >>> labels = np.array([0, 0, 0, 1, 1])
    >>> found = find_label_errors(Answers.of(probabilities, labels), labels, 2)
    >>> found.images.tolist(), found.suggested.tolist()
    ([2], [1])
    """
    first, most = answers.classes[:, 0], answers.probabilities[:, 0]
    margin = most - answers.own
    # Where both are equally probable, the label is as good as the other class.
    contradicted = np.flatnonzero((first != labels) & (margin > 0))
    order = contradicted[np.argsort(-margin[contradicted], kind="stable")]
    poor = float((first == labels).mean()) < (1 + 1 / classes) / 2
    expected = 0 if poor else expected_errors(answers, labels, classes)
    # An image that is looked at in vain costs less than a wrong label that is not: one standard
    # error of the count more.
    found = order[: expected + round(math.sqrt(expected))]
    return LabelErrors(found, first[found], most[found], poor)


def expected_errors(answers: Answers, labels: np.ndarray, classes: int) -> int:
    """The number of wrong labels by the confident joint; arguments as `find_label_errors`."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.bincount(labels, weights=answers.own, minlength=classes)
    # No image is likely to be of a class that no image is labelled with.
    threshold = np.where(counts, sums / np.maximum(counts, 1), np.inf)
    # The mean of equal probabilities may differ from them in the last digit.
    likely = answers.probabilities >= threshold[answers.classes] - 1e-6
    confident = likely.any(axis=1)
    best = answers.classes[np.arange(len(labels)), likely.argmax(axis=1)]
    of_label = np.bincount(labels[confident], minlength=classes)
    wrong = np.bincount(labels[confident & (best != labels)], minlength=classes)
    return round(float((counts * wrong / np.maximum(of_label, 1)).sum()))
