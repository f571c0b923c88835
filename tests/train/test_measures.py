"""Objectives: the built-in ones next to scikit-learn's, and where networks are ranked by them."""

import math
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from cnn.settings.objective import Objective
from cnn.train.batches import Images
from cnn.train.fit import Fit, fit
from cnn.train.fit_parts import TrainingPart
from cnn.train.objective import Measure, area_under_roc, macro_f1
from cnn.train.scores import Evaluation, score


@st.composite
def answers(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with many ties, and labels of at least two classes that occur."""
    classes = draw(st.integers(2, 5))
    kinds = st.integers(0, classes - 1)
    labels = np.array(draw(st.lists(kinds, min_size=2, max_size=40)))
    labels[:2] = draw(st.permutations(range(classes)))[:2]
    shape, count = (len(labels), classes), len(labels) * classes
    steps = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    weights = np.array(steps, float).reshape(shape)
    return weights / weights.sum(axis=1, keepdims=True), labels


@given(answers())
def test_built_in_objectives_are_those_of_scikit_learn(
    made: tuple[np.ndarray, np.ndarray],
) -> None:
    probabilities, labels = made
    classes, present = probabilities.shape[1], np.unique(labels)
    _, confusion = score(probabilities, labels, classes)
    expected = f1_score(labels, probabilities.argmax(axis=1), labels=present, average="macro")
    assert macro_f1(confusion) == pytest.approx(expected)
    if classes == 2:
        area = roc_auc_score(labels == 1, probabilities[:, 1])
    else:
        area = np.mean([roc_auc_score(labels == kind, probabilities[:, kind]) for kind in present])
    assert area_under_roc(probabilities, labels) == pytest.approx(area)


def test_one_class_alone_has_no_area_under_the_curve() -> None:
    assert math.isnan(area_under_roc(np.full((3, 2), 0.5), np.zeros(3, int)))


def images(count: int, first: int = 0) -> Images:
    """Images of one value, whose class is whether it is bright."""
    values = np.random.default_rng(1).integers(0, 256, (40, 1, 1, 1), dtype=np.uint8)
    return Images(values, (values.ravel() > 127).astype(int), np.arange(first, first + count))


def parts() -> list[TrainingPart]:
    """A cross-validation of two folds."""
    sides = images(20), images(20, 20)
    made = []
    for place in range(2):
        keras.utils.set_random_seed(place)
        pixels = keras.Input((1, 1, 1))
        x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
        model = keras.Model(pixels, keras.layers.Dense(2, "softmax")(x))
        model.compile(keras.optimizers.SGD(5.0), "categorical_crossentropy", metrics=["accuracy"])
        made.append(TrainingPart(model, sides[place], sides[1 - place]))
    return made


SEEN: list[tuple[np.ndarray, np.ndarray]] = []


def third_is_best(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Prefers the third epoch, whatever was learnt; knows no finite value of the first."""
    SEEN.append((probabilities.copy(), labels.copy()))
    probabilities[:] = labels[:] = -1
    return [math.nan, -3e9, -1e9, -2e9][len(SEEN) - 1]


def fitted(objective: Objective, **options: Any) -> Fit:
    return fit(parts(), classes=2, batch_size=4, epochs=4, seed=0, objective=objective, **options)


def test_a_function_sees_all_folds_at_once_and_chooses_the_epoch() -> None:
    SEEN.clear()
    found = fitted("none:named", measure=Measure("none:named", third_is_best))
    assert found.best_epoch == 3
    assert [epoch.val_objective for epoch in found.epochs] == [None, -3e9, -1e9, -2e9]
    assert found.best is not None
    assert found.best.objective == -1e9
    assert len(SEEN) == 4
    for epoch, (probabilities, labels) in zip(found.epochs, SEEN, strict=True):
        assert probabilities.dtype == np.float64
        assert probabilities.shape == (40, 2)
        assert labels.tolist() == images(40).labels[[*range(20, 40), *range(20)]].tolist()
        assert (probabilities.argmax(axis=1) == labels).mean() == pytest.approx(epoch.val_accuracy)


@pytest.mark.parametrize("objective", ["val_f1", "val_auc"])
def test_a_built_in_objective_is_stored_and_others_are_not(objective: Objective) -> None:
    found = fitted(objective)
    values = [epoch.val_objective for epoch in found.epochs]
    assert all(value is not None and 0 <= value <= 1 for value in values)
    assert values[found.best_epoch - 1] == max(value for value in values if value is not None)
    assert {epoch.val_objective for epoch in fitted("val_balanced_accuracy").epochs} == {None}


def test_a_network_without_finite_outputs_is_not_scored() -> None:
    probabilities = np.full((2, 2), np.nan)
    labels = np.array([0, 1])
    found = Evaluation.of(*score(probabilities, labels, 2))
    assert Measure("none:named", third_is_best).value(found, probabilities, labels) is None
