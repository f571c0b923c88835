"""Trials on GPUs that do not exist: each sees one of its own, and no two the same at a time."""

import os
from pathlib import Path

import pytest
from support.gpu_search import TRIALS, search
from support.jobs import Run, one_line


@pytest.fixture
def two_gpus(tmp_path: Path) -> dict[str, str]:
    """A worker and an executor whose discovery script names two GPUs."""
    script = tmp_path / "discover.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["0", "1"]}'\n""")
    script.chmod(0o755)
    return {
        f"spark.{who}.resource.gpu.{key}": value
        for who in ("worker", "executor")
        for key, value in {"amount": "2", "discoveryScript": str(script)}.items()
    }


@pytest.mark.slow
def test_a_task_sees_the_gpu_that_spark_gave_it(two_gpus: dict[str, str]) -> None:
    seen = search("local-cluster[1,2,1024]", two_gpus | {"spark.task.resource.gpu.amount": "1"})
    assert seen.slots == 2
    assert len(seen.trials) == TRIALS
    assert seen.gpus() == {"0", "1"}
    assert seen.together() == 1


@pytest.mark.slow
def test_addresses_count_the_devices_that_an_executor_inherits(two_gpus: dict[str, str]) -> None:
    conf = two_gpus | {
        "spark.task.resource.gpu.amount": "0.5",
        "spark.executorEnv.CUDA_VISIBLE_DEVICES": "GPU-5a,GPU-7b",
    }
    seen = search("local-cluster[1,4,1024]", conf)
    # Half a GPU each: two trials on either.
    assert seen.slots == 4
    assert seen.gpus() == {"GPU-5a", "GPU-7b"}
    assert seen.together() == 2


@pytest.mark.slow
def test_trials_ask_for_gpus_of_their_own_where_other_tasks_have_none(
    two_gpus: dict[str, str],
) -> None:
    seen = search("local-cluster[1,4,1024]", two_gpus, resource_profile={"cpus": 1, "gpus": 1})
    assert seen.slots == 2
    assert seen.gpus() == {"0", "1"}
    assert seen.together() == 1


@pytest.mark.parametrize("shared", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_in_local_mode_trials_lease_the_gpus_that_are_listed(shared: int) -> None:
    seen = search("local[8]", {}, gpus=("3", "5"), trials_per_gpu=shared)
    assert seen.slots == 2 * shared
    assert seen.gpus() == {"3", "5"}
    assert seen.together() == shared


@pytest.mark.slow
def test_in_local_mode_the_gpus_of_the_machine_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\necho 2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    seen = search("local[8]", {})
    assert seen.slots == 2
    assert seen.gpus() == {"0", "2"}
    assert seen.together() == 1


@pytest.mark.slow
def test_a_profile_that_spark_cannot_give_is_refused(
    submit: Run, noise_data: Path, tmp_path: Path
) -> None:
    for setting, message in [
        ("{gpus = 1}", "search.resource_profile must be one that Spark can provide here"),
        ("{cpus = 0}", "search.resource_profile.cpus must be greater than or equal to 1"),
    ]:
        done = submit(
            *("--master", "local[2]", "jobs/tune.py", "--data", noise_data),
            *("--out", tmp_path / "run", "--set", f"search.resource_profile={setting}"),
        )
        assert done.returncode == 2, done.stdout + done.stderr
        assert message in one_line(done.stderr)
        assert not (tmp_path / "run").exists()
