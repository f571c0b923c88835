"""The Spark session of a job: what Spark must have set, where the user has not set it."""

import os
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkRuntimeError
from pyspark.sql import SparkSession

from cnn.core.errors import Error, InputError, failure
from cnn.spark.daemon import PRELOAD
from cnn.spark.interruptible import interrupted_later
from cnn.spark.machine import KERAS
from cnn.spark.progress_bar import without_console_bar
from cnn.spark.refusals import refuse_connect, refuse_local_gpus, refuse_python_memory
from cnn.spark.versions import check_python, refuse_other_jvm

# What Spark's UI, its event log and its own log show as "(redacted)": settings whose name or value
# matches. Spark's default does not know AWS_ACCESS_KEY_ID or KAGGLE_KEY, keys of encryption and of
# accounts, nor a password in a URI, which the command line of a job may hold.
_REDACTED = (
    r"(?i)secret|passw(or)?d|token|credential|access[._-]?key|(^|[._-])key([._=-]|$)|://[^/?#\s]+@"
)
# What all Python processes of executors have in their environment, whatever a user has in his: a
# warning that is an error there would lose a search in its last minute.
_PYTHON_ENVIRONMENT = {"PYTHONWARNINGS": ""}
# What those have that compute; glibc reads its part when one starts.
EXECUTOR_ENVIRONMENT = {
    **_PYTHON_ENVIRONMENT,
    PRELOAD: "cnn.model.network,cnn.train.fit,cnn.train.trial",
    "KERAS_BACKEND": KERAS["backend"],
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
# Its daemon ends workers that hang, which pyspark's own cannot.
PREPROCESS = {
    "spark.python.daemon.module": "cnn.daemon",
    **{f"spark.executorEnv.{name}": value for name, value in _PYTHON_ENVIRONMENT.items()},
}
# A trial's process is forked from a daemon that has the framework imported, and is used once: its
# memory and its device are free again when the task has ended.
TUNE = {
    **PREPROCESS,
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
    **PREPROCESS,
    **{f"spark.executorEnv.{name}": value for name, value in EXECUTOR_ENVIRONMENT.items()},
}
# What it takes to fork trials.
_FORKED = ("spark.python.daemon.module", "spark.python.worker.reuse")
# What takes the framework's import out of a trial; `cnn` must be installed on the executors.
_PRELOADED = ("spark.python.daemon.module", f"spark.executorEnv.{PRELOAD}")
_QUIET = {
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.redaction.regex": _REDACTED,
}
# How long Spark may take to end; its JVM ends with this process in any case.
_STOP_SECONDS = 30.0
# A laptop's ports are nobody else's business.
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
# local[threads, times that a task may fail]
LOCAL_MASTER = re.compile(r"local(?:\[(\*|\d+)(?:,\s*(\d+))?\])?$")
LOCAL_CLUSTER = re.compile(r"local-cluster\[(\d+),\s*(\d+),\s*\d+\]$")


@contextmanager
def spark_session(name: str, required: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session that is stopped at the end. What the user has configured stays as it is."""
    # The JVM has read the command line and Spark's files when it is up; only then is it known
    # what the user has set. A context needs some of the rest before it starts.
    refuse_connect(os.environ)
    spark = None
    try:
        with interrupted_later():
            spark = _started(name, dict(required or {}))
        yield spark
    except (KeyboardInterrupt, SystemExit):
        if spark is not None:
            # What Spark has to say of tasks that are torn away is a page each.
            _apart(partial(spark.sparkContext.setLogLevel, "OFF"))
        raise
    finally:
        if spark is not None:
            _apart(spark.stop)


def _apart(tell: Callable[[], None]) -> None:
    """Tells Spark something over a connection of its own: this thread may have been interrupted in
    the middle of an answer.
    """

    def told() -> None:
        # Where its JVM has died there is nobody to tell.
        with suppress(Exception):
            tell()

    thread = threading.Thread(target=told, name="last words", daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)


def _started(name: str, required: dict[str, str]) -> SparkSession:
    try:
        SparkContext._ensure_initialized()
    except PySparkRuntimeError as error:
        raise Error(f"Spark cannot be started: {failure(error)}") from None
    jvm: Any = SparkContext._jvm
    version = str(getattr(jvm.org.apache.spark, "package$").__getattr__("MODULE$").SPARK_VERSION())
    refuse_other_jvm(version, pyspark.__version__, "what has started")
    conf = SparkConf()
    refuse_connect(dict(conf.getAll()))
    conf.setIfMissing("spark.master", "local[*]")
    defaults = _QUIET | required
    if _PRELOADED[1] in required:
        refuse_python_memory(conf)
        for line in _overrides(conf):
            print(line, flush=True)
    if conf.get("spark.master", "").startswith("local"):
        defaults = defaults | _LOCAL | {"spark.hadoop.fs.permissions.umask-mode": _umask()}
        if os.environ.get("SPARK_LOCAL_IP") in {"127.0.0.1", "localhost"}:
            # The UI binds to this address alone, so it may be on.
            del defaults["spark.ui.enabled"]
        if not LOCAL_CLUSTER.match(conf.get("spark.master", "")):
            refuse_local_gpus(conf)
    as_zip = _comes_as_zip(conf)
    _choose_python(conf, package_comes=as_zip)
    if as_zip:
        # The daemon starts before a worker's path has what --py-files brought.
        defaults = {key: value for key, value in defaults.items() if key not in _PRELOADED}
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    if conf.get("spark.app.name") in (None, "pyspark-shell"):
        # What spark-submit calls every application that Python starts.
        conf.setAppName(name)
    interrupt = signal.getsignal(signal.SIGINT)
    spark: SparkSession = SparkSession.builder.config(conf=conf).getOrCreate()
    # Spark's own would talk to the JVM in the middle of whatever is being said to it.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    return spark


def _overrides(conf: SparkConf) -> Iterator[str]:
    """Takes away what a user has given executors' processes that no training works with."""
    for name, value in (("KERAS_BACKEND", KERAS["backend"]), ("PYTHONWARNINGS", "")):
        key = f"spark.executorEnv.{name}"
        given = conf.get(key)
        if given is not None and given != value:
            conf.set(key, value)
            yield f"{key} is {given}: it is {value or 'empty'} all the same"


def _choose_python(conf: SparkConf, *, package_comes: bool) -> None:
    """Which Python executors are: where nobody says, on this machine the driver's own.

    Spark itself reads `spark.pyspark.python` only where it starts the driver. Raises InputError
    where on this machine it is one that cannot run trials.
    """
    source = "spark.pyspark.python"
    python = conf.get(source)
    if python is None:
        source = "PYSPARK_PYTHON"
        python = os.environ.get(source)
    if conf.get("spark.master", "").startswith("local"):
        if python is None:
            python = sys.executable
        check_python(python, source, package_comes=package_comes)
    if python is not None:
        os.environ["PYSPARK_PYTHON"] = python


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
    forced = {"KERAS_BACKEND": KERAS["backend"], **_PYTHON_ENVIRONMENT}
    context.environment = {**EXECUTOR_ENVIRONMENT, **environment, **forced}
    if _chooses_python(context):
        context.pythonExec = sys.executable
    try:
        with without_console_bar(context):
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
    """Whether a trial's process can be forked from one that has the framework imported.

    And that has run nothing yet: a worker that served a task before may have spoken to an object
    store, whose client has threads.
    """
    conf = context.getConf()
    return all(conf.get(key) == TUNE[key] for key in _FORKED)


def shortcomings(context: SparkContext) -> list[str]:
    """What a session has otherwise than TUNE, and what comes of it: a line for each."""
    conf, found = context.getConf(), []
    if not preloads(context):
        found.append(
            "trials are spawned, each with an import of its own: the session has not "
            "spark.python.daemon.module=cnn.daemon and spark.python.worker.reuse=false"
        )
    if conf.get("spark.speculation") == "true":
        found.append(
            "spark.speculation is on: Spark may run a slow trial twice, at the cost of others"
        )
    failures = int(conf.get("spark.task.maxFailures", "4"))
    if local := LOCAL_MASTER.match(str(context.master)):
        failures = int(local.group(2) or 1)
    if failures > 1:
        found.append(
            f"a task may fail {failures} times (spark.task.maxFailures): Spark tries a trial whose "
            "executor was lost again by itself, before the search counts it"
        )
    return found
