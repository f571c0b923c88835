"""Cross-validation: which image is held out when, and when it is chosen by itself."""

from pathlib import Path

import numpy as np
import pytest
from support.jobs import Run, one_line

from cnn.core.directory import Directory
from cnn.data.arrays import Pixels
from cnn.rundir.trials import read_trials
from cnn.settings.schema import PhaseSettings, SearchSettings
from cnn.train.job import choose_folds


def split(count: int) -> Pixels:
    folds = np.random.default_rng(0).integers(0, 10, count).astype(np.int32)
    return Pixels(np.zeros((count, 2, 2, 1), np.uint8), np.zeros(count, np.int32), folds)


@pytest.mark.parametrize("networks", [2, 3, 5, 10])
def test_each_image_validates_once_and_trains_elsewhere(networks: int) -> None:
    images = choose_folds(PhaseSettings(name="search", space={}), split(200), networks)
    assert len(images) == networks
    held_out = np.concatenate([validation.rows for _, validation in images])
    assert sorted(held_out) == list(range(200))
    for train, validation in images:
        assert sorted([*train.rows, *validation.rows]) == list(range(200))


def test_without_it_the_validation_folds_are_held_out() -> None:
    phase = PhaseSettings(name="search", space={}, validation_folds=(3, 4))
    ((train, validation),) = choose_folds(phase, split(200), 1)
    folds = split(200).folds
    assert set(folds[validation.rows]) == {3, 4}
    assert set(folds[train.rows]) == set(range(10)) - {3, 4}


def test_a_subset_is_what_is_dealt_out() -> None:
    phase = PhaseSettings(name="search", space={}, train_images=50)
    images = choose_folds(phase, split(200), 5)
    assert sum(len(validation) for _, validation in images) == 50


def test_auto_means_five_where_a_class_has_few_images() -> None:
    auto = SearchSettings(cross_validation="auto")
    assert (auto.networks(99), auto.networks(100)) == (5, 1)
    assert SearchSettings(cross_validation=3).networks(10_000) == 3


@pytest.mark.slow
def test_few_images_are_cross_validated_by_default(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = submit(
        *("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml"),
        *("--max-trials", "1", "--set", "search.cross_validation=auto"),
        *("--set", "final.data=train", "--set", "final.attempts=1"),
    )
    assert done.returncode == 0, done.stderr
    assert "trains 5 networks per trial" in done.stdout
    (trial,) = read_trials(Directory(run))
    assert trial.folds == 5
    # Of 48 training images each is judged once; a network is trained on about four fifths.
    assert trial.validation_images == 48
    assert trial.train_images is not None
    assert 36 <= trial.train_images < 48
    assert trial.image_epochs() == len(trial.epochs) * trial.train_images * 5


def test_more_networks_than_folds_are_refused(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    words = ["jobs/tune.py", "--data", noise_data, "--out", tmp_path / "run"]
    done = submit(*words, "--set", "search.cross_validation=11")
    assert done.returncode == 2
    assert "search.cross_validation" in one_line(done.stderr)
