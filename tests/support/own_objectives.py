"""Functions as users write them for `search.objective`: one that ranks, the others are wrong."""

from typing import Any

import numpy as np


def worst(probabilities: np.ndarray, labels: np.ndarray) -> Any:
    """Prefers what accuracy does not, and is no share."""
    return -1000 * (probabilities.argmax(axis=1) == labels).mean()


def fails(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return dict[str, float]()["a key"]


def of_labels(labels: np.ndarray) -> float:
    return float(labels.mean())


def nothing(probabilities: np.ndarray, labels: np.ndarray) -> None:
    """Forgets to return it."""


def for_each_image(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Forgets the mean."""
    return probabilities[np.arange(len(labels)), labels]


def not_finite(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float("nan")


NUMBER = 3
