"""A run on an object store whose server goes away, or whose driver is killed."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.jobs import Run, clean_environment, one_line
from support.paths import REPOSITORY
from support.s3_server import S3Server

from cnn.core.directory import Directory
from cnn.rundir.trials import read_trials

# A request to a server that is gone is made again for most of a minute.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def trials() -> int:
    """How many a search has."""
    return 8


@pytest.fixture
def begun(
    s3: S3Server, noise_data: Path, place: Directory, trials: int
) -> Iterator[subprocess.Popen[str]]:
    """A search that goes to `place`, of which one trial has finished."""
    command = [str(REPOSITORY / "spark-submit.sh"), "jobs/tune.py", "--data", str(noise_data)]
    command += ["--out", place.uri, "--config", "conf/test.toml", "--max-trials", str(trials)]
    command += ["--set", "final.attempts=1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=clean_environment() | s3.env, stdout=pipe, stderr=pipe, text=True
    ) as job:
        try:
            while not place.names("trials"):
                assert job.poll() is None, job.communicate()
                time.sleep(0.2)
            yield job
        finally:
            job.kill()


def check_done(place: Directory, trials: int) -> None:
    assert [trial.status for trial in read_trials(place)] == ["ok"] * trials
    assert place.exists("report.html")


def test_a_server_that_is_gone_for_a_while_is_waited_for(
    s3: S3Server, begun: subprocess.Popen[str], place: Directory, trials: int
) -> None:
    with s3.gone():
        time.sleep(10)
    out, err = begun.communicate(timeout=900)
    assert begun.returncode == 0, out + err
    check_done(place, trials)


def test_a_server_that_stays_away_ends_the_search_which_then_goes_on(
    submit: Run, s3: S3Server, begun: subprocess.Popen[str], place: Directory, trials: int
) -> None:
    with s3.gone():
        out, err = begun.communicate(timeout=900)
    assert begun.returncode == 1, out + err
    assert "Could not connect to server" in one_line(err)
    finished = {name: place.read(name) for name in place.files() if name.startswith("trials/")}
    assert finished
    done = submit("jobs/tune.py", "--resume", place.uri, env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    check_done(place, trials)
    assert {name: place.read(name) for name in finished} == finished


# Enough for a second driver to start meanwhile.
@pytest.mark.parametrize("trials", [40])
def test_a_killed_driver_is_missed_after_its_lease(
    submit: Run,
    s3: S3Server,
    noise_data: Path,
    begun: subprocess.Popen[str],
    place: Directory,
    trials: int,
) -> None:
    second = submit("jobs/tune.py", "--resume", place.uri, env=s3.env)
    assert second.returncode == 2
    assert "but another is using" in one_line(second.stderr)
    begun.kill()
    finished = {name: place.read(name) for name in place.files() if name.startswith("trials/")}
    done = submit("jobs/tune.py", "--resume", place.uri, env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "waiting up to 60 s" in done.stdout
    check_done(place, trials)
    assert {name: place.read(name) for name in finished} == finished
    again = [
        "jobs/tune.py",
        "--data",
        str(noise_data),
        "--out",
        place.uri,
        "--config",
        "conf/train.toml",
    ]
    again += ["--config", "conf/train.toml", "--set", "final.attempts=1", "--set", "final.epochs=1"]
    assert "--overwrite" in one_line(submit(*again, env=s3.env).stderr)
    done = submit(*again, "--overwrite", env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(read_trials(place)) == 1
