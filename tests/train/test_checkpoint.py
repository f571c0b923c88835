"""A training that is broken off goes on elsewhere as if nothing had happened."""

import os
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cnn.core.directory import Directory
from cnn.model.network import build, compile_model
from cnn.settings.params import ModelParams
from cnn.train.augmentation import augmented
from cnn.train.batches import Images
from cnn.train.checkpoint import Checkpoint
from cnn.train.checkpoint_file import checkpoint_file, read_checkpoint, write_checkpoint
from cnn.train.fit import Fit, LearningRate, Progress, fit
from cnn.train.fit_parts import TrainingPart

MOST = 2**20
# All that has a state of its own: moments, moving means, seeds.
PARAMS = ModelParams(
    conv_layers=1, filters=4, dense_units=8, dropout=0.3, batch_norm=True, augment=True
)


class Killed(Exception):
    """Stands in for the end of a process; tests of processes are in test_resume.py."""


@pytest.fixture
def images() -> Images:
    labels = np.arange(48) % 2
    noise = np.random.default_rng(0).integers(0, 90, (48, 12, 12, 1))
    return Images(
        (noise + labels[:, None, None, None] * 60).astype(np.uint8), labels, np.arange(48)
    )


def compiled(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = build(PARAMS, size=12, channels=1, classes=2)
    compile_model(model, PARAMS)
    return model


def train(model: keras.Model, images: Images, **options: Any) -> Fit:
    fixed: dict[str, Any] = {
        "classes": 2,
        "batch_size": 16,
        "epochs": 5,
        "seed": 3,
        "objective": "val_loss",
    }
    part = TrainingPart(model, images, images, change=partial(augmented, seed=3))
    return fit([part], **fixed, rungs=(2,), **options)


# The second one cools down from the second epoch on.
@pytest.mark.parametrize("rate", [None, LearningRate(PARAMS.learning_rate, cooldown=0.8)])
def test_a_training_goes_on_as_if_it_had_not_stopped(
    images: Images, tmp_path: Path, rate: LearningRate | None
) -> None:
    whole_model = compiled(1)
    whole = train(whole_model, images, learning_rate=rate)

    snapshot = Checkpoint(Directory(tmp_path), "00000", {"seed": 3})

    def save_and_die(progress: Progress) -> None:
        snapshot.save([first], progress)
        if len(progress.epochs) == 3:
            raise Killed

    first = compiled(1)
    with pytest.raises(Killed):
        train(first, images, on_epoch=save_and_die, learning_rate=rate)
    other = compiled(2)
    start = snapshot.load([other])
    assert start is not None
    assert (len(start.epochs), start.last_rung and start.last_rung[0]) == (3, 0)
    asked: list[int] = []

    def go_on(rung: int, key: tuple[float, float]) -> bool:
        asked.append(rung)
        return True

    rest = train(other, images, start=start, go_on=go_on, learning_rate=rate)
    assert [epoch.epoch for epoch in rest.epochs] == [1, 2, 3, 4, 5]
    assert asked == [0, 0]
    assert rest.best_epoch == whole.best_epoch
    for one, same in zip(whole.epochs, rest.epochs, strict=True):
        assert one.loss == pytest.approx(same.loss, rel=1e-3)
        assert one.val_loss == pytest.approx(same.val_loss, rel=1e-3)
    for one, same in zip(whole_model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, same, rtol=1e-2, atol=1e-4)


def test_a_finished_training_costs_no_epoch(images: Images, tmp_path: Path) -> None:
    snapshot = Checkpoint(Directory(tmp_path), "00000", {})
    model, other = compiled(1), compiled(2)
    found = train(model, images, on_end=lambda progress: snapshot.save([model], progress))

    def never(progress: Progress) -> None:
        raise AssertionError("an epoch was trained twice")

    again = train(other, images, start=snapshot.load([other]), on_epoch=never)
    assert again.epochs == found.epochs
    for one, same in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_all_networks_of_a_cross_validation_go_on(images: Images, tmp_path: Path) -> None:
    snapshot = Checkpoint(Directory(tmp_path), "00000", {})
    models, others = [compiled(1), compiled(2)], [compiled(3), compiled(4)]
    for model in models:
        model.optimizer.build(model.trainable_variables)
    snapshot.save(models, Progress())
    assert snapshot.load(others) == Progress()
    for model, other in zip(models, others, strict=True):
        for one, same in zip(model.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(one, same)
    assert snapshot.load(others[:1]) is None


def test_the_state_of_another_training_is_not_taken(images: Images, tmp_path: Path) -> None:
    run = Directory(tmp_path)
    model = compiled(1)
    Checkpoint(run, "00000", {"seed": 3}).save([model], Progress())
    assert Checkpoint(run, "00000", {"seed": 4}).load([model]) is None
    assert Checkpoint(run, "00001", {"seed": 3}).load([model]) is None
    larger = build(PARAMS.model_copy(update={"filters": 5}), size=12, channels=1, classes=2)
    compile_model(larger, PARAMS)
    before = larger.get_weights()
    assert Checkpoint(run, "00000", {"seed": 3}).load([larger]) is None
    for one, same in zip(before, larger.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    arrays = {"a": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7)], "b": []}
    write_checkpoint(run, "x", arrays, {"epoch": 3, "loss": float("inf")})
    found = read_checkpoint(run, "x", MOST)
    assert found is not None
    assert found[1] == {"epoch": 3, "loss": float("inf")}
    assert found[0]["b"] == []
    for one, same in zip(arrays["a"], found[0]["a"], strict=True):
        np.testing.assert_array_equal(one, same)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint_file("x")]


def test_what_is_damaged_or_pickled_counts_as_none(tmp_path: Path) -> None:
    run, path = Directory(tmp_path), tmp_path / checkpoint_file("x")
    assert read_checkpoint(run, "x", MOST) is None
    write_checkpoint(run, "x", {"a": [np.zeros(1000)]}, {})
    whole = path.read_bytes()
    flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    for content in (b"", b"not an archive", whole[: len(whole) // 2], flipped):
        path.write_bytes(content)
        assert read_checkpoint(run, "x", MOST) is None
    np.savez_compressed(path, state=np.zeros(1000))
    assert read_checkpoint(run, "x", MOST) is None
    write_checkpoint(run, "x", {"a": [np.zeros(1000)]}, {})
    assert read_checkpoint(run, "x", 8000) is not None
    os.truncate(path, 1 << 40)
    assert read_checkpoint(run, "x", MOST) is None


class _Planted:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    run, path = Directory(tmp_path), tmp_path / checkpoint_file("x")
    made = tmp_path / "made"
    planted = np.array([_Planted(made)], dtype=object)
    np.savez(path, state=planted)
    assert read_checkpoint(run, "x", MOST) is None
    path.write_bytes(pickle.dumps(_Planted(made)))
    assert read_checkpoint(run, "x", MOST) is None
    assert not made.exists()
    # It would have been made by a reader that unpickles.
    np.savez(path, state=planted)
    np.load(path, allow_pickle=True)["state"]
    assert made.exists()


def test_storage_that_fails_costs_the_state_and_no_more(
    images: Images, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoints").touch()  # no directory
    model = compiled(1)
    snapshot = Checkpoint(Directory(tmp_path / "checkpoints"), "00000", {})
    found = train(model, images, on_epoch=snapshot.every(0, [model]))
    assert len(found.epochs) == 5
    assert "epoch 5: the state was not saved" in capsys.readouterr().out
    with pytest.raises(OSError, match="checkpoints"):
        snapshot.save([model], Progress())
