"""Many steps of a head in one call give what single steps give."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from cnn.model.head import build_head
from cnn.model.network import compile_model
from cnn.settings.params import ModelParams
from cnn.train.batches import Images
from cnn.train.fit import Fit, LearningRate, fit
from cnn.train.fit_parts import TrainingPart
from cnn.train.head_steps import ManySteps

PARAMS = ModelParams(backbone="any", head_units=8, l2=0.01, learning_rate=0.01, batch_size=16)
RATE = LearningRate(0.01, warmup=0.2, cooldown=0.5)


def images(count: int = 150) -> Images:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(count, 12))
    labels = (inputs[:, 0] + inputs[:, 1] > 0).astype(np.int32)
    return Images(inputs.astype(np.float16), labels, np.arange(count))


def trained(
    kind: str, rate: LearningRate | None, weights: np.ndarray | None
) -> tuple[Fit, keras.Model]:
    found = images()
    table = found.inputs if kind == "in memory" else None
    keras.utils.set_random_seed(3)
    ones = np.ones(12, np.float32)
    model = build_head(PARAMS, classes=2, mean=0.5 * ones, variance=2 * ones)
    compile_model(model, PARAMS)
    machines = None if kind == "single" else ManySteps(model, PARAMS.batch_size, table)
    if table is not None:
        found = replace(found, inputs=np.arange(len(table)))
    part = TrainingPart(model, found, found, weights, machines)
    steps: list[float] = []
    fitted = fit(
        [part],
        classes=2,
        batch_size=PARAMS.batch_size,
        epochs=3,
        seed=1,
        objective="val_loss",
        learning_rate=rate,
        on_step=steps.append,
    )
    # 150 images are 9 batches of 16 and one of 6.
    assert len(steps) == (30 if kind == "single" else 3)
    assert steps[-1] == 3
    return fitted, model


@pytest.mark.parametrize("rate", [None, RATE], ids=["constant", "changing"])
@pytest.mark.parametrize(
    "weights", [None, np.array([0.5, 2.0], np.float32)], ids=["plain", "weighted"]
)
@pytest.mark.parametrize("kind", ["copied", "in memory"])
def test_many_steps_in_one_call_are_the_same_steps(
    kind: str, rate: LearningRate | None, weights: np.ndarray | None
) -> None:
    one, single = trained("single", rate, weights)
    other, many = trained(kind, rate, weights)
    for first, second in zip(one.epochs, other.epochs, strict=True):
        assert first.loss == pytest.approx(second.loss, rel=1e-4)
        assert first.accuracy == pytest.approx(second.accuracy, abs=1e-6)
        assert first.val_loss == pytest.approx(second.val_loss, rel=1e-4)
    for array, same in zip(single.get_weights(), many.get_weights(), strict=True):
        np.testing.assert_allclose(array, same, rtol=1e-3, atol=1e-5)
    assert float(many.optimizer.learning_rate) == pytest.approx(0.01)
