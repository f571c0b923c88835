"""A driver killed at any moment: what it had finished is kept, the rest is done, nothing twice."""

import json
import random
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.images import write_images
from support.jobs import Run, one_line, preprocess
from support.kills import kill_after, kill_when
from support.paths import REPOSITORY

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.rundir.earlier_runs import read_earlier
from cnn.rundir.trials import TrialResult, best_trial, read_trials
from cnn.start import RunRequest, resume_run

TRIALS = 8
# The others are run with --all.
IN_CI = 2
MOMENTS = [pytest.param(n, marks=[pytest.mark.slow] if n != IN_CI else []) for n in range(10)]
GRID = range(3, 7)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def tune(data: Path, run: Path, strategy: str) -> list[str]:
    settings = {
        "search.strategy": strategy,
        "search.max_trials": TRIALS,
        "search.epochs": 2,
        "search.halving": "true",
        "space.learning_rate": "{low = 1e-4, high = 1e-2, log = true, steps = 6}",
        "final.epochs": 1,
        "final.attempts": 1,
    }
    words = ["jobs/tune.py", "--data", data, "--out", run, "--config", "conf/test.toml"]
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return [str(word) for word in words]


@pytest.fixture(scope="module")
def undisturbed(submit: Run, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """For a strategy what a search that nothing interrupts tries, by number, and its seconds."""

    @cache
    def found(strategy: str) -> tuple[dict[int, Any], float]:
        run = tmp_path_factory.mktemp(strategy) / "run"
        started = time.monotonic()
        done = submit(*tune(noise_data, run, strategy))
        assert done.returncode == 0, done.stderr
        return by_number(read_trials(Directory(run))), time.monotonic() - started

    return found


def by_number(trials: Iterable[TrialResult]) -> dict[int, Any]:
    return {trial.number: trial.params for trial in trials}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_driver_killed_at_any_moment_loses_nothing(
    submit: Run, noise_data: Path, undisturbed: Any, tmp_path: Path, moment: int
) -> None:
    strategy = "grid" if moment in GRID else "random"
    configurations, seconds = undisturbed(strategy)
    run = tmp_path / "run"
    # A tenth of the run each, so that together they cover it.
    after = seconds * (moment + random.Random(moment).random()) / len(MOMENTS)
    kill_after(tune(noise_data, run, strategy), after)
    if not (run / "run.json").exists():
        # Nothing had begun: the same command simply works.
        done = submit(*tune(noise_data, run, strategy))
    else:
        finished = {path: path.read_bytes() for path in sorted((run / "trials").glob("*"))}
        done = submit("jobs/tune.py", "--resume", run)
        for path, content in finished.items():
            assert path.read_bytes() == content, f"{path.name} was done twice"
    assert done.returncode == 0, done.stdout + done.stderr
    trials = read_trials(Directory(run))
    assert by_number(trials) == configurations
    assert {trial.status for trial in trials} <= {"ok", "pruned"}
    result = json.loads((run / "result.json").read_text())
    assert sum(result["trials"].values()) == TRIALS
    assert not (run / "set-aside").exists()
    assert not (run / "running").exists()
    if moment == IN_CI:
        again = submit("jobs/tune.py", "--resume", run)
        assert again.returncode == 0
        assert again.stdout.splitlines() == [
            "the run has already finished",
            f"report: {run}/report.html",
        ]


@pytest.mark.slow
def test_no_epoch_is_trained_twice(submit: Run, noise_data: Path, tmp_path: Path) -> None:
    run, epochs = tmp_path / "run", 30
    state = run / "checkpoints" / "00000.npz"
    settings = [f"search.epochs={epochs}", "search.patience=30", "search.checkpoint_seconds=0"]
    settings += ["search.max_trials=1", "final.data=train", "search.objective=val_loss"]
    flags = [word for setting in settings for word in ("--set", setting)]
    arguments = ["jobs/tune.py", "--data", str(noise_data), "--out", str(run), *flags]

    written: set[int] = set()

    def after_a_few_epochs() -> bool:
        if state.exists():
            written.add(state.stat().st_mtime_ns)
        return len(written) >= 4

    kill_when([*arguments, "--config", "conf/test.toml"], after_a_few_epochs)
    assert not (run / "trials").exists()
    done = submit("jobs/tune.py", "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    (trial,) = read_trials(Directory(run))
    assert trial.continued >= 3
    assert [epoch.epoch for epoch in trial.epochs] == list(range(1, epochs + 1))
    # The winner's training is its trial's: the same epochs, with the same weights at its best.
    result = json.loads((run / "result.json").read_text())
    assert [attempt["seed"] for attempt in result["final"]["attempts"]] == [trial.seed]
    assert result["final"]["epochs"] == [epoch.model_dump() for epoch in trial.epochs]
    assert result["validation"]["loss"] == pytest.approx(trial.loss, rel=1e-5)
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
def test_trials_that_the_end_of_the_time_cancelled_run_when_resumed(
    submit: Run, noise_data: Path, undisturbed: Any, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = tune(noise_data, run, "random")
    # As a file of the user's own, whose space is another network's too.
    words[words.index("conf/test.toml")] = str(tmp_path / "own.toml")
    shutil.copy(REPOSITORY / "conf" / "test.toml", tmp_path / "own.toml")
    words += ["--set", "space.augment=false", "--set", "model.builder=slow:build"]
    # All but one trial of each pair wait for longer than there is time.
    done = submit(*words, "--timeout", "4", env=slow(tmp_path))
    first = read_trials(Directory(run))
    assert "cancelled" in {trial.status for trial in first}, done.stderr
    (run / "result.json").unlink(missing_ok=True)
    done = submit(
        *("jobs/tune.py", "--resume", run, "--timeout", "500"),
        env=slow(tmp_path) | {"SLOW_SECONDS": "0"},
    )
    assert done.returncode == 0, done.stderr
    second = read_trials(Directory(run))
    assert by_number(second) == undisturbed("random")[0]
    assert {trial.status for trial in second} <= {"ok", "pruned"}
    kept = {trial.number: trial for trial in second}
    for trial in first:
        assert (kept[trial.number] == trial) == (trial.status != "cancelled")


def slow(folder: Path) -> dict[str, str]:
    """Where a builder is that takes SLOW_SECONDS, but not when it is checked before the trials."""
    (folder / "slow.py").write_text(
        "import os, pathlib, time, cnn.model.network, cnn.settings.schema\n"
        "checked = pathlib.Path(__file__).with_name('checked')\n"
        "def build(params, **shape):\n"
        "    if checked.exists():\n"
        "        time.sleep(float(os.environ['SLOW_SECONDS']))\n"
        "    checked.touch()\n"
        "    params = cnn.settings.schema.ModelParams.model_validate(params.model_dump())\n"
        "    return cnn.model.network.build(params, **shape)\n"
    )
    return {"PYTHONPATH": str(folder), "SLOW_SECONDS": "100"}


@pytest.fixture(scope="module")
def unfinished(noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose driver was killed in the middle."""
    run = tmp_path_factory.mktemp("unfinished") / "run"

    def in_the_middle() -> bool:
        # The first of them may have been pruned; the best of all never is.
        return len(list((run / "trials").glob("*.json"))) >= TRIALS / 2

    kill_when(tune(noise_data, run, "random"), in_the_middle)
    assert not (run / "result.json").exists()
    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "search.epochs=5"],
            "--resume must keep the run's search.epochs, 2, but got 5",
        ),
        pytest.param(
            ["--seed", "3"],
            "--resume must keep the run's search.seed, 0, but got 3",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--set", "space.dropout=0.1"],
            "--resume must keep the run's space.dropout, 0.0, but got 0.1",
            marks=pytest.mark.slow,
        ),
        (["--out", "elsewhere"], "--resume cannot be combined with --out"),
        pytest.param(
            ["--overwrite"],
            "--resume cannot be combined with --overwrite",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["--warm-start", "elsewhere"],
            "--resume cannot be combined with --warm-start",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_would_make_it_another_search_is_refused_by_name(
    submit: Run, unfinished: Path, words: list[str], message: str
) -> None:
    before = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    done = submit("jobs/tune.py", "--resume", unfinished, *words)
    assert done.returncode == 2
    assert message in one_line(done.stderr)
    after = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    assert after == before


@pytest.fixture(scope="module")
def finished(submit: Run, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    done = submit(
        *("jobs/tune.py", "--data", noise_data, "--out", run, "--config", "conf/test.toml")
    )
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (RunRequest(flags={"max_trials": 19}), r"search\.max_trials of a finished run, .* 19"),
        (RunRequest(flags={"seed": 3}), r"must keep the run's search\.seed, 0, but got 3"),
        (RunRequest(assignments=["space.dropout=0.1"]), r"must keep the run's space\.dropout"),
        (RunRequest(assignments=["final.epochs=9"]), r"cannot change final\.epochs"),
        (
            RunRequest(assignments=["model.class_weights=balanced"]),
            r"run's model\.class_weights, none",
        ),
        (RunRequest(flags={"timeout": 5.0}), r"search\.timeout .* best trial: --warm-start"),
    ],
)
def test_a_finished_run_does_not_take_other_settings_in_silence(
    finished: Path, wanted: RunRequest, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        resume_run(nullcontext(), Directory(finished), wanted)  # type: ignore[arg-type]


def test_a_finished_run_takes_its_own_settings(finished: Path, noise_data: Path) -> None:
    own = RunRequest(flags={"max_trials": 2, "seed": 0}, assignments=["search.epochs=2"])
    data = Directory(noise_data)
    run = resume_run(nullcontext(), Directory(finished), own, data=data)  # type: ignore[arg-type]
    assert not run.new


def test_a_finished_run_that_is_asked_for_more_is_bad_input(submit: Run, finished: Path) -> None:
    done = submit("jobs/tune.py", "--resume", finished, "--max-trials", "19")
    assert done.returncode == 2
    assert f"but {finished} was to get 19 instead of 2" in one_line(done.stderr)


@pytest.mark.slow
def test_other_data_is_refused(submit: Run, unfinished: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "images", {"cats": 30, "dogs": 30}, seed=9)
    other = preprocess(submit, tmp_path)
    done = submit("jobs/tune.py", "--resume", unfinished, "--data", other)
    assert done.returncode == 2
    assert "--resume must use the data that the run started with" in one_line(done.stderr)


@pytest.mark.slow
def test_an_earlier_runs_best_is_tried_first(
    submit: Run, noise_data: Path, unfinished: Path, tmp_path: Path
) -> None:
    earlier = read_trials(Directory(unfinished))
    best = best_trial(earlier, "val_accuracy")
    assert best is not None
    words = ("--seed", "8", "--max-trials", "2", *2 * ("--warm-start", unfinished))
    done = submit(*tune(noise_data, tmp_path / "run", "random"), *words)
    assert done.returncode == 0, done.stderr
    first = read_trials(Directory(tmp_path / "run"))[0]
    assert first.params == best.params
    scored = [trial for trial in earlier if trial.status in {"ok", "pruned"}]
    assert len(read_earlier(Directory(tmp_path / "run")).trials) == 2 * len(scored)
    assert done.stdout.count(f"warm start from {unfinished}") == 2
