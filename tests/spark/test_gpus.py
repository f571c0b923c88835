"""GPUs that do not exist: who may see which, and never two at a time."""

import os
from pathlib import Path

import pytest

from cnn.spark.child import supervise
from cnn.spark.gpus import environment_for, lease, local_gpus


def fake_nvidia_smi(folder: Path, gpus: int) -> dict[str, str]:
    """An environment whose nvidia-smi lists so many."""
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + "".join(f"echo {gpu}\n" for gpu in range(gpus)))
    tool.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, ("0", "1", "2")), ("2,0", ("2", "0")), ("", ()), ("1,-1,2", ("1",))],
)
def test_the_gpus_of_this_machine(
    visible: str | None,
    expected: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment = fake_nvidia_smi(tmp_path, 3)
    monkeypatch.setenv("PATH", environment["PATH"])
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    assert local_gpus(environment) == expected


def test_without_a_driver_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local_gpus({"CUDA_VISIBLE_DEVICES": "0"}) == ()


def test_a_lease_is_nobody_elses_while_it_lasts(tmp_path: Path) -> None:
    with lease(["7", "9"], 1, tmp_path) as first, lease(["7", "9"], 1, tmp_path) as second:
        assert [first, second] == ["7", "9"]
        # Both are taken: a third waits.
        waiting = supervise(_take, tmp_path, timeout=1)
        assert waiting.timed_out
    assert supervise(_take, tmp_path, timeout=20).value == "7"


def test_trials_that_share_a_gpu_take_the_emptiest(tmp_path: Path) -> None:
    with (
        lease(["a", "b"], 2, tmp_path) as one,
        lease(["a", "b"], 2, tmp_path) as two,
        lease(["a", "b"], 2, tmp_path) as three,
    ):
        assert [one, two, three] == ["a", "b", "a"]


def _take(folder: Path) -> str:
    with lease(["7", "9"], 1, folder) as gpu:
        return gpu


def test_a_lease_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    died = supervise(_take_and_die, tmp_path)
    assert died.reason == "exited with code 1 and returned nothing"
    assert supervise(_take, tmp_path, timeout=20).value == "7"


def _take_and_die(folder: Path) -> None:
    with lease(["7"], 1, folder):
        os._exit(1)


def test_the_environment_says_which_gpu_and_how_many_threads() -> None:
    environment = environment_for(3, ["7"])
    assert environment["CUDA_VISIBLE_DEVICES"] == "7"
    assert environment["TF_NUM_INTRAOP_THREADS"] == "3"
    assert environment_for(None, []) | {"CUDA_VISIBLE_DEVICES": ""} == environment_for(None, [])
    assert environment_for(None, None) == {}
