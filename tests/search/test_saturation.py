"""Phases that end when more trials would find nothing that the validation images can show."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Run as Submit
from support.kills import kill_when
from support.made_up import bare_trial
from support.paths import CONF_DIR
from support.unfinished import assert_others_kept, unfinished_copy

from cnn import Run, tune
from cnn.core.directory import Directory
from cnn.data.data_set import DataSet
from cnn.rundir.trials import TrialResult, read_trials
from cnn.search.extension import plan_extension
from cnn.search.resume import resume_settings
from cnn.search.saturation import saturated
from cnn.search.stopping import Stopping
from cnn.settings.schema import PhaseSettings
from cnn.settings.toml import dump_settings, load_settings

PHASE = PhaseSettings.model_validate(
    {"name": "search", "space": {}, "saturation": True, "startup_trials": 4, "max_trials": 60}
)


def trials(*accuracies: float, images: int = 400, status: str = "ok") -> list[TrialResult]:
    return [
        bare_trial(number, status, accuracy=accuracy, validation_images=images)
        for number, accuracy in enumerate(accuracies)
    ]


def phase(**changes: Any) -> PhaseSettings:
    return PhaseSettings.model_validate({**PHASE.model_dump(), **changes})


def test_it_is_saturated_when_the_best_cannot_be_told_apart_and_more_would_not_gain() -> None:
    found = trials(0.5, 0.6, 0.7, *[1.0] * 5)
    assert saturated(PHASE, found) == (
        "its 5 best trials are within one standard error (0.0035) of each other, and another 52 "
        "trials, about 0 s of training, would hardly improve on 1.0000 (search.saturation)"
    )
    # Not before the start-up trials and as many again have ended, whatever became of others.
    assert saturated(PHASE, found[1:]) is None
    pruned = bare_trial(90, "pruned", accuracy=0.9, validation_images=400)
    assert saturated(PHASE, [*found[1:], pruned, bare_trial(91, "crashed")]) is None
    assert saturated(phase(max_trials=8), found) is None


@pytest.mark.parametrize(
    "accuracies",
    [
        # The best differ by more than their error, 0.0035.
        (*[0.5] * 4, 0.99, 0.995, 0.998, 1.0),
        # They are equals, but others as good as these are likely to come.
        (*[0.5] * 4, 0.80, 0.801, 0.803, 0.805, 0.808),
    ],
)
def test_it_goes_on_where_there_is_something_to_gain(accuracies: tuple[float, ...]) -> None:
    assert saturated(PHASE, trials(*accuracies)) is None


def test_a_gain_below_half_a_validation_image_is_none() -> None:
    # An expected gain of 0.0008: less than half of one in 400 images, not of one in 4,000.
    accuracies = (*[0.5] * 6, *[0.9] * 4, 0.9005, 0.9005)
    assert saturated(PHASE, trials(*accuracies, images=400)) is not None
    assert saturated(PHASE, trials(*accuracies, images=4000)) is None


def test_networks_that_guess_are_all_equal_and_say_nothing() -> None:
    guessing = trials(*[0.6] * 8)
    assert saturated(PHASE, guessing, chance=0.6) is None
    assert saturated(PHASE, guessing, chance=0.5) is not None


@pytest.mark.parametrize(
    "changes", [{"saturation": False}, {"strategy": "grid"}, {"objective": "val_f1"}]
)
def test_it_says_nothing_of_other_phases(changes: dict[str, Any]) -> None:
    found = trials(*[1.0] * 8)
    assert saturated(phase(**changes), found) is None


def test_it_stays_saturated_until_the_search_is_extended(tmp_path: Path) -> None:
    stopping = Stopping(PHASE, Directory(tmp_path))
    for trial in trials(*[0.9] * 8):
        stopping.add(trial)
    reason = stopping.reason()
    assert reason is not None
    # A trial that was running then is better after all.
    stopping.add(bare_trial(8, accuracy=0.99, validation_images=400))
    assert stopping.reason() == reason
    stopping.go_on()
    assert stopping.reason() is None


def test_a_number_of_trials_that_is_asked_for_is_made() -> None:
    assert load_settings().phases[0].saturation
    flags = {"max_trials": 50}
    assert not load_settings(flags=flags).phases[0].saturation
    again = load_settings(flags=flags, assignments=["search.saturation=true"])
    assert again.phases[0].saturation
    assert load_settings(tables={"search": flags}).phases[0].saturation
    text = dump_settings(load_settings())
    assert not resume_settings(text, flags=flags)[0].phases[0].saturation
    # The number that a run has is no new one.
    assert resume_settings(text, flags={"max_trials": 20})[1] == []
    for given in ({"flags": flags}, {"tables": {"search": flags}}):
        assert not plan_extension(text, [], **given).settings.phases[0].saturation


SEARCH: dict[str, Any] = {
    "max_trials": 8,
    "startup_trials": 2,
    "epochs": 12,
    "patience": 12,
    "parallelism": 1,
}
SPACE = {"learning_rate": {"low": 3e-3, "high": 1e-2}, "filters": {"choices": [2, 4, 8]}}
QUICK = {"epochs": 1, "attempts": 1, "suspects": "none"}


@pytest.fixture(scope="module")
def saturated_run(spark: Any, greys: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("saturated") / "run"
    config = CONF_DIR / "test.toml"
    tune(spark, greys, run, config=config, search=SEARCH, space=SPACE, final=QUICK)
    return run


def notes(run: Path) -> list[str]:
    found: list[str] = json.loads((run / "result.json").read_text())["notes"]
    return [note for note in found if note.startswith("phase search ended early: its 5 best")]


def test_a_saturated_search_ends_and_says_so(saturated_run: Path) -> None:
    trials = read_trials(Directory(saturated_run))
    searched = [trial for trial in trials if trial.repeats is None]
    assert 5 <= len(searched) < 8
    # What may win was trained again, with no more trainings than were saved.
    repeated = {trial.repeats for trial in trials} - {None}
    assert len(repeated) > 1
    assert len(trials) <= 8
    assert Run.load(saturated_run).result.winner.number in repeated
    assert len(notes(saturated_run)) == 1
    assert "its 5 best trials" in (saturated_run / "report.html").read_text()


@pytest.mark.parametrize("last_trial", ["missing", pytest.param("there", marks=pytest.mark.slow)])
def test_a_resumed_run_is_saturated_by_the_same_trials(
    spark: Any, saturated_run: Path, tmp_path: Path, last_trial: str
) -> None:
    run = tmp_path / "run"
    last = unfinished_copy(saturated_run, run)
    if last_trial == "there":
        shutil.copy(saturated_run / "trials" / last.name, last)
    tune(spark, out=run, resume=True)
    assert_others_kept(saturated_run, run, last)
    assert last == max((run / "trials").iterdir())
    assert len(notes(run)) == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_search_is_saturated_when_it_is_resumed(
    submit: Submit, greys: DataSet, saturated_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["jobs/tune.py", "--data", str(greys.path), "--out", str(run)]
    words += ["--config", "conf/test.toml", "--set", "space.learning_rate={low=3e-3, high=1e-2}"]
    words += ["--set", "space.filters={choices=[2, 4, 8]}"]
    for key, value in SEARCH.items():
        words += ["--set", f"search.{key}={value}"]
    kill_when(words, (run / "trials" / "00003.json").exists)
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stderr
    found, undisturbed = (read_trials(Directory(one)) for one in (run, saturated_run))
    assert [trial.params for trial in found] == [trial.params for trial in undisturbed]
    assert len(notes(run)) == 1
