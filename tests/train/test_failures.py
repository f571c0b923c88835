"""Trials that fail in every way, on executors of their own: each has its status, the rest go on."""

import json
import os
import sys
from pathlib import Path

import pyspark
import pytest
from support.jobs import Run, one_line
from support.paths import SUPPORT

from cnn.core.directory import Directory
from cnn.rundir.trials import TrialResult, read_trials

EXPECTED = {
    "fine": "ok",
    "raise": "crashed",
    "exit": "crashed",
    "kill": "crashed",
    "segmentation fault": "crashed",
    "memory": "out_of_memory",
    "hang": "timeout",
    "diverge": "diverged",
    "unbuildable": "invalid",
    "lose the executor": "ok",
}
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def settings(hows: list[str], **search: object) -> list[str]:
    search = {"strategy": "grid", "epochs": 1, "min_steps": 0, "halving": False, **search}
    search |= {"cross_validation": 1, "objective": "val_accuracy"}
    assignments = {f"search.{key}": value for key, value in search.items()}
    assignments |= {"model.builder": "misbehaving:build", "space": "{}", "final.epochs": 1}
    assignments["final.attempts"] = 1
    # A winner trained in bfloat16 would be built once more, to be saved in float32.
    assignments["model.precision"] = "float32"
    assignments["space.how"] = "{choices = [" + ", ".join(f'"{how}"' for how in hows) + "]}"
    return [word for key, value in assignments.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def trials(
    submit: Run, noise_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TrialResult]:
    """One trial of each kind, on two executors of one core."""
    root = tmp_path_factory.mktemp("run")
    done = submit(
        *("--master", "local-cluster[2,1,1024]", "jobs/tune.py"),
        *("--data", noise_data, "--out", root / "run"),
        *settings(list(EXPECTED), trial_timeout=10),
        env=environment(root),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test accuracy" in done.stdout
    found = {str(trial.params["how"]): trial for trial in read_trials(Directory(root / "run"))}
    winner = json.loads((root / "run" / "result.json").read_text())["params"]["how"]
    for how in EXPECTED:
        # What was lost is begun again, and that alone; the first is built once before all trials,
        # the winner for its last training.
        expected = 1 + (how == "lose the executor") + (how == "fine") + (how == winner)
        assert len((root / how).read_text()) == expected, how
    return found


def environment(root: Path) -> dict[str, str]:
    return {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYTHONPATH": str(SUPPORT),
        "MISBEHAVING": str(root),
    }


@pytest.mark.parametrize("how", EXPECTED)
def test_each_kind_of_failure_has_its_status(trials: dict[str, TrialResult], how: str) -> None:
    assert trials[how].status == EXPECTED[how], trials[how].error


@pytest.mark.parametrize(
    ("how", "evidence"),
    [
        ("raise", "RuntimeError: on purpose"),
        ("exit", "exited with code 7 and returned nothing"),
        ("kill", "killed by SIGKILL"),
        ("segmentation fault", "killed by SIGSEGV"),
        ("memory", "Unable to allocate"),
        ("hang", "killed at the time limit of 10 s"),
        ("diverge", "the loss was not finite in epoch 1"),
        ("unbuildable", "there is no such network"),
    ],
)
def test_a_failure_has_its_evidence(
    trials: dict[str, TrialResult], how: str, evidence: str
) -> None:
    assert evidence in trials[how].cause()
    if how == "raise":
        assert "Traceback" in str(trials[how].error)
    if how == "segmentation fault":
        assert "misbehaving.py" in str(trials[how].error)  # where in Python it happened
    assert trials[how].host
    assert trials[how].device


@pytest.mark.slow
def test_many_failures_in_a_row_end_the_search_with_the_first_cause(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    done = submit(
        *("--master", "local[1]", "jobs/tune.py", "--data", noise_data, "--out", tmp_path / "run"),
        *settings(["fine", "raise", "exit", "kill", "hang"], max_consecutive_failures=3),
        env=environment(tmp_path),
    )
    assert done.returncode == 1
    said = one_line(done.stderr)
    assert "3 trials in a row failed (search.max_consecutive_failures)" in said
    assert "the first, trial 1 (crashed): RuntimeError: on purpose" in said
    assert len(list((tmp_path / "run" / "trials").iterdir())) == 4
    assert not (tmp_path / "hang").exists()


@pytest.mark.slow
def test_the_winners_training_that_dies_says_where_its_log_is(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "builder").mkdir()
    (tmp_path / "builder" / "second_time.py").write_text(
        "import os, pathlib, misbehaving\n"
        "def build(params, **shape):\n"
        "    model = misbehaving.build(params, **shape)\n"
        "    if misbehaving.attempts('fine') > 2:\n"
        "        print('this is the end', flush=True)\n"
        "        os._exit(9)\n"
        "    return model\n"
    )
    paths = environment(tmp_path)
    paths["PYTHONPATH"] += os.pathsep + str(tmp_path / "builder")
    done = submit(
        *("--master", "local[1]", "jobs/tune.py", "--data", noise_data, "--out", tmp_path / "run"),
        *settings(["fine"]),
        *("--set", "model.builder=second_time:build"),
        env=paths,
    )
    assert done.returncode == 1
    said = one_line(done.stderr)
    assert "training the winner failed: exited with code 9" in said
    log = Path(said.rpartition("see ")[2])
    assert "this is the end" in log.read_text()
