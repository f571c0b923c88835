"""Whether fine-tuning has improved the networks that it continued, by more than chance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_up import bare_trial, manifest

from cnn.core.directory import Directory
from cnn.rundir.trials import CHECKPOINTS, TrialResult, trial_name
from cnn.search.context import Search
from cnn.search.continued import improved, winner_after
from cnn.settings.toml import load_settings
from cnn.train.checkpoint_file import write_checkpoint
from cnn.train.label_errors import Answers
from cnn.train.out_of_fold import answers_name

COUNT = 60


def search(folder: Path, objective: str, continues: str = "start") -> Search:
    phases: list[dict[str, Any]] = [{"name": "heads"}, {"name": "tuning", continues: "heads"}]
    tables = {"search": {"objective": objective}, "phases": phases}
    return Search(
        spark=None,  # type: ignore[arg-type]
        data=Directory(folder / "data"),
        run=Directory(folder),
        settings=load_settings(tables=tables),
        manifest=manifest(16, {"a": COUNT, "b": COUNT}),
        earlier=(),
        say=print,
    )


def said(own: Search, number: int, probability_of_label: np.ndarray, *, shuffled: int = 0) -> None:
    """Writes what a trial's networks said of the first images, in some order."""
    rows = np.random.default_rng(shuffled).permutation(len(probability_of_label))
    labels = np.arange(len(rows)) % 2
    of_label = probability_of_label[rows]
    probabilities = np.stack([1 - of_label, of_label], axis=1)
    probabilities[labels[rows] == 0] = probabilities[labels[rows] == 0][:, ::-1]
    answers = Answers.of(probabilities, labels[rows])
    arrays = {
        "rows": [rows],
        "answers": [answers.own, answers.classes, answers.probabilities],
    }
    place = own.run.sub(CHECKPOINTS)
    state = {"data": own.manifest.fingerprint}
    write_checkpoint(place, answers_name(trial_name(number)), arrays, state)


def trials(better: bool = True) -> tuple[TrialResult, TrialResult]:
    gain = 0.02 if better else 0.0
    return (
        bare_trial(0, phase="heads", accuracy=0.9, loss=0.3),
        bare_trial(1, phase="tuning", accuracy=0.9 + gain, loss=0.3 - gain),
    )


@pytest.mark.parametrize("objective", ["val_loss", "val_accuracy"])
@pytest.mark.parametrize("better_images", [12, 3])
def test_it_must_be_better_by_more_than_its_standard_error(
    tmp_path: Path, objective: str, better_images: int
) -> None:
    own = search(tmp_path, objective)
    before = np.tile([0.9, 0.9, 0.4], COUNT // 3)
    after = before.copy()
    # It mends some of the images that were wrong and spoils two that were right.
    after[2 : 3 * better_images : 3] = 0.7
    after[[0, 1]] = 0.4
    said(own, 0, before, shuffled=1)
    said(own, 1, after, shuffled=2)
    phase = own.settings.phases[1]
    assert improved(own, phase, *trials()) is (better_images == 12)
    assert not improved(own, phase, *trials(better=False))


def test_without_what_was_said_being_better_is_enough(tmp_path: Path) -> None:
    own = search(tmp_path, "val_loss")
    phase = own.settings.phases[1]
    assert improved(own, phase, *trials())
    assert not improved(own, phase, *trials(better=False))
    # Of other images it cannot be compared either.
    said(own, 0, np.full(10, 0.5))
    said(own, 1, np.full(12, 0.5))
    assert improved(own, phase, *trials())


@pytest.mark.parametrize(
    ("continues", "loss", "winner"),
    [
        ("start", 0.09, 1),
        ("start", 0.11, 0),
        # Equal: what was there before the extra training.
        ("start", 0.10, 0),
        # Without `start` a later phase may have seen other images, and its best trial wins.
        ("fix", 0.11, 1),
    ],
)
def test_what_a_phase_continues_wins_unless_it_was_improved(
    tmp_path: Path, continues: str, loss: float, winner: int
) -> None:
    own = search(tmp_path, "val_loss", continues)
    heads, tuning = own.settings.phases
    first = bare_trial(0, phase="heads", accuracy=0.9, loss=0.10)
    best = bare_trial(1, phase="tuning", accuracy=0.9, loss=loss)
    assert winner_after(own, heads, first, {}) is first
    assert winner_after(own, tuning, best, {"heads": first}).number == winner
