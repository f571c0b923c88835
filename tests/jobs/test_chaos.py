"""Jobs on a standalone cluster, hit at random moments: each completes, now or when run again.

    pytest tests/jobs/test_chaos.py --all                # 63 faults, at the same moments each time
    CHAOS_SEED=7 pytest tests/jobs/test_chaos.py --all   # at others; or CHAOS_SEED=random

Each run prints its seed. Linux alone; as root also with disks that are full or read-only.
"""

import os
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import faults
from support.cluster import Cluster, standalone
from support.faults import Fault, Heal, Scene, listening, processes, still_listening
from support.jobs import SHORT_LIVED, Run, clean_environment
from support.jobs_under_fault import JOBS, Job, Material
from support.paths import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")

FAULTS: dict[str, Fault] = {
    "Python process killed": faults.kill_python,
    "executor killed": faults.kill_executor,
    "Worker killed": faults.kill_worker,
    "driver killed": faults.kill_driver,
    "disk full": faults.fill_disk,
    "read-only for a while": faults.make_read_only,
    "executor crawls": faults.slow_down,
    "Python process stopped": faults.stop_python,
    "executor stopped": faults.stop_executor,
}
NEED_ROOT = {"disk full", "read-only for a while"}
# That a process hangs is noticed only by time limits.
LIMITS = {
    "spark.executor.heartbeatInterval": "2s",
    "spark.network.timeout": "20s",
    "spark.network.timeoutInterval": "1s",
    "spark.python.worker.idleTimeoutSeconds": "60",
    "spark.python.worker.killOnIdleTimeout": "true",
}
# What runs without --all.
IN_CI = [("tune", "executor killed")]
ROUNDS = {"preprocess": 1, "tune": 2, "features": 1, "final": 2, "predict": 1}
MOST_SECONDS = 400


def cases() -> list[object]:
    found: list[object] = []
    for job, rounds in ROUNDS.items():
        for number in range(rounds):
            for fault in FAULTS:
                marks = [] if number == 0 and (job, fault) in IN_CI else [pytest.mark.slow]
                name = f"{job}-{fault.replace(' ', '-')}-{number}"
                found.append(pytest.param(job, fault, number, marks=marks, id=name))
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with standalone(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def material(submit: Run, noise_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(submit, noise_data, tmp_path_factory.mktemp("material"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own where that is allowed, for all that a job writes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0:
        yield folder
        return
    faults.mount("-t", "tmpfs", "-o", "size=128m", "chaos", folder)
    try:
        yield folder
    finally:
        faults.unmount(folder)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "fault", "number"), cases())
def test_nothing_is_lost(
    name: str,
    fault: str,
    number: int,
    cluster: Cluster,
    material: Material,
    disk: Path,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    if fault in NEED_ROOT and os.getuid() != 0:
        pytest.skip("only root can mount")
    given = os.environ.get("CHAOS_SEED", "0")
    seed = secrets.token_hex(4) if given == "random" else given
    print(f"\nCHAOS_SEED={seed} {name}, {fault}, {number}:", end=" ")
    rng = random.Random(f"{seed} {name} {fault} {number}")
    job = JOBS[name](material, disk)
    scene, code, errors = hit(job, FAULTS[fault], fault, cluster, rng, tmp_path)
    print(f"{scene.said}; exit code {code}")
    by_itself = code == 0
    if not by_itself:
        if fault != "driver killed" or code != -signal.SIGKILL:
            assert code == 1, errors
            lines = errors.splitlines()
            if fault == "driver killed":
                # pyspark's server of accumulators says with a traceback that its JVM is gone,
                # before the error or after it.
                said = [line for line in lines if line.startswith("error: ")]
                assert len(said) == 1, errors
                # py4j logs such tracebacks too, but not once the job has said why it failed.
                assert "ERROR:root" not in errors[errors.index(said[0]) :], errors
            else:
                said = lines[-1:]
                assert said[0].startswith("error: "), errors
                assert "Traceback" not in errors, errors
            print(*said)
        finished = job.finished()
        code, errors = run(job.again(), uuid.uuid4().hex, cluster, tmp_path / "again", fault)
        assert code == 0, errors
        for path, content in finished.items():
            assert path.read_bytes() == content, f"{path} was done twice"
    job.check(fault)
    record_property("chaos", [name, fault, by_itself])


def hit(
    job: Job, strike: Fault, fault: str, cluster: Cluster, rng: random.Random, folder: Path
) -> tuple[Scene, int, str]:
    """Runs a job and hits it once; returns how it ended, when nothing of it is left."""
    moment = rng.random()
    for attempt in range(4):
        mark, log = uuid.uuid4().hex, folder / f"attempt-{attempt}"
        with start(job.command(), mark, cluster, log, fault) as process:
            scene = Scene(process, mark, cluster, job.disk, rng)
            heal = strike_at(moment, job, strike, scene, log)
            ports = listening(processes(mark))
            try:
                code = process.wait(MOST_SECONDS)
                assert_gone(mark, ports)
            finally:
                if heal is not None:
                    heal()
        errors = log.with_suffix(".err").read_text()
        if heal is not None:
            return scene, code, errors
        assert code == 0, errors
        # It was over sooner than expected.
        job.forget()
        moment /= 2
    pytest.fail("the job was over before it could be hit")


def strike_at(moment: float, job: Job, strike: Fault, scene: Scene, log: Path) -> Heal | None:
    """Hits a job when so much of its work is done, from 0 to 1; None where it ended before."""
    started = time.monotonic()
    if not wait_until(lambda: job.reached(moment, log, scene.mark), scene.job):
        return None
    reached = time.monotonic()
    later = moment * job.share * (reached - started)
    print(f"at {moment:.2f} of its work, {later:.1f} s later", end=": ")
    wait_until(lambda: time.monotonic() >= reached + later, scene.job)
    heal = None
    while heal is None and scene.job.poll() is None:
        heal = strike(scene)
        time.sleep(0.05)
    return heal


def run(words: list[str], mark: str, cluster: Cluster, log: Path, fault: str) -> tuple[int, str]:
    with start(words, mark, cluster, log, fault) as process:
        code = process.wait(MOST_SECONDS)
        assert_gone(mark, set())
    return code, log.with_suffix(".err").read_text()


@contextmanager
def start(
    words: list[str], mark: str, cluster: Cluster, log: Path, fault: str
) -> Iterator["subprocess.Popen[str]"]:
    """A job's driver in a session of its own; what it leaves is killed in the end."""
    conf = {
        f"spark.executorEnv.{faults.MARK}": mark,
        "spark.executor.extraJavaOptions": SHORT_LIVED,
        # So that a job waits for both executors.
        "spark.executor.cores": "1",
        "spark.cores.max": "2",
        **(LIMITS if fault.endswith("stopped") else {}),
    }
    options = [word for key, value in conf.items() for word in ("--conf", f"{key}={value}")]
    with log.with_suffix(".out").open("w") as out, log.with_suffix(".err").open("w") as errors:
        process = subprocess.Popen(
            [str(REPOSITORY / "spark-submit.sh"), "--master", cluster.url, *options, *words],
            cwd=REPOSITORY,
            env=clean_environment()
            | {"PYTHONPATH": "", "SPARK_LOCAL_IP": "127.0.0.1", faults.MARK: mark},
            stdout=out,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for left in processes(mark):
            left.kill()
        process.wait()


def wait_until(true: Callable[[], bool], process: "subprocess.Popen[str]") -> bool:
    """Whether something was the case before a process ended."""
    while process.poll() is None:
        if true():
            return True
        time.sleep(0.1)
    return False


def assert_gone(mark: str, ports: set[str]) -> None:
    """No process and no port of a job is left soon after its end; how soon is the machine's."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if not processes(mark) and not still_listening(ports):
            return
        time.sleep(0.2)
    left = [" ".join(process.cmdline()) for process in processes(mark)]
    pytest.fail(f"still there a minute after their job: {left}, ports {still_listening(ports)}")
