"""Confident learning, on probabilities whose wrong labels are known."""

import doctest

import numpy as np
import pytest

from cnn.train import label_errors
from cnn.train.label_errors import Answers, expected_errors, find_label_errors


def drawn(
    classes: int, count: int, *, sharpness: float, flipped: float = 0.05, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (n, classes) of images, their labels, and which of these are wrong."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes, count)
    scores = random.normal(0, 1, (count, classes))
    scores[np.arange(count), true] += sharpness
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    wrong = random.random(count) < flipped
    labels = np.where(wrong, (true + random.integers(1, classes, count)) % classes, true)
    return probabilities, labels, wrong


def by_the_book(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The sum off the diagonal of the calibrated confident joint, one image at a time."""
    count, classes = probabilities.shape
    threshold = [
        np.mean([probabilities[i, j] for i in range(count) if labels[i] == j] or [np.inf])
        for j in range(classes)
    ]
    joint = np.zeros((classes, classes))
    for i in range(count):
        likely = [j for j in range(classes) if probabilities[i, j] >= threshold[j] - 1e-6]
        if likely:
            joint[labels[i], max(likely, key=lambda j: probabilities[i, j])] += 1
    calibrated = joint / joint.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    return float(calibrated.sum() - calibrated.trace())


def test_the_example_is_true() -> None:
    result = doctest.testmod(label_errors)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("classes", [2, 5, 8, 20])
def test_as_many_are_expected_as_the_paper_says(classes: int) -> None:
    for seed in range(5):
        probabilities, labels, _ = drawn(classes, 400, sharpness=3.0, seed=seed)
        expected = expected_errors(Answers.of(probabilities, labels), labels, classes)
        assert abs(expected - by_the_book(probabilities, labels)) <= 0.5


@pytest.mark.parametrize(("classes", "sharpness"), [(2, 3.0), (5, 4.0), (100, 7.0)])
def test_flipped_labels_are_found(classes: int, sharpness: float) -> None:
    probabilities, labels, wrong = drawn(classes, 2000, sharpness=sharpness)
    answers = Answers.of(probabilities, labels)
    assert answers.classes.shape == (2000, min(classes, 8))
    found = find_label_errors(answers, labels, classes)
    first = found.images[: int(wrong.sum())]
    assert wrong[first].mean() >= 0.9
    assert wrong[first].sum() >= 0.8 * wrong.sum()
    assert len(found.images) <= 1.2 * wrong.sum()


def test_what_is_kept_of_many_images_is_theirs() -> None:
    probabilities, labels, _ = drawn(12, 10_000, sharpness=3.0)
    answers = Answers.of(probabilities, labels)
    assert len(answers) == 10_000
    assert np.allclose(answers.own, probabilities[np.arange(10_000), labels])
    assert np.allclose(answers.probabilities, -np.sort(-probabilities, axis=1)[:, :8])
    rows = np.arange(10_000)[:, None]
    assert np.allclose(answers.probabilities, probabilities[rows, answers.classes])
    assert len(Answers.of(probabilities[:0], labels[:0])) == 0


def test_the_surest_come_first_with_their_class() -> None:
    probabilities, labels, _ = drawn(3, 3000, sharpness=5.0)
    found = find_label_errors(Answers.of(probabilities, labels), labels, 3)
    assert (probabilities[found.images].argmax(axis=1) == found.suggested).all()
    assert (found.suggested != labels[found.images]).all()
    assert found.probability == pytest.approx(probabilities[found.images].max(axis=1))
    margin = found.probability - probabilities[found.images, labels[found.images]]
    assert (np.diff(margin) <= 1e-6).all()


def test_a_class_that_networks_are_unsure_of_is_judged_by_its_own_measure() -> None:
    # 0.6 is much for class 1 and little for class 0.
    probabilities = np.array([*[[0.95, 0.05]] * 9, *[[0.45, 0.55]] * 9, [0.4, 0.6]])
    for label, expected in ((0, 1), (1, 0)):
        labels = np.array([*[0] * 9, *[1] * 9, label])
        assert expected_errors(Answers.of(probabilities, labels), labels, 2) == expected
    probabilities[-1] = [0.6, 0.4]
    assert expected_errors(Answers.of(probabilities, labels), labels, 2) == 0


def test_a_class_without_images_is_not_likely() -> None:
    probabilities = np.array([[0.5, 0.1, 0.4], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    labels = np.array([0, 0, 1])
    assert find_label_errors(Answers.of(probabilities, labels), labels, 3).images.tolist() == []


def test_right_labels_are_not_suspected() -> None:
    probabilities, labels, _ = drawn(4, 500, sharpness=12.0, flipped=0.0)
    assert len(find_label_errors(Answers.of(probabilities, labels), labels, 4).images) == 0


@pytest.mark.parametrize(("sharpness", "poor"), [(0.3, True), (2.0, False)])
def test_a_network_that_guesses_suggests_nothing(sharpness: float, poor: bool) -> None:
    probabilities, labels, _ = drawn(2, 400, sharpness=sharpness)
    answers = Answers.of(probabilities, labels)
    found = find_label_errors(answers, labels, 2)
    assert found.too_poor == poor
    assert (len(found.images) == 0) == poor
