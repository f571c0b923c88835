"""What the session sets, leaves alone and refuses; slots and threads."""

import os
import queue
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from support.jobs import clean_environment
from support.paths import REPOSITORY, TESTS

from cnn.core.failure_reason import failure
from cnn.spark.slots import Slots, count_slots


@pytest.mark.parametrize(
    ("slots", "parallelism", "threads"),
    [
        (Slots(2, 2, 1), 2, 1),
        (Slots(2, 2, 1), 1, 2),
        (Slots(8, 8, 1), 3, 2),
        (Slots(8, 4, 1, executors=2), 2, 4),
        (Slots(2, 8, 4), 2, 4),
        (Slots(2, 4, 1, executors=2), 2, 4),  # a GPU each
    ],
)
def test_trials_share_an_executors_cores(slots: Slots, parallelism: int, threads: int) -> None:
    assert slots.threads(parallelism) == threads


def in_a_session(code: str, options: str, path: Path = TESTS) -> subprocess.CompletedProcess[str]:
    """Runs code with `spark` in a process of its own, under Spark's options."""
    script = (
        "from cnn.core.failure_reason import failure\n"
        "from cnn.spark.session import TUNE, spark_session\n"
        "from cnn.spark.slots import count_slots\n"
    )
    script += f"with spark_session('test', TUNE) as spark:\n{textwrap.indent(code, '    ')}"
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=clean_environment()
        | {
            "PYSPARK_SUBMIT_ARGS": f"{options} pyspark-shell",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYTHONPATH": str(path),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_what_the_user_has_configured_stays_and_ports_are_on_loopback() -> None:
    done = in_a_session(
        "conf = spark.sparkContext.getConf()\n"
        "print(conf.get('spark.speculation'), conf.get('spark.python.worker.reuse'),"
        " conf.get('spark.python.daemon.module'), tuple(count_slots(spark.sparkContext)))\n"
        "from support.processes import listening_addresses\n"
        "print(*listening_addresses(spark.sparkContext._gateway.proc.pid))",
        "--master local[6] --conf spark.speculation=true --conf spark.task.cpus=2",
    )
    assert done.returncode == 0, done.stderr
    first, addresses = done.stdout.splitlines()
    assert first == "true false cnn.daemon (3, 6, 2, 1, ())"
    assert set(addresses.split()) == {"127.0.0.1"}


def test_without_a_master_all_cores_are_used() -> None:
    done = in_a_session("print(spark.sparkContext.master, count_slots(spark.sparkContext))", "")
    assert done.returncode == 0, done.stderr
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    assert f"local[*] Slots(total={cores}," in done.stdout


def test_gpus_in_local_mode_are_refused_rather_than_waited_for() -> None:
    done = in_a_session("pass", "--master local[2] --conf spark.task.resource.gpu.amount=1")
    assert done.returncode != 0
    assert "spark.task.resource.gpu.amount must not be set in local mode" in done.stderr


def test_the_slots_of_this_session(spark: object) -> None:
    assert count_slots(spark.sparkContext) == Slots(2, 2, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (RuntimeError("on purpose"), "RuntimeError: on purpose"),
        (StopIteration("on purpose"), "StopIteration: on purpose"),
        (StopIteration(), "StopIteration"),
        (queue.Full("on purpose"), "Full: on purpose"),
    ],
    ids=repr,
)
def test_a_failed_jobs_cause_is_what_its_python_code_raised(
    spark: Any, raised: Exception, cause: str
) -> None:
    def work(_: int) -> None:
        raise raised

    with pytest.raises(Exception, match="Traceback") as failed:
        spark.sparkContext.parallelize([0], 1).map(work).collect()
    assert failure(failed.value) == cause


def test_a_reason_has_its_kind_where_the_text_has_none() -> None:
    assert failure(KeyError("p")) == "KeyError: 'p'"
    assert failure(StopIteration()) == "StopIteration"
    assert failure(ValueError("an Error: of another kind")) == "an Error: of another kind"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        pytest.param("cnn.nowhere", ": No module named cnn.nowhere", marks=pytest.mark.slow),
        ("faulty_daemon", "ModuleNotFoundError: No module named 'missing_on_executors'"),
    ],
)
def test_a_worker_that_cannot_start_says_why(module: str, reason: str, tmp_path: Path) -> None:
    """What Spark raises then ends with its path and an EOFException of its own."""
    (tmp_path / "faulty_daemon.py").write_text("import missing_on_executors\n")
    done = in_a_session(
        "try:\n    spark.sparkContext.parallelize([0], 1).collect()\n"
        "    spark.sparkContext.parallelize([0], 1).map(str).collect()\n"
        "except Exception as error:\n"
        "    assert 'PYTHONPATH was:' in str(error)\n    print(failure(error))",
        f"--master local[1] --conf spark.python.daemon.module={module}",
        path=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{reason} (from the executors' Python, {sys.executable})\n")
    assert done.stdout.count("\n") == 1


def test_what_interrupts_a_job_ends_it_at_once_and_the_session_still_answers() -> None:
    done = in_a_session(
        "import signal, time\n"
        "from cnn.spark.interruptible import collected\n"
        "signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "context = spark.sparkContext\n"
        "context.parallelize([0], 1).collect()\n"
        "signal.alarm(5)\n"
        "try:\n"
        "    collected(context.parallelize([0], 1).map(lambda _: time.sleep(1000)))\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
        "group = context.getLocalProperty('spark.jobGroup.id')\n"
        "print(context.parallelize([1, 2], 1).sum(), group)",
        "--master local[1] --conf spark.executorEnv.CNN_PRELOAD=",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "interrupted\n3 None\n"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.slow
def test_a_worker_that_is_stopped_does_not_hold_its_task_for_ever() -> None:
    done = in_a_session(
        "import os, signal\n"
        "from cnn.spark.retry import TaskFailed, retry_if_lost\n"
        "def stop(_):\n"
        "    os.kill(os.getpid(), signal.SIGSTOP)\n"
        "context = spark.sparkContext\n"
        "try:\n"
        "    retry_if_lost(context, context.parallelize([0], 1).map(stop).collect, max_lost=0)\n"
        "except TaskFailed as error:\n"
        "    print(error.kind)",
        "--master local[1] --conf spark.python.worker.idleTimeoutSeconds=1"
        " --conf spark.python.worker.killOnIdleTimeout=true",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "lost\n"


def test_what_runs_on_executors_needs_no_files_beside_the_package() -> None:
    """Executors may have it as a zip alone, without conf/."""
    modules = (
        "data.build, data.sources.hadoop, data.sources.source, data.sources.store, model.predict, "
        "spark.task, train.hosts, train.multi_worker, train.trial"
    )
    imports = "; ".join(f"import cnn.{name}" for name in modules.split(", "))
    code = f"import sys; {imports}; print('cnn.settings.toml' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
