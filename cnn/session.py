"""The Spark session of a job: what Spark must have set, where the user has not set it."""

import math
import os
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from pyspark import SparkConf, SparkContext
from pyspark.resource import ResourceProfile as SparkResourceProfile
from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests
from pyspark.sql import SparkSession

from cnn.daemon import PRELOAD
from cnn.device import local_gpus
from cnn.refusals import refuse_connect, refuse_local_gpus
from cnn.settings import InputError, ResourceProfile, SearchSettings

# What Spark's UI, its event log and its own log show as "(redacted)": settings whose name or value
# matches. Spark's default does not know AWS_ACCESS_KEY_ID or KAGGLE_KEY, keys of encryption and of
# accounts, nor a password in a URI, which the command line of a job may hold.
_REDACTED = (
    r"(?i)secret|passw(or)?d|token|credential|access[._-]?key|(^|[._-])key([._=-]|$)|://[^/?#\s]+@"
)
# What executors' processes have in their environment; glibc reads its part when one starts.
EXECUTOR_ENVIRONMENT = {
    PRELOAD: "1",
    # Errors are raised as exceptions as well; the rest is chatter about hardware that is not there.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # TensorFlow turns oneDNN on by itself only where the CPU has AVX512. With AVX2 too a training
    # step takes half of the time, of small networks a third, measured.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    # TensorFlow gives its large buffers back after each operation. Where glibc hands them on to the
    # kernel, every operation pays for fresh pages: a third of a training step, measured.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
# A trial's process is forked from a daemon that has the framework imported, and is used once: its
# memory and its device are free again when the task has ended.
TUNE = {
    "spark.python.daemon.module": "cnn.daemon",
    "spark.python.worker.reuse": "false",
    **{f"spark.executorEnv.{name}": value for name, value in EXECUTOR_ENVIRONMENT.items()},
    # A second copy of a slow trial would only take its cores.
    "spark.speculation": "false",
    # What failed is a result; only the search knows what is worth another try.
    "spark.task.maxFailures": "1",
    # A cancelled trial is to be gone, and its GPU free, soon.
    "spark.python.task.killTimeout": "500ms",
}
# Predicting computes in the workers themselves, and each serves many tasks with one model.
PREDICT = {
    "spark.python.daemon.module": "cnn.daemon",
    **{f"spark.executorEnv.{name}": value for name, value in EXECUTOR_ENVIRONMENT.items()},
}
# What takes the framework's import out of a trial; `cnn` must be installed on the executors.
_PRELOADED = ("spark.python.daemon.module", f"spark.executorEnv.{PRELOAD}")
_QUIET = {
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.redaction.regex": _REDACTED,
}
# A laptop's ports are nobody else's business.
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
# local[threads, times that a task may fail]
_LOCAL_MASTER = re.compile(r"local(?:\[(\*|\d+)(?:,\s*(\d+))?\])?$")
_LOCAL_CLUSTER = re.compile(r"local-cluster\[(\d+),\s*(\d+),\s*\d+\]$")


@contextmanager
def spark_session(name: str, required: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session that is stopped at the end. What the user has configured stays as it is."""
    # The JVM has read the command line and Spark's files when it is up; only then is it known
    # what the user has set. A context needs some of the rest before it starts.
    refuse_connect(os.environ)
    SparkContext._ensure_initialized()
    conf = SparkConf()
    refuse_connect(dict(conf.getAll()))
    conf.setIfMissing("spark.master", "local[*]")
    defaults = _QUIET | dict(required or {})
    if conf.get("spark.master", "").startswith("local"):
        defaults = defaults | _LOCAL | {"spark.hadoop.fs.permissions.umask-mode": _umask()}
        if os.environ.get("SPARK_LOCAL_IP") in {"127.0.0.1", "localhost"}:
            # The UI binds to this address alone, so it may be on.
            del defaults["spark.ui.enabled"]
        if not _LOCAL_CLUSTER.match(conf.get("spark.master", "")):
            refuse_local_gpus(conf)
    if _comes_as_zip(conf):
        # The daemon starts before a worker's path has what --py-files brought.
        defaults = {key: value for key, value in defaults.items() if key not in _PRELOADED}
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    interrupt = signal.getsignal(signal.SIGINT)
    spark = SparkSession.builder.appName(name).config(conf=conf).getOrCreate()
    # Spark's own would talk to the JVM in the middle of whatever is being said to it.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield spark
    finally:
        spark.stop()


def _umask() -> str:
    """This process's, as Hadoop has it: its local file system does not ask the operating system."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


# What a job leaves behind in the thread that ran it.
_JOB_PROPERTIES = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")


def existing_session(spark: SparkSession) -> AbstractContextManager[SparkSession]:
    """A session of the user's own, to be entered. Raises InputError where it is of no use."""
    return _kept(spark, _context_of(spark))


@contextmanager
def _kept(spark: SparkSession, context: SparkContext) -> Iterator[SparkSession]:
    """The session, left as it was found.

    What executors are to have in their environment it gets for this time: Spark starts Python
    workers anew where that differs. On this machine they are the driver's own Python where no other
    is configured: a notebook's is seldom the first on the path.
    """
    environment, python = context.environment, context.pythonExec
    before = {key: context.getLocalProperty(key) for key in _JOB_PROPERTIES}
    context.environment = {**EXECUTOR_ENVIRONMENT, **environment}
    if _chooses_python(context):
        context.pythonExec = sys.executable
    try:
        yield spark
    finally:
        context.environment, context.pythonExec = environment, python
        for key, value in before.items():
            # None takes a property away, which the types do not know.
            context.setLocalProperty(key, value)  # type: ignore[arg-type]


def _chooses_python(context: SparkContext) -> bool:
    configured = context.getConf().get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON")
    return str(context.master).startswith("local") and not configured


def _context_of(spark: SparkSession) -> SparkContext:
    if not isinstance(spark, SparkSession):
        kind = f"{type(spark).__module__}.{type(spark).__name__}"
        if kind.startswith("pyspark.sql.connect."):
            kind = "one of Spark Connect, which has no sparkContext to send trials by"
        raise InputError(f"spark must be a SparkSession on a driver, but got {kind}")
    context = spark.sparkContext
    if context._jsc is None:
        raise InputError("spark must be a running session, but it was stopped")
    return context


def failure(error: Exception) -> str:
    """What a failed Spark job failed of, in one line: the first error that is not Spark's frame."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if re.search(r"(Error|Exception)\b", line)]
    frame = r"Py4JJavaError|PYTHON_EXCEPTION|Job aborted|occurred while"
    inner = [line for line in named if not re.search(frame, line)]
    # An exception's own line rather than a line of code that names one.
    own = [line for line in inner if re.match(r"(Caused by: )?[\w.$]+(Error|Exception)(:|$)", line)]
    causes = [re.sub(r"^(Caused by: )?([a-z]\w*\.)+", "", line) for line in own or inner]
    return (causes or named or lines or ["for no stated reason"])[0]


def _comes_as_zip(conf: SparkConf) -> bool:
    """Whether executors get this package with the tasks, rather than having it installed."""
    for name in conf.get("spark.submit.pyFiles", "").split(","):
        path = Path(name.removeprefix("file:").strip())
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if "cnn/__init__.py" in archive.namelist():
                    return True
    return False


def preloads(context: SparkContext) -> bool:
    """Whether a trial's process can be forked from one that has the framework imported."""
    return context.getConf().get("spark.python.daemon.module") == TUNE["spark.python.daemon.module"]


def shortcomings(context: SparkContext) -> list[str]:
    """What a session has otherwise than TUNE, and what comes of it: a line for each."""
    conf, found = context.getConf(), []
    if not preloads(context):
        found.append(
            "trials are spawned, each with an import of its own: the session's "
            "spark.python.daemon.module is not cnn.daemon"
        )
    if conf.get("spark.speculation") == "true":
        found.append(
            "spark.speculation is on: Spark may run a slow trial twice, at the cost of others"
        )
    failures = int(conf.get("spark.task.maxFailures", "4"))
    if local := _LOCAL_MASTER.match(str(context.master)):
        failures = int(local.group(2) or 1)
    if failures > 1:
        found.append(
            f"a task may fail {failures} times (spark.task.maxFailures): Spark tries a trial whose "
            "executor was lost again by itself, before the search counts it"
        )
    return found


class Slots(NamedTuple):
    """What the cluster has for tasks: slots over all executors, and cores of one executor."""

    total: int
    executor_cores: int
    task_cpus: int
    # In local mode: the devices from which trials lease one.
    gpus: tuple[str, ...] = ()

    def threads(self, parallelism: int) -> int:
        """Threads for each of `parallelism` tasks at a time: never more than cores on a host.

        As many as `spark.task.cpus` where all slots are in use; fewer tasks share the cores.
        """
        executors = max(1, self.total * self.task_cpus // self.executor_cores)
        together = math.ceil(parallelism / executors)
        return max(self.task_cpus, self.executor_cores // together, 1)


def count_slots(context: SparkContext, search: SearchSettings | None = None) -> Slots:
    """How many trials can run at a time, as Spark's master, its configuration and settings say."""
    search = search or SearchSettings()
    conf, master = context.getConf(), str(context.master)
    profile = search.resource_profile or ResourceProfile()
    task_cpus = profile.cpus or int(conf.get("spark.task.cpus", "1"))
    if match := _LOCAL_MASTER.match(master):
        limit = match.group(1) or "1"
        cores = (os.cpu_count() or 1) if limit == "*" else int(limit)
        total = max(1, cores // task_cpus)
        gpus = local_gpus() if search.gpus is None else search.gpus
        if gpus:
            total = min(total, len(gpus) * search.trials_per_gpu)
        return Slots(total, max(1, cores), task_cpus, gpus)
    executors, executor_cores = _executors(context)
    each = executor_cores // task_cpus
    wanted = profile.gpus or float(conf.get("spark.task.resource.gpu.amount", "0"))
    if wanted > 0:
        # Fractions as Spark defines them: 0.5 puts two tasks on a GPU.
        there = float(conf.get("spark.executor.resource.gpu.amount", "0"))
        shared = there * math.floor(1 / wanted) if wanted < 1 else there // wanted
        each = min(each, int(shared))
    return Slots(max(1, executors * each), max(1, executor_cores), task_cpus)


def _executors(context: SparkContext) -> tuple[int, int]:
    """How many executors there are, or at most will be, and the cores of one."""
    conf = context.getConf()
    if match := _LOCAL_CLUSTER.match(str(context.master)):
        return int(match.group(1)), int(match.group(2))
    cores = max(1, context.defaultParallelism)
    executor_cores = int(conf.get("spark.executor.cores", str(cores)))
    most = conf.get("spark.dynamicAllocation.maxExecutors")
    if conf.get("spark.dynamicAllocation.enabled") == "true" and most is not None:
        return int(most), executor_cores
    return max(1, cores // executor_cores), executor_cores


def task_profile(
    context: SparkContext, wanted: ResourceProfile | None
) -> SparkResourceProfile | None:
    """Spark's profile for trials that ask for resources of their own.

    Raises InputError where Spark cannot give them.
    """
    if wanted is None:
        return None
    requests = TaskResourceRequests()
    if wanted.cpus is not None:
        requests = requests.cpus(wanted.cpus)
    if wanted.gpus is not None:
        requests = requests.resource("gpu", wanted.gpus)
    profile = ResourceProfileBuilder().require(requests).build
    try:
        context.parallelize([0], 1).withResources(profile)
    except Exception as error:
        raise InputError(
            "search.resource_profile must be one that Spark can give here, but "
            f"{wanted.model_dump(exclude_none=True)} is not: {failure(error)}"
        ) from None
    if (
        wanted.gpus is not None
        and float(context.getConf().get("spark.executor.resource.gpu.amount", "0")) < wanted.gpus
    ):
        raise InputError(
            "search.resource_profile.gpus must not be more than an executor has "
            f"(spark.executor.resource.gpu.amount), but got {wanted.gpus:g}"
        )
    return profile
