"""The versions of installed software that affect results."""

import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "spark-cnn-search",
    "keras",
    "tensorflow",
    "pyspark",
    "hyperopt",
    "numpy",
    "pillow",
)


def installed_versions() -> dict[str, str]:
    """Returns the versions of Python and of the installed packages."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
