"""The time that a search has left as it is said: from its first second to the winner's test."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from support.made_up import epochs, manifest, result
from support.paths import CONF_DIR
from support.terminal import on_a_terminal

from cnn.core.directory import Directory
from cnn.core.display import OnStdout
from cnn.rundir.heartbeat import ProgressReporter, TrialProgress, read_progress, report_testing
from cnn.rundir.result import WinnerOutcome
from cnn.rundir.trials import EpochResult, TrialResult
from cnn.search.forecast import Forecast, images_an_epoch
from cnn.search.time_left import TimeLeft
from cnn.search.winner_progress import WinnerProgress
from cnn.settings.schema import Settings
from cnn.settings.toml import load_settings

# 1,000 training images, of which 800 are outside the validation folds.
DATA = manifest(32, {"cats": 500, "dogs": 500})


def settings(*assignments: str, config: str = "default.toml") -> Settings:
    return load_settings([CONF_DIR / config], assignments=list(assignments))


def forecast(found: Settings, phase: int = 0, **more: bool | float) -> Forecast:
    return Forecast(found, DATA, found.phases[phase], slots=2, **more)  # type: ignore[arg-type]


def trial(number: int, epochs: int, *, best: int, seconds_an_epoch: float = 8.0) -> TrialResult:
    """One that was trained on 800 images, in 5 seconds besides."""
    now, training = datetime.now(UTC), epochs * seconds_an_epoch
    return TrialResult(
        number=number,
        phase="search",
        params={},
        status="ok",
        accuracy=0.5,
        loss=0.5,
        best_epoch=best,
        max_epochs=15,
        train_images=800,
        epochs=tuple(
            EpochResult(epoch=n + 1, loss=1, accuracy=0.5, seconds=1) for n in range(epochs)
        ),
        seconds={"launch": 1.0, "data": 1.0, "compile": 3.0, "train": training},
        started=now - timedelta(seconds=training + 4),
        ended=now,
    )


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def minutes(text: str) -> tuple[float, float]:
    """The least and the most, in seconds, of what is said to be left."""
    found = re.match(r"about (\d+)(?: (s|min))?(?: to (\d+))? (s|min) left", text)
    assert found, text
    low, low_unit, high, unit = found.groups()
    seconds = {"s": 1, "min": 60}
    return int(low) * seconds[low_unit or unit], int(high or low) * seconds[unit]


def test_a_time_limit_is_known_from_the_first_second() -> None:
    clock = Clock()
    left = TimeLeft(forecast(settings()), 3600, clock)
    said = left.text(20, 2, None)
    assert said == "at most 60 min left for trials, then the winner's training"
    clock.time += 1800
    assert left.text(20, 2, None).startswith("at most 30 min left")
    assert TimeLeft(forecast(settings()), None).text(20, 2, None) == "time left not yet known"


def test_before_a_trial_is_done_those_that_run_say_how_long_it_takes() -> None:
    clock = Clock()
    left = TimeLeft(forecast(settings("search.halving=false")), None, clock)
    for number in range(2):
        left.launched(number)
    for step in range(12):
        clock.time = 105.0 + step
        reached = TrialProgress(number=0, epoch=0.125 * (step + 1), max_epochs=15)
        twin = reached.model_copy(update={"number": 1})
        left.reached({0: reached, 1: twin})
    said = left.text(4, 2, None)
    assert said.endswith("left, the winner's training included")
    # Three rounds of 125 seconds, and some 8 seconds an epoch on the 800 images.
    low, high = minutes(said)
    assert low < 360 + 15 * 10 < high
    assert high < 1500
    # A time limit cuts the trials short, and not the winner's training.
    bounded = TimeLeft(forecast(settings()), 60, clock)
    bounded.finished(trial(0, 15, best=2))
    assert minutes(bounded.text(100, 2, trial(0, 15, best=2)))[1] <= 60 + 2 * 10 + 30


def test_nothing_is_ready_before_the_winner_is_trained() -> None:
    left = TimeLeft(forecast(settings()), None)
    best = trial(0, 15, best=12)
    for number in range(3):
        left.finished(best.model_copy(update={"number": number}))
    low, high = minutes(left.text(0, 2, best))
    # Twelve epochs on 1,000 images at a hundredth of a second each.
    assert 100 <= low <= high <= 180
    assert "the winner's training included" in left.text(0, 2, best)
    # Where its trial's state is kept there is nothing more to train.
    kept = Forecast(settings("final.data='train'"), DATA, settings().phases[0], 2, keeps_state=True)
    assert kept.winner(best, 0.01)[1] < 20


def test_repetitions_and_later_phases_are_in_it() -> None:
    confirmed = settings("search.confirm={top=3,seeds=2}")
    assert forecast(confirmed).covers == "repetitions and the winner's training included"
    assert forecast(confirmed, repeating=True).covers == "the winner's training included"
    best = trial(0, 10, best=9)
    low, high = forecast(confirmed).further(5.0, best, 0.01)
    # Six of them on two slots, of 10 to 15 epochs of 8 seconds.
    assert (low, high) == pytest.approx((3 * 10 * 8, 3 * 15 * 8))
    assert forecast(confirmed, repeating=True).further(5.0, best, 0.01) == (0, 0)

    report = settings(config="report.toml")
    assert forecast(report).covers == "later phases and the winner's training included"
    assert forecast(report, 1).further(0.0, None, 0.01)[1] > 0
    assert forecast(report, 2).further(0.0, None, 0.01) == (0, 0)
    both = forecast(report).further(0.0, None, 0.01)[1]
    assert both > forecast(report, 1).further(0.0, None, 0.01)[1]


def test_what_a_later_phase_takes_is_not_known_from_another_kind_of_networks() -> None:
    phases = """phases=[
        {name="heads", space={backbone="any", learning_rate=0.01, batch_size=8}},
        {name="on", start="heads", space={fine_tune=0.5, backbone_rate=0.1}}
    ]"""
    found = settings(phases.replace("\n", " "))
    left = TimeLeft(forecast(found), None)
    left.finished(trial(0, 15, best=12))
    said = left.text(4, 2, trial(0, 15, best=12))
    assert said.endswith("left for trials, then later phases and the winner's training")
    tuning = TimeLeft(forecast(found, 1), None)
    tuning.finished(trial(1, 15, best=12))
    assert tuning.text(4, 2, trial(1, 15, best=12)).endswith("the winner's training included")


def test_images_of_an_epoch_are_those_of_all_networks() -> None:
    (phase,) = settings().phases
    assert images_an_epoch(phase, DATA) == 800
    assert images_an_epoch(phase, manifest(32, {"cats": 50, "dogs": 50})) == 4 * 100
    subset = phase.model_copy(update={"train_images": 100})
    assert images_an_epoch(subset, DATA) == 80


def winner(run: Directory) -> WinnerProgress:
    return WinnerProgress(
        "training the winner, trial 7, on all 1,000 training images",
        7,
        images=1000,
        tested=250,
        expected=(20.0, 40.0),
        read=partial(read_progress, run),
        attempts=3,
    )


def train(run: Directory, pause: Callable[[], None]) -> WinnerOutcome:
    """What tells the driver in the winner's training, and what that comes to."""
    pause()
    reporter = ProgressReporter(run, 7, 15, 0, attempt=2)
    reporter.on_step(2.4)
    pause()
    report_testing(run, 7, 250)
    pause()
    curve = [epoch.model_dump() for epoch in epochs(15, 0.9)]
    made = result(final={"epochs": curve}, test={"count": 250, "accuracy": 0.875})
    known = {name: made[name] for name in WinnerOutcome.model_fields if name in made}
    return WinnerOutcome.model_validate(known)


def test_the_winners_training_is_a_line_that_redraws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from time import sleep

    run = Directory(tmp_path)

    def work() -> None:
        winner(run).run(lambda: train(run, lambda: sleep(1.6)), OnStdout())

    said = on_a_terminal(monkeypatch, work)
    title = "training the winner, trial 7, on all 1,000 training images"
    assert title in said
    assert re.search(r"starting, about \d+ to \d+ s left", said)
    assert re.search(r"training 2 of at most 3, epoch 2\.4/15, about \d+ to \d+ s left", said)
    assert "testing the winner on 250 images" in said
    assert re.search(r"trained for 15 epochs and tested on 250 images in [5-9] s", said)


def test_in_a_log_the_winners_training_is_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from time import sleep

    run = Directory(tmp_path)
    progress = winner(run)
    progress.run(lambda: train(run, lambda: sleep(1.2)), OnStdout())
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == [
        "training the winner, trial 7, on all 1,000 training images, about 20 to 40 s",
        "testing the winner on 250 images",
    ]
    assert re.match(r"trained for 15 epochs and tested on 250 images in \d s$", last)


def test_a_long_training_is_a_line_each_tenth(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    progress = winner(run)
    assert progress.quiet_seconds == 60
    reporter = ProgressReporter(run, 7, 20, 0, attempt=1)
    reporter.on_step(2.5)
    progress.refresh()
    assert progress.quiet_seconds == 10
    assert re.match(r"the winner: epoch 2\.5/20, about \d+ to \d+ s left$", progress.line())
    # Until the next tenth is done, or a minute has passed.
    assert progress.quiet_seconds == 60
