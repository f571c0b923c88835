"""The network and its training, with Keras alone: no Spark, no Hyperopt."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest

from cnn.model.network import build, compile_model, summary
from cnn.settings.params import ModelParams, TrainingParams
from cnn.train.batches import Batch, Batches, Images
from cnn.train.fit import Diverged, Fit, LearningRate, Progress, fit
from cnn.train.fit_parts import OneMachine, TrainingPart, balanced_weights
from cnn.train.scores import predict

SMALL = ModelParams(conv_layers=1, filters=4, dense_units=16, learning_rate=0.003, batch_size=8)


def bright_or_dark(count: int, classes: int = 2, size: int = 8) -> Images:
    """Images whose class is their brightness."""
    labels = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 40, (count, size, size, 1))
    pixels = (noise + labels[:, None, None, None] * (200 // (classes - 1))).astype(np.uint8)
    return Images(pixels, labels, np.arange(count))


def model_for(params: ModelParams, classes: int = 2, size: int = 8) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = build(params, size=size, channels=1, classes=classes)
    compile_model(model, params)
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"conv_layers": 2, "filters": [4, 8]},
        {"dense_units": [8, 4], "dropout": 0.5},
        {"batch_norm": True},
        {"pooling": "average"},
    ],
)
def test_a_network_takes_stored_pixels_and_gives_probabilities(changes: dict[str, object]) -> None:
    params = ModelParams.model_validate({**SMALL.model_dump(), **changes})
    model = build(params, size=16, channels=3, classes=5)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    probabilities = np.asarray(model(pixels))
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_builder_of_ones_own_may_call_ours() -> None:
    params = TrainingParams.model_validate({"conv_layers": 2, "filters": 4})
    model = build(params, size=16, channels=1, classes=2)
    filters = [x.filters for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    assert filters == [4, 4]
    assert model.get_layer("dense_1").units == ModelParams().dense_units


def fitted(model: keras.Model, images: Images, **options: Any) -> Fit:
    """Fits on some images and validates on the same."""
    defaults = {"classes": 2, "batch_size": 8, "seed": 0, "objective": "val_accuracy"}
    return fit([TrainingPart(model, images, images)], **{**defaults, **options})


def test_the_reports_network_has_its_layers() -> None:
    model = build(ModelParams(conv_layers=3, filters=32), size=128, channels=1, classes=2)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [layer.kernel_size for layer in convolutions] == [(3, 3)] * 3
    assert model.get_layer("flatten").output.shape == (None, 14 * 14 * 32)
    assert "Param #" in summary(model)


def test_the_deepest_possible_network_can_be_built_and_one_deeper_cannot() -> None:
    assert ModelParams(conv_layers=5).impossible(128) is None
    build(ModelParams(conv_layers=5, filters=2), size=128, channels=1, classes=2)
    assert ModelParams(conv_layers=6).impossible(128) is not None
    with pytest.raises(ValueError, match="zero or negative"):
        build(ModelParams(conv_layers=6, filters=2), size=128, channels=1, classes=2)


@pytest.mark.parametrize("classes", [2, 3])
def test_training_learns(classes: int) -> None:
    images = bright_or_dark(96, classes)
    found = fitted(model_for(SMALL, classes), images, classes=classes, epochs=40)
    assert found.best is not None
    assert found.best.accuracy > 0.9


def test_each_step_tells_how_many_epochs_are_done() -> None:
    told: list[float] = []
    images = bright_or_dark(20)
    fitted(model_for(SMALL), images, epochs=2, on_step=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])


def test_the_model_is_left_with_the_best_epochs_weights() -> None:
    images = bright_or_dark(32)
    model = model_for(SMALL.model_copy(update={"learning_rate": 0.2}))
    found = fitted(model, images, epochs=6, objective="val_loss")
    losses = [epoch.val_loss for epoch in found.epochs if epoch.val_loss is not None]
    assert found.best_epoch == losses.index(min(losses)) + 1
    assert OneMachine(model).evaluate(images, 2).loss == pytest.approx(min(losses), abs=1e-9)


def test_an_epochs_loss_and_accuracy_are_means_over_all_its_images() -> None:
    images = bright_or_dark(20)
    still = {"learning_rate": 1e-12, "batch_norm": False}
    model = model_for(SMALL.model_copy(update=still))
    epoch = fitted(model, images, epochs=1).epochs[0]
    # Nothing was learnt, so validation on the same images finds the same.
    assert epoch.loss == pytest.approx(epoch.val_loss, rel=1e-5)
    assert epoch.accuracy == pytest.approx(epoch.val_accuracy)


class Watched(OneMachine):
    """Notes the learning rate of every step."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(model)
        self.optimizer = model.optimizer
        self.rates: list[float] = []

    def train(self, batches: Sequence[Batch], rates: Sequence[float] | None) -> np.ndarray:
        sums = super().train(batches, rates)
        self.rates.append(float(self.optimizer.learning_rate))
        return sums


def test_a_training_of_known_length_cools_down_at_its_end() -> None:
    images = bright_or_dark(32)
    curves = {}
    for cooldown in (None, LearningRate(SMALL.learning_rate, cooldown=0.5)):
        model = model_for(SMALL)
        machines = Watched(model)
        part = TrainingPart(model, images, None, machines=machines)
        found = fit(
            [part],
            classes=2,
            batch_size=8,
            epochs=4,
            seed=0,
            objective="val_accuracy",
            learning_rate=cooldown,
        )
        curves[cooldown] = [epoch.loss for epoch in found.epochs], machines.rates
        # What is saved can be trained further.
        assert float(model.optimizer.learning_rate) == pytest.approx(SMALL.learning_rate)
    (losses, rates), (cooled_losses, cooled) = curves.values()
    assert rates == pytest.approx([SMALL.learning_rate] * 16)
    falling = [SMALL.learning_rate * left / 8 for left in range(8, 0, -1)]
    assert cooled == pytest.approx([SMALL.learning_rate] * 8 + falling)
    assert cooled_losses[:2] == pytest.approx(losses[:2], rel=1e-4)
    assert cooled_losses[3] != pytest.approx(losses[3], rel=1e-4)


def test_patience_ends_a_training_that_no_longer_improves() -> None:
    images = bright_or_dark(32)
    model = model_for(SMALL.model_copy(update={"learning_rate": 1e-9}))
    found = fitted(model, images, epochs=50, patience=2, objective="val_loss")
    losses = [epoch.val_loss for epoch in found.epochs]
    # The first epoch is the best, and the two after it are no better.
    assert losses == [losses[0]] * 3
    assert found.best_epoch == 1


@pytest.mark.parametrize("rungs", [(), (0.25, 0.5)])
def test_a_loss_that_is_not_finite_diverges(rungs: tuple[float, ...]) -> None:
    images = bright_or_dark(32)
    model = model_for(SMALL.model_copy(update={"learning_rate": 1e30}))
    seen: list[Progress] = []
    with pytest.raises(Diverged, match=r"not finite in epoch \d") as raised:
        fitted(
            model,
            images,
            epochs=5,
            rungs=rungs,
            # A rung must not take it for one that was merely slow to learn.
            go_on=lambda rung, key: key[1] < float("inf"),
            on_epoch=seen.append,
        )
    assert f"epoch {max(1, len(seen))}" in str(raised.value)


def test_a_trial_is_asked_at_each_rung_and_stops_where_it_is_told() -> None:
    images = bright_or_dark(64)
    asked: list[tuple[int, float]] = []

    def go_on(rung: int, key: tuple[float, float]) -> bool:
        asked.append((rung, key[0]))
        return rung < 2

    model = model_for(SMALL)
    # 8 steps an epoch: after 2 steps, after 8 (a whole epoch), again after 16, after 20.
    found = fitted(model, images, epochs=5, rungs=(0.25, 1, 2.5, 4), go_on=go_on)
    assert [rung for rung, _ in asked] == [0, 1, 1, 2]
    # Asked again about a rung it says what it had there.
    assert asked[1] == asked[2]
    assert found.stopped_at == 2
    assert len(found.epochs) == 2
    assert found.best is not None
    assert 1 - found.best.accuracy <= asked[1][1]


def test_rungs_inside_an_epoch_change_nothing_of_the_training() -> None:
    images = bright_or_dark(60)
    whole, in_parts = (
        fitted(model_for(SMALL), images, epochs=2, objective="val_loss", rungs=rungs)
        for rungs in ((), (0.3, 0.9, 1.5))
    )
    for one, other in zip(whole.epochs, in_parts.epochs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)


def test_stopped_before_an_epoch_was_done_it_has_the_rungs_result() -> None:
    images = bright_or_dark(64)
    found = fitted(model_for(SMALL), images, epochs=5, rungs=(0.5,), go_on=lambda rung, key: False)
    assert (found.epochs, found.best_epoch, found.stopped_at) == ((), 0, 0)
    assert found.best is not None


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own() -> None:
    images = bright_or_dark(20)
    pixels = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    batches = Batches(Images(pixels, images.labels, np.arange(3, 20)), 8, classes=2, seed=0)
    orders = []
    for epoch in (1, 2, 1):
        seen = [batch[0].ravel().tolist() for batch in batches.epoch(epoch)]
        assert sorted(place for batch in seen for place in batch) == list(range(3, 20))
        orders.append(seen)
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_class_weights_make_unequal_classes_count_the_same() -> None:
    weights = balanced_weights(np.array([0] * 30 + [1] * 10), 2)
    assert weights[0] * 30 == pytest.approx(weights[1] * 10)
    images = bright_or_dark(8)
    batches = Batches(images, 4, classes=2, seed=0, class_weights=weights)
    shown = next(batches.epoch(1))
    np.testing.assert_allclose(shown[2], weights[shown[1].argmax(axis=1)])


def test_evaluation_counts_what_prediction_says() -> None:
    images = bright_or_dark(30, 3)
    model = model_for(SMALL, 3)
    found = OneMachine(model).evaluate(images, 3)
    named = predict(model.predict_on_batch, images, 64).argmax(axis=1)
    assert found.count == 30
    assert found.accuracy == pytest.approx((named == images.labels).mean())
    assert found.confusion.sum(axis=1).tolist() == [10, 10, 10]
    recalls = [(named[images.labels == label] == label).mean() for label in range(3)]
    assert found.balanced_accuracy == pytest.approx(np.mean(recalls))


def test_of_a_cross_validation_each_image_is_judged_by_the_network_that_has_not_seen_it() -> None:
    images = bright_or_dark(30)
    folds = [np.arange(part, 30, 3) for part in range(3)]
    parts = [
        TrainingPart(
            model_for(SMALL),
            Images(images.inputs, images.labels, np.setdiff1d(images.rows, rows)),
            Images(images.inputs, images.labels, rows),
        )
        for rows in folds
    ]
    found = fit(parts, classes=2, batch_size=8, epochs=4, seed=0, objective="val_loss")
    assert found.best is not None
    assert found.best.count == 30
    assert found.epochs[found.best_epoch - 1].val_loss == pytest.approx(found.best.loss)
    # Each network holds its weights of the best epoch.
    own = [part.where().evaluate(part.validation, 2) for part in parts if part.validation]
    assert sum(one.loss * one.count for one in own) / 30 == pytest.approx(found.best.loss)
    assert sum(one.confusion.trace() for one in own) / 30 == pytest.approx(found.best.accuracy)


def test_the_networks_of_a_cross_validation_train_as_they_would_alone() -> None:
    images = bright_or_dark(30)
    halves = [Images(images.inputs, images.labels, np.arange(i, 30, 2)) for i in range(2)]
    together = [TrainingPart(model_for(SMALL), half, None) for half in halves]
    alone = TrainingPart(model_for(SMALL), halves[0], None)
    for parts in (together, [alone]):
        fit(parts, classes=2, batch_size=8, epochs=2, seed=0, objective="val_loss")
    for one, same in zip(together[0].model.get_weights(), alone.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-6)
