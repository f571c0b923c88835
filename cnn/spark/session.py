"""The Spark session of a job, with the settings that the job needs and the user has not set."""

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

from cnn.core.errors import Error, InputError
from cnn.core.failure_reason import failure
from cnn.spark.daemon import PRELOAD
from cnn.spark.executor_env import EXECUTOR_ENVIRONMENT, FORCED_ENVIRONMENT, PYTHON_ENVIRONMENT
from cnn.spark.interruptible import delayed_interrupts
from cnn.spark.progress_bar import without_console_bar
from cnn.spark.unsupported import refuse_connect, refuse_local_gpus, refuse_python_memory
from cnn.spark.versions import check_python, refuse_other_jvm

# Spark's UI, event log and own log show settings whose name or value matches as "(redacted)".
# Spark's default misses AWS_ACCESS_KEY_ID, KAGGLE_KEY, keys of encryption and of accounts, and
# passwords in URIs, which the command line of a job may contain.
_REDACTED = (
    r"(?i)secret|passw(or)?d|token|credential|access[._-]?key|(^|[._-])key([._=-]|$)|://[^/?#\s]+@"
)
# Unlike pyspark's own daemon, this program's ends workers that hang.
PREPROCESS = {
    "spark.python.daemon.module": "cnn.daemon",
    **{f"spark.executorEnv.{name}": value for name, value in PYTHON_ENVIRONMENT.items()},
}
# A trial's process is forked from a daemon that has imported the framework. It is used only once,
# so that its memory and its device are free when the task has ended.
TUNE = {
    **PREPROCESS,
    "spark.python.worker.reuse": "false",
    **{f"spark.executorEnv.{name}": value for name, value in EXECUTOR_ENVIRONMENT.items()},
    # A second copy of a slow trial would only take its cores.
    "spark.speculation": "false",
    # A failure is a result; only the search knows which trials are worth repeating.
    "spark.task.maxFailures": "1",
    # A cancelled trial must end, and release its GPU, soon.
    "spark.python.task.killTimeout": "500ms",
}
# Predictions are computed in the workers themselves; each serves many tasks with one model.
PREDICT = {
    **PREPROCESS,
    **{f"spark.executorEnv.{name}": value for name, value in EXECUTOR_ENVIRONMENT.items()},
}
# The settings of TUNE without which trials cannot be forked.
_FORKING = ("spark.python.daemon.module", "spark.python.worker.reuse")
# The settings that import the framework before a trial; `cnn` must be installed on the executors.
_PRELOADING = ("spark.python.daemon.module", f"spark.executorEnv.{PRELOAD}")
_QUIET = {
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.redaction.regex": _REDACTED,
}
# How long Spark may take to end; its JVM ends with this process in any case.
_STOP_SECONDS = 30.0
# In local mode nothing needs to reach Spark from the network.
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
# local[threads, failures after which a task is given up]
LOCAL_MASTER = re.compile(r"local(?:\[(\*|\d+)(?:,\s*(\d+))?\])?$")
LOCAL_CLUSTER = re.compile(r"local-cluster\[(\d+),\s*(\d+),\s*\d+\]$")


@contextmanager
def spark_session(name: str, required: Mapping[str, str] | None = None) -> Iterator[SparkSession]:
    """A session that is stopped at the end of the block.

    Args:
        name: The application's name, unless the user has set one.
        required: Settings for those that the user has not set, such as TUNE.

    Raises:
        InputError: The user's configuration is one that this program cannot work with.
        Error: Spark cannot be started.
    """
    refuse_connect(os.environ)
    spark = None
    try:
        with delayed_interrupts():
            spark = _started(name, dict(required or {}))
        yield spark
    except (KeyboardInterrupt, SystemExit):
        if spark is not None:
            # Spark logs a page of errors for each task that is killed.
            _on_new_connection(partial(spark.sparkContext.setLogLevel, "OFF"))
        raise
    finally:
        if spark is not None:
            _on_new_connection(spark.stop)


def _on_new_connection(call: Callable[[], None]) -> None:
    """Calls Spark in a new thread, since this one may have been interrupted during an answer."""

    def work() -> None:
        # The JVM may have died.
        with suppress(Exception):
            call()

    thread = threading.Thread(target=work, name="stop-spark", daemon=True)
    thread.start()
    thread.join(_STOP_SECONDS)


def _started(name: str, required: dict[str, str]) -> SparkSession:
    # The user's settings are known only when the JVM has read the command line and Spark's files.
    # Some of the others must be set before the context starts.
    try:
        SparkContext._ensure_initialized()
    except PySparkRuntimeError as error:
        raise Error(f"Spark cannot be started: {failure(error)}") from None
    jvm: Any = SparkContext._jvm
    version = str(getattr(jvm.org.apache.spark, "package$").__getattr__("MODULE$").SPARK_VERSION())
    refuse_other_jvm(version, pyspark.__version__, "the one that has started")
    conf = SparkConf()
    refuse_connect(dict(conf.getAll()))
    conf.setIfMissing("spark.master", "local[*]")
    defaults = _QUIET | required
    if _PRELOADING[1] in required:
        refuse_python_memory(conf)
        for line in _override(conf):
            print(line, flush=True)
    if conf.get("spark.master", "").startswith("local"):
        defaults = defaults | _LOCAL | {"spark.hadoop.fs.permissions.umask-mode": _umask()}
        if os.environ.get("SPARK_LOCAL_IP") in {"127.0.0.1", "localhost"}:
            # The UI binds to this address alone, so it may be on.
            del defaults["spark.ui.enabled"]
        if not LOCAL_CLUSTER.match(conf.get("spark.master", "")):
            refuse_local_gpus(conf)
    as_zip = _is_sent_as_zip(conf)
    _choose_python(conf, ships_package=as_zip)
    if as_zip:
        # The daemon starts before the files of --py-files are on a worker's path.
        defaults = {key: value for key, value in defaults.items() if key not in _PRELOADING}
    for key, value in defaults.items():
        conf.setIfMissing(key, value)
    if conf.get("spark.app.name") in (None, "pyspark-shell"):
        # Otherwise this is the name of every application that Python starts.
        conf.setAppName(name)
    interrupt = signal.getsignal(signal.SIGINT)
    spark: SparkSession = SparkSession.builder.config(conf=conf).getOrCreate()
    # Spark's own handler would call the JVM while another call may be in progress.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    return spark


def _override(conf: SparkConf) -> Iterator[str]:
    """Replaces variables of executors with which no training works; a line for each."""
    for name, value in FORCED_ENVIRONMENT.items():
        key = f"spark.executorEnv.{name}"
        given = conf.get(key)
        if given is not None and given != value:
            conf.set(key, value)
            yield f"{key} is {given}: ignored, it must be {value or 'empty'}"


def _choose_python(conf: SparkConf, *, ships_package: bool) -> None:
    """Sets the Python of executors: unless configured, in local mode the driver's own.

    Spark reads `spark.pyspark.python` only when it starts the driver itself. Raises InputError if
    in local mode the configured one cannot run trials.
    """
    source = "spark.pyspark.python"
    python = conf.get(source)
    if python is None:
        source = "PYSPARK_PYTHON"
        python = os.environ.get(source)
    if conf.get("spark.master", "").startswith("local"):
        if python is None:
            python = sys.executable
        check_python(python, source, ships_package=ships_package)
    if python is not None:
        os.environ["PYSPARK_PYTHON"] = python


def _umask() -> str:
    """This process's umask, which Hadoop's local file system would not apply by itself."""
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}"


# The properties that a job leaves in the thread that ran it.
_JOB_PROPERTIES = ("spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel")


def existing_session(spark: SparkSession) -> AbstractContextManager[SparkSession]:
    """A user's session, as a context manager that leaves it as it was.

    Raises InputError if the session cannot be used.
    """
    return _borrowed(spark, _context_of(spark))


@contextmanager
def _borrowed(spark: SparkSession, context: SparkContext) -> Iterator[SparkSession]:
    """A user's session with the environment of executors, until the end of the block.

    Spark starts new Python workers if their environment changes. In local mode they run the
    driver's own Python unless another is configured: a notebook's is seldom the first on the path.
    """
    environment, python = context.environment, context.pythonExec
    before = {key: context.getLocalProperty(key) for key in _JOB_PROPERTIES}
    context.environment = {**EXECUTOR_ENVIRONMENT, **environment, **FORCED_ENVIRONMENT}
    if _chooses_python(context):
        context.pythonExec = sys.executable
    try:
        with without_console_bar(context):
            yield spark
    finally:
        context.environment, context.pythonExec = environment, python
        for key, value in before.items():
            # None removes a property, which its annotation does not allow.
            context.setLocalProperty(key, value)  # type: ignore[arg-type]


def _chooses_python(context: SparkContext) -> bool:
    configured = context.getConf().get("spark.pyspark.python") or os.environ.get("PYSPARK_PYTHON")
    return str(context.master).startswith("local") and not configured


def _context_of(spark: SparkSession) -> SparkContext:
    if not isinstance(spark, SparkSession):
        kind = f"{type(spark).__module__}.{type(spark).__name__}"
        if kind.startswith("pyspark.sql.connect."):
            kind = "one of Spark Connect, which has no sparkContext to run trials with"
        raise InputError(f"spark must be a SparkSession on a driver, but got {kind}")
    context = spark.sparkContext
    if context._jsc is None:
        raise InputError("spark must be a running session, but it was stopped")
    return context


def _is_sent_as_zip(conf: SparkConf) -> bool:
    """Whether executors get this package with the job, rather than having it installed."""
    for name in conf.get("spark.submit.pyFiles", "").split(","):
        path = Path(name.removeprefix("file:").strip())
        if path.is_file() and zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if "cnn/__init__.py" in archive.namelist():
                    return True
    return False


def forks_trials(context: SparkContext) -> bool:
    """Whether trials can be forked from a process that has imported the framework.

    That process must be unused: a worker that has run a task may have used an object store, whose
    client has threads.
    """
    conf = context.getConf()
    return all(conf.get(key) == TUNE[key] for key in _FORKING)


def shortcomings(context: SparkContext) -> list[str]:
    """A line for each setting in which a session differs from TUNE, with its consequence."""
    conf, found = context.getConf(), []
    if not forks_trials(context):
        found.append(
            "trials are spawned, and each imports TensorFlow: the session does not have "
            "spark.python.daemon.module=cnn.daemon and spark.python.worker.reuse=false"
        )
    if conf.get("spark.speculation") == "true":
        found.append(
            "spark.speculation is on: Spark may run a slow trial twice, which delays others"
        )
    failures = int(conf.get("spark.task.maxFailures", "4"))
    if local := LOCAL_MASTER.match(str(context.master)):
        failures = int(local.group(2) or 1)
    if failures > 1:
        found.append(
            f"a task may fail {failures} times (spark.task.maxFailures): if an executor is lost, "
            "Spark repeats its trials by itself, without the search counting it"
        )
    return found
