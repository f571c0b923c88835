"""Versions that must agree: of Spark's two halves, and of Python on the driver and on executors."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

from cnn.core.errors import InputError

_CORE = re.compile(r"spark-core_[\d.]+-(\d[\w.-]*?)\.jar")
# What executors import first; whoever has these has the rest.
_NEEDED = ("cnn", "keras", "tensorflow", "pyarrow", "pydantic")
_PROBE = f"""
import importlib.util, sys
print(*sys.version_info[:2], *[m for m in {_NEEDED} if importlib.util.find_spec(m) is None])
"""


def check_spark(environment: Mapping[str, str] = os.environ) -> None:
    """Raises InputError where pyspark, or the Spark of SPARK_HOME, is not of the version that this
    program was made for. Imports nothing of it.
    """
    wanted = wanted_spark()
    found, where = pyspark_version()
    if found is None:
        raise InputError("pyspark must be installed where this program is, but there is none")
    wanted = wanted or found
    if not alike(found, wanted):
        cause = "PYTHONPATH" if environment.get("PYTHONPATH") else "the environment"
        raise InputError(
            f"pyspark must be {_minor(wanted)}, but {cause} has {found} first, in {where}"
        )
    home = environment.get("SPARK_HOME")
    if home:
        there = spark_version(Path(home))
        if there is None or not (Path(home) / "bin" / "spark-submit").is_file():
            raise InputError(
                f"SPARK_HOME must be a Spark {_minor(wanted)}, but {home} has no Spark; without "
                "the variable the one that is installed with this program is used"
            )
        refuse_other_jvm(there, found, f"SPARK_HOME, {home},")


def refuse_other_jvm(there: str, pyspark: str, where: str) -> None:
    """Raises InputError where a JVM's Spark and pyspark are not of one version."""
    if not alike(there, pyspark):
        raise InputError(
            f"Spark must be {_minor(pyspark)}, as pyspark is, but {where} is Spark {there}; "
            "without SPARK_HOME the one that is installed with this program is used"
        )


def wanted_spark() -> str | None:
    """The version of pyspark that this package asks for; None where it is not installed."""
    try:
        needed = requires("spark-cnn-search") or []
    except PackageNotFoundError:
        return None
    found = (re.match(r"pyspark\s*==\s*([\w.]+)", line) for line in needed)
    return next((match[1] for match in found if match), None)


def pyspark_version() -> tuple[str | None, str]:
    """The version of the pyspark that would be imported, and where it is."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        return None, ""
    file = Path(spec.origin).with_name("version.py")
    read: Callable[[str], bytes] | None = getattr(spec.loader, "get_data", None)
    try:
        # It may be in an archive.
        text = read(str(file)).decode() if read else ""
    except OSError:
        text = ""
    match = re.search(r"__version__[^=\n]*=\s*[\"']([^\"']+)", text)
    return (match[1] if match else "of no version"), str(file.parent)


def spark_version(home: Path) -> str | None:
    """The version of the Spark in a directory, by its core's name; None where there is none."""
    try:
        names = [path.name for path in (home / "jars").iterdir()]
    except OSError:
        return None
    return next((match[1] for match in map(_CORE.fullmatch, names) if match), None)


def alike(one: str, other: str) -> bool:
    """Whether major and minor version are the same."""
    return _minor(one) == _minor(other)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def check_python(python: str, source: str, *, package_comes: bool = False) -> None:
    """Raises InputError where an interpreter on this machine cannot run trials.

    `source` is the setting that names it. `package_comes`: executors get the package with the job.
    """
    path = shutil.which(python)
    must = f"{source} must name a Python {_python()} with this package in it, but {python}"
    if path is None:
        raise InputError(f"{must} is not there or cannot be executed")
    if Path(path).absolute() == Path(sys.executable):
        return
    try:
        done = subprocess.run(
            [path, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{must} cannot be started: {error}") from None
    words = done.stdout.split()
    if done.returncode or len(words) < 2:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise InputError(f"{must} cannot be started: {last}")
    version, missing = (
        ".".join(words[:2]),
        [m for m in words[2:] if m != "cnn" or not package_comes],
    )
    if version != _python():
        raise InputError(f"{must} is Python {version}")
    if missing:
        raise InputError(f"{must} has no {', '.join(missing)}")


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
