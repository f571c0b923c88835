"""What a run directory remembers: what is trusted of it, and who may write to it."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.made_up import SETTINGS, default_trial

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.core.lock import lease
from cnn.rundir.data_of_run import START
from cnn.rundir.trials import CHECKPOINTS, write_trial
from cnn.search.journal import (
    Start,
    claim_run,
    drop_answers,
    drop_checkpoints,
    read_start,
    recover_trials,
    write_start,
)
from cnn.search.preflight import check_run_dir
from cnn.search.simplest import possible_winners
from cnn.settings.final import FinalSettings
from cnn.settings.schema import SETTINGS as SETTINGS_FILE
from cnn.settings.schema import ConfirmationSettings
from cnn.settings.toml import dump_settings
from cnn.spark.child import supervise

TAKEN = InputError("taken")


def test_finished_trials_come_back(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    for number in (2, 0):
        write_trial(run, default_trial(number))
    assert [found.number for found in recover_trials(run, SETTINGS)] == [0, 2]


def test_only_the_answers_of_trials_that_may_win_are_kept(tmp_path: Path) -> None:
    run, phase = Directory(tmp_path), SETTINGS.phases[0]
    trials = [default_trial(number, accuracy=0.6 + number / 10) for number in range(3)]
    trials.append(default_trial(3, status="pruned", accuracy=0.99))

    def kept(**changes: Any) -> list[str]:
        for number in range(5):
            run.write(f"{CHECKPOINTS}/0000{number}-answers.npz", b"")
        settings = phase.model_copy(update=changes)
        drop_answers(run, trials, possible_winners(settings, FinalSettings(), trials))
        return run.names(CHECKPOINTS)

    # Trial 4 is still running.
    assert kept() == ["00002-answers.npz", "00004-answers.npz"]
    again = ConfirmationSettings(top=2)
    assert kept(confirm=again) == [f"0000{number}-answers.npz" for number in (1, 2, 4)]


def test_checkpoints_are_kept_of_trials_that_may_win_or_run_again(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    trials = [default_trial(number) for number in range(3)]
    trials.append(default_trial(3, status="cancelled"))
    for number in range(5):
        run.write(f"{CHECKPOINTS}/0000{number}.npz", b"")
        run.write(f"{CHECKPOINTS}/0000{number}-head.npz", b"")
    drop_checkpoints(run, trials, {0, 2})
    kept = {name[:5] for name in run.names(CHECKPOINTS)}
    assert kept == {"00000", "00002", "00003", "00004"}
    assert len(run.names(CHECKPOINTS)) == 8


def test_what_is_torn_or_foreign_is_set_aside_and_reported(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    said: list[str] = []
    for number in range(5):
        write_trial(run, default_trial(number))
    folder = tmp_path / "trials"
    (folder / "00000.json").write_bytes((folder / "00000.json").read_bytes()[:100])
    (folder / "00001.json").write_text("")
    (folder / "00002.json").rename(folder / "00007.json")
    write_trial(run, default_trial(3, phase="another"))
    write_trial(run, default_trial(5, seed=1))
    write_trial(run, default_trial(6))
    timeless = json.loads((folder / "00006.json").read_text())
    timeless["ended"] = timeless["ended"].partition("+")[0].removesuffix("Z")
    (folder / "00006.json").write_text(json.dumps(timeless))
    (folder / "notes.pickle").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    found = recover_trials(run, SETTINGS, said.append)
    assert [trial.number for trial in found] == [4]
    aside = {path.name for path in (tmp_path / "set-aside").iterdir()}
    assert aside == {
        *("00000.json", "00001.json", "00003.json", "00005.json", "00006.json", "00007.json"),
        "notes.pickle",
    }
    assert len(said) == len(aside)
    assert any("00007.json" in line and "it is trial 2" in line for line in said)
    assert any("00003.json" in line and "there is no phase another" in line for line in said)
    assert any("00005.json" in line and "its seed belongs to another" in line for line in said)
    assert [path.name for path in folder.iterdir()] == ["00004.json"]


def test_a_run_whose_driver_died_before_its_start_was_noted_may_begin_again(tmp_path: Path) -> None:
    run = Directory(tmp_path / "run")
    run.write(SETTINGS_FILE, dump_settings(SETTINGS).encode())
    check_run_dir(run, overwrite=False)
    for name, content in ((START, b"{}"), ("notes.txt", b"mine"), (SETTINGS_FILE, b"mine = 1")):
        run.write(name, content)
        with pytest.raises(InputError, match="holds a run"):
            check_run_dir(run, overwrite=False)
        if name != SETTINGS_FILE:
            run.delete(name)


def test_a_start_comes_back_and_anything_else_is_refused(tmp_path: Path) -> None:
    run = Directory(tmp_path)
    with pytest.raises(InputError, match=r"--resume must name a run directory, but .* has no run"):
        read_start(run)
    start = Start(data="data", fingerprint="f", started=now())
    write_start(run, start)
    assert read_start(run) == start
    run.write("run.json", b"{")
    with pytest.raises(InputError, match=r"has a run\.json that cannot be read"):
        read_start(run)


def _claim(path: Path) -> str:
    try:
        with claim_run(Directory(path)):
            return "mine"
    except InputError as error:
        return str(error)


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with claim_run(Directory(run)):
        answer = supervise(_claim, run).value
        assert answer.startswith("a run directory must have one driver, but another is using")
    assert supervise(_claim, run).value == "mine"
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def leased(tmp_path: Path) -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_where_there_are_no_locks_a_lease_keeps_others_out(
    tmp_path: Path, leased: ExitStack
) -> None:
    run = Directory(tmp_path)
    with lease(run, TAKEN, 0.6):
        # Renewed for as long as its driver lives.
        time.sleep(1.5)
        with pytest.raises(InputError, match="taken"):
            leased.enter_context(lease(run, TAKEN, 0.6))
    leased.enter_context(lease(run, TAKEN, 0.6))


def test_the_lease_of_a_driver_that_died_expires(tmp_path: Path, leased: ExitStack) -> None:
    run = Directory(tmp_path)
    ended = supervise(_take_lease_and_die, tmp_path)
    assert not ended.returned
    found = time.monotonic()
    leased.enter_context(lease(run, TAKEN, 2.0))
    assert time.monotonic() - found >= 2.0


@pytest.mark.parametrize(
    "handler",
    [signal.default_int_handler, signal.SIG_IGN],
    ids=["foreground", "background"],
)
def test_who_loses_the_lease_is_interrupted(
    tmp_path: Path, capfd: Any, request: pytest.FixtureRequest, handler: Any
) -> None:
    place = Directory(tmp_path).beside("lease")
    # A process that a shell's script began in the background ignores it.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT)))
    signal.signal(signal.SIGINT, handler)

    def lose() -> None:
        with lease(Directory(tmp_path), TAKEN, 0.6):
            place.write("", b"another 1")
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        lose()
    assert signal.getsignal(signal.SIGINT) == handler
    assert "another process has taken the lease" in capfd.readouterr().err
    # What is another's stays.
    assert place.read() == b"another 1"


def _take_lease_and_die(path: Path) -> None:
    import os

    with lease(Directory(path), TAKEN, 2.0):
        os._exit(1)
