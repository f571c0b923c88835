"""Versions that must agree: of Spark and pyspark, and of Python on the driver and executors."""

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
# What executors import first; if these are installed, the rest is too.
_NEEDED = ("cnn", "keras", "tensorflow", "pyarrow", "pydantic")
_PROBE = f"""
import importlib.util, sys
print(*sys.version_info[:2], *[m for m in {_NEEDED} if importlib.util.find_spec(m) is None])
"""


def check_spark(environment: Mapping[str, str] = os.environ) -> None:
    """Raises InputError if pyspark, or the Spark in SPARK_HOME, has not this program's version.

    Does not import pyspark.
    """
    wanted = wanted_spark()
    found, where = pyspark_version()
    if found is None:
        raise InputError("pyspark must be installed with this program, but is not")
    wanted = wanted or found
    if not compatible(found, wanted):
        cause = "PYTHONPATH" if environment.get("PYTHONPATH") else "the environment"
        raise InputError(
            f"pyspark must be {_minor(wanted)}, but {cause} provides {found}, in {where}"
        )
    home = environment.get("SPARK_HOME")
    if home:
        there = spark_version(Path(home))
        if there is None or not (Path(home) / "bin" / "spark-submit").is_file():
            raise InputError(
                f"SPARK_HOME must be a Spark {_minor(wanted)}, but {home} has no Spark; unset it "
                "to use the Spark that is installed with this program"
            )
        refuse_other_jvm(there, found, f"SPARK_HOME, {home},")


def refuse_other_jvm(there: str, pyspark: str, where: str) -> None:
    """Raises InputError if the versions of a JVM's Spark and of pyspark differ."""
    if not compatible(there, pyspark):
        raise InputError(
            f"Spark must be {_minor(pyspark)}, like pyspark, but {where} is Spark {there}; unset "
            "SPARK_HOME to use the Spark that is installed with this program"
        )


def wanted_spark() -> str | None:
    """The version of pyspark that this package requires; None if the package is not installed."""
    try:
        needed = requires("spark-cnn-search") or []
    except PackageNotFoundError:
        return None
    found = (re.match(r"pyspark\s*==\s*([\w.]+)", line) for line in needed)
    return next((match[1] for match in found if match), None)


def pyspark_version() -> tuple[str | None, str]:
    """The version and the folder of the pyspark that would be imported; None if there is none."""
    spec = find_spec("pyspark")
    if spec is None or spec.origin is None:
        return None, ""
    file = Path(spec.origin).with_name("version.py")
    read: Callable[[str], bytes] | None = getattr(spec.loader, "get_data", None)
    try:
        # pyspark may be in an archive.
        text = read(str(file)).decode() if read else ""
    except OSError:
        text = ""
    match = re.search(r"__version__[^=\n]*=\s*[\"']([^\"']+)", text)
    return (match[1] if match else "of no version"), str(file.parent)


def spark_version(home: Path) -> str | None:
    """The version of the Spark in a directory, from the name of its core; None if there is none."""
    try:
        names = [path.name for path in (home / "jars").iterdir()]
    except OSError:
        return None
    return next((match[1] for match in map(_CORE.fullmatch, names) if match), None)


def compatible(one: str, other: str) -> bool:
    """Whether two versions have the same major and minor number."""
    return _minor(one) == _minor(other)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def check_python(python: str, source: str, *, ships_package: bool = False) -> None:
    """Raises InputError if an interpreter on this machine cannot run trials.

    `source` is the setting that names it. With `ships_package` the job sends this package to the
    executors, so that the interpreter need not have it.
    """
    path = shutil.which(python)
    must = f"{source} must name a Python {_python()} that has this package, but {python}"
    if path is None:
        raise InputError(f"{must} does not exist or cannot be executed")
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
        last = (done.stderr.strip().splitlines() or ["it prints no error"])[-1]
        raise InputError(f"{must} cannot be started: {last}")
    version, missing = (
        ".".join(words[:2]),
        [m for m in words[2:] if m != "cnn" or not ships_package],
    )
    if version != _python():
        raise InputError(f"{must} is Python {version}")
    if missing:
        raise InputError(f"{must} lacks {', '.join(missing)}")


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
