"""A search on a backbone, from a data directory to predictions."""

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backbones import in_plain_keras, save_backbone
from support.images import write_images
from support.jobs import Run, one_line, preprocess, started
from support.kills import kill_when

from cnn.core.directory import Directory
from cnn.rundir.result import read_result
from cnn.rundir.trials import read_trials

# Few epochs, and every kind of network: from scratch, frozen, fine-tuned.
SHORT = (
    *("--config", "conf/test.toml", "--set", "search.strategy=grid", "--max-trials", "20"),
    *("--set", "search.head_epochs=4", "--set", "search.fine_tune_epochs=2"),
    *("--set", "search.cross_validation=2", "--set", "final.attempts=1"),
    *("--set", "space.conv_layers=1", "--set", "space.learning_rate=0.01"),
    *("--set", "space.l2=0.001", "--set", "space.backbone_rate=0.1"),
    *("--set", "space.augment={choices=[true,false]}", "--set", "features.views=2"),
)
# Heads, and networks that are fine-tuned from them.
BOTH = ("space.head_units=0", "space.fine_tune={choices=[0.0,0.5]}")


def tuned(
    submit: Run,
    data: Path,
    run: Path,
    backbone: Path,
    *settings: str,
    more: tuple[str | Path, ...] = (),
) -> str:
    """A short search on a backbone; returns what the job printed."""
    words = ["jobs/tune.py", "--data", data, "--out", run, "--backbone", backbone, *SHORT]
    words += [word for setting in settings for word in ("--set", setting)]
    done = submit(*words, *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_backbone(tmp_path_factory.mktemp("backbone") / "small.keras")


@pytest.fixture(scope="module")
def searched(
    submit: Run, noise_data: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = tmp_path_factory.mktemp("searched") / "run"
    said = tuned(submit, noise_data, run, backbone, *BOTH)
    assert "computing the features of 48 images and 2 views of each" in said
    return run


@pytest.mark.slow
def test_each_kind_of_network_is_tried_and_the_best_is_saved(
    searched: Path, backbone: Path
) -> None:
    trials = read_trials(Directory(str(searched)))
    assert [trial.status for trial in trials] == ["ok"] * 6
    kinds = [(t.params["backbone"], t.params.get("fine_tune"), t.params["augment"]) for t in trials]
    assert sorted(map(str, kinds)) == sorted(
        str((name, tuned, augment))
        for augment in (True, False)
        for name, tuned in (("none", None), (str(backbone), 0.0), (str(backbone), 0.5))
    )
    for trial in trials:
        fine_tuned = bool(trial.params.get("fine_tune"))
        assert (trial.head is not None) == fine_tuned
        assert ("conv_layers" in trial.params) == (trial.params["backbone"] == "none")
        assert ("backbone_rate" in trial.params) == fine_tuned
        assert len(trial.epochs) <= (2 if fine_tuned or "conv_layers" in trial.params else 4)
        assert trial.validation_images == 48
    assert [path.name for path in (searched / "backbones").iterdir() if path.suffix == ".keras"]
    assert not (searched / "features").exists()


@pytest.mark.slow
def test_what_holds_for_other_trials_holds_on_a_backbone(
    submit: Run, searched: Path, noise_data: Path, backbone: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tuned(
        *(submit, noise_data, run, backbone, *BOTH),
        *("search.strategy=tpe", "search.confirm={top=2,seeds=2}"),
        *("model.class_weights=balanced", "model.precision=bfloat16"),
        more=("--warm-start", searched, "--max-trials", "4"),
    )
    trials = read_trials(Directory(str(run)))
    assert {trial.status for trial in trials} <= {"ok", "pruned"}
    repeats = [trial.repeats for trial in trials if trial.repeats is not None]
    assert len(repeats) == 4
    assert len(set(repeats)) == 2
    earlier = read_trials(Directory(str(searched)))
    best = min(earlier, key=lambda trial: trial.loss or 0.0)
    assert trials[0].params == best.params
    assert {trial.precision for trial in trials} == {"bfloat16"}


@pytest.mark.slow
@pytest.mark.parametrize("fine_tune", [0.0, 1.0])
def test_the_saved_network_takes_pixels_and_is_plain_keras(
    submit: Run, noise_data: Path, backbone: Path, tmp_path: Path, fine_tune: float
) -> None:
    run = tmp_path / "run"
    tuned(
        *(submit, noise_data, run, backbone),
        *(f'space.backbone="{backbone}"', f"space.fine_tune={fine_tune}"),
        *("space.head_units=8", "space.augment=false"),
    )
    result = read_result(Directory(str(run)))
    assert result.params["backbone"] == str(backbone)
    rows = predicted(submit, run, noise_data.parent / "images", tmp_path / "predictions")
    dtype, probabilities = in_plain_keras(run / "model.keras", np.zeros((2, 32, 32, 1), np.uint8))
    assert dtype == "uint8"
    assert np.sum(probabilities, axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert len(rows) == 60


def predicted(submit: Run, run: Path, images: Path, out: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    done = submit("jobs/predict.py", "--model", run, "--images", images, "--out", out)
    assert done.returncode == 0, done.stderr
    return list(pq.read_table(out / "predictions").to_pylist())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--backbone", "efficientnet_v2_b9"), "efficientnet_v2_b"),
        (("--backbone", "/nowhere/b.keras"), "/nowhere/b.keras"),
        (("--set", "space.fine_tune=0.5"), "space.fine_tune must be used with a backbone"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_refused(
    submit: Run, noise_data: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = submit("jobs/tune.py", "--data", noise_data, "--out", tmp_path / "run", *words)
    assert done.returncode == 2
    assert message in one_line(done.stderr)
    assert list(tmp_path.iterdir()) == []


PHASES = """
[search]
strategy = "grid"
cross_validation = 2
head_epochs = 6
fine_tune_epochs = 1
warmup = 0.0
halving = false

[[phases]]
name = "heads"
[phases.space]
backbone = "{backbone}"
head_units = {{choices = [0, 8]}}
l2 = 0.0
learning_rate = 0.01
batch_size = 16
dropout = 0.0

[[phases]]
name = "on"
start = "heads"
[phases.space]
fine_tune = {{choices = [0.0, 1.0]}}
backbone_rate = 0.1
learning_rate = 1e-9

[final]
attempts = 1
cooldown = 0.0
"""


@pytest.mark.slow
def test_a_phase_with_start_continues_the_networks_of_the_earlier_one(
    submit: Run, noise_data: Path, backbone: Path, tmp_path: Path
) -> None:
    config = tmp_path / "phases.toml"
    config.write_text(PHASES.format(backbone=backbone))
    words = ("jobs/tune.py", "--data", noise_data, "--out", tmp_path / "run", "--config", config)
    done = submit(*words)
    assert done.returncode == 0, done.stderr
    trials = read_trials(Directory(str(tmp_path / "run")))
    assert [trial.status for trial in trials] == ["ok"] * 4
    best = min(trials[:2], key=lambda t: (-(t.accuracy or 0), t.loss))
    # At this learning rate nothing is learnt, so they score what the networks that they began with
    # do: exactly on features, and on pixels as well as float16 allows.
    frozen, tuned = trials[2:]
    assert frozen.loss == pytest.approx(best.loss, rel=1e-5)
    assert tuned.loss == pytest.approx(best.loss, rel=1e-2)
    assert frozen.params["head_units"] == tuned.params["head_units"] == best.params["head_units"]
    result = read_result(Directory(str(tmp_path / "run")))
    # Which of them is better, if any, is a matter of rounding.
    assert result.phases[-1].improved is (result.winner.phase == "on")

    again = submit(
        *("jobs/tune.py", "--data", noise_data, "--out", tmp_path / "other", *SHORT),
        *("--backbone", tmp_path / "run" / "model.keras"),
    )
    assert again.returncode == 2
    assert "is of a run on the same data; use a phase with start" in one_line(again.stderr)


@pytest.mark.slow
def test_features_that_a_killed_driver_computed_are_not_computed_again(
    submit: Run, backbone: Path, tmp_path: Path
) -> None:
    write_images(tmp_path / "images", {"cats": 600, "dogs": 600})
    data, run = preprocess(submit, tmp_path), tmp_path / "run"
    words = ("jobs/tune.py", "--data", data, "--out", run, "--backbone", backbone, *SHORT)
    fixed = ("--set", "space.head_units=0", "--set", "space.fine_tune=0.0")
    kill_when(
        [*map(str, words), *fixed, "--set", "features.views=8"],
        lambda: any(run.glob("features/*/*.npy")),
    )
    before = {path: path.stat().st_mtime_ns for path in run.glob("features/*/*.npy")}
    assert 0 < len(before) < 4
    # Its executors are gone as well, but what they wrote stays.
    resumed = started("jobs/tune.py", "--resume", run)
    seen: dict[Path, int] = {}
    while resumed.poll() is None:
        with contextlib.suppress(OSError):
            seen |= {path: path.stat().st_mtime_ns for path in before}
        time.sleep(0.02)
    _, error = resumed.communicate()
    assert resumed.returncode == 0, error
    assert seen == before
    assert {trial.status for trial in read_trials(Directory(str(run)))} == {"ok"}
