"""`./spark-submit.sh check`: describes the machine, Spark and its executors before a search.

Prints a table, then a line for whatever is unusual, and exits with code 2. If nothing is unusual,
prints "all is well" and exits with code 0.
"""

import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cnn.core.cli import Parser, run_job
from cnn.core.console import say
from cnn.core.errors import Error
from cnn.spark import machine
from cnn.spark.machine import size

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LABEL = 22
_PROXIES = ("https_proxy", "http_proxy", "all_proxy", "no_proxy")
Row = tuple[str, str]


def main(arguments: Sequence[str]) -> None:
    Parser(
        prog="./spark-submit.sh [Spark's options] check",
        description="Describes the machine, Spark and its executors, and reports what is unusual.",
    ).parse_args(arguments)
    unusual = list(machine.unusual())
    for row in driver_rows():
        _show(row)
    try:
        machine.prepare(quiet=True)
        java = java_version()
        _show(("Java", java or "none"))
        if java is None:
            raise Error("Java must be 17 or newer, but there is none; install one or set JAVA_HOME")
        unusual += _show_spark()
    except Error as error:
        unusual.append(str(error))
    for line in dict.fromkeys(unusual):
        say(f"unusual: {line}")
    if unusual:
        sys.exit(2)
    say("all is well")


def _show(row: Row) -> None:
    say(f"{row[0]:{_LABEL}} {row[1]}")


def driver_rows() -> Iterator[Row]:
    """The rows of the table about this machine, without Spark."""
    yield "host", f"{socket.gethostname()}, {_address()}"
    yield "system", f"{platform.system()} {platform.release()}, {platform.machine()}"
    yield "Python of the driver", f"{platform.python_version()}, {sys.executable}"
    yield "cores", f"{os.cpu_count()} in total, {machine.allowed_cores()} allowed"
    total, free, limit = machine.memory()
    if total is not None and free is not None:
        group = f", limited to {size(limit)} by the control group" if limit is not None else ""
        yield "memory", f"{size(total)} in total, {size(free)} free{group}"
    soft, hard = ("unlimited" if n == sys.maxsize else f"{n:,}" for n in machine.open_files())
    yield "open files", f"limit {soft}, hard limit {hard}"
    found = [f"{name} {_host(os.environ, name)}" for name in _PROXIES if _host(os.environ, name)]
    yield "proxies", ", ".join(found) or "none"
    language = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG")
    yield "locale", f"{language or 'none'}, file names in {sys.getfilesystemencoding()}"
    yield "temporary files", _folder(Path(tempfile.gettempdir()))
    yield "this directory", _folder(Path.cwd())


def _address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return "address unknown"


def _host(environment: Any, name: str) -> str:
    """A proxy from a variable in lower or upper case, without its user and password."""
    value = environment.get(name) or environment.get(name.upper()) or ""
    if name == "no_proxy" or not value:
        return str(value)
    parts = urlsplit(value if "://" in value else f"http://{value}")
    return parts.netloc.rpartition("@")[2]


def _folder(path: Path) -> str:
    free = machine.free_space(path)
    writable = "writable" if os.access(path, os.W_OK) else "not writable"
    room = "" if free is None else f", {size(free)} free"
    locks = machine.has_locks(path)
    known = "" if locks is None else f", {'with' if locks else 'without'} file locks"
    return f"{path}, {writable}{room}{known}"


def java_version() -> str | None:
    """The line with Java's version; None if there is no Java."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which(f"{home}/bin/java" if home else "java")
    if java is None:
        return None
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if re.search(r"version", line)]
    return f"{lines[0]}, {java}" if lines else None


def _show_spark() -> list[str]:
    """Prints the rows about Spark and its executors; returns a line for whatever is unusual."""
    from cnn.spark.session import TUNE, shortcomings, spark_session
    from cnn.spark.slots import count_slots, wait_for_executors

    with spark_session("cnn check", TUNE) as spark:
        context = spark.sparkContext
        import pyspark

        _show(("Spark", f"{context.version}, pyspark {pyspark.__version__}, {context.master}"))
        wait_for_executors(context)
        slots = count_slots(context)
        many = "executor" if slots.executors == 1 else "executors"
        cores = f"{slots.executor_cores} cores each, {slots.task_cpus} per task"
        _show(("slots", f"{slots.total} on {slots.executors} {many}, {cores}"))
        if slots.gpus:
            _show(("GPUs for trials", ", ".join(slots.gpus)))
        hosts = describe_hosts(spark, 2 * slots.total)
        for host in hosts:
            for row in host["rows"]:
                _show(row)
        found = [line for host in hosts for line in host["unusual"]]
        return [*found, *shortcomings(context)]


def describe_hosts(spark: "SparkSession", tasks: int) -> list[dict[str, Any]]:
    """What `describe_host` returns on each of the executors' hosts. Raises Error."""
    from cnn.core.failure_reason import failure
    from cnn.spark.retry import TaskFailed, retry_if_lost

    context = spark.sparkContext
    work = context.parallelize(range(tasks), tasks).map(lambda _: describe_host())
    try:
        answers = retry_if_lost(context, work.collect, max_lost=1)
    except TaskFailed as error:
        raise Error(f"no task can run on the executors: {failure(error)}") from None
    return list({answer["host"]: answer for answer in answers}.values())


def describe_host() -> dict[str, Any]:
    """On an executor: the rows about its host, and a line for whatever is unusual."""
    import keras

    from cnn.data.host_cache import local_dir
    from cnn.spark.gpus import local_gpus

    host, folder = socket.gethostname(), local_dir()
    named = f"Python on {host}"
    keras_here = (
        f"{keras.version()} on {keras.backend.backend()}, {machine.KERAS['image_data_format']}"
    )
    rows = [
        (named, f"{platform.python_version()}, {sys.executable}"),
        ("  Keras", keras_here),
        ("  cores, memory", f"{machine.allowed_cores()}, {size(machine.memory()[1] or 0)} free"),
        ("  GPUs", ", ".join(local_gpus()) or "none"),
        ("  Spark's directory", _folder(folder)),
    ]
    found = []
    if machine.has_locks(folder) is False:
        found.append(f"{folder} on {host} has no file locks (flock): set --cache-dir")
    with contextlib.suppress(OSError):
        if not os.access(folder, os.W_OK):
            found.append(f"{folder} on {host} is not writable: set --cache-dir")
    return {"host": host, "rows": rows, "unusual": found}


if __name__ == "__main__":
    run_job(main)
