"""Refuses configurations of Spark that this program cannot work with."""

import shlex
from collections.abc import Mapping

from pyspark import SparkConf

from cnn.core.errors import InputError


def refuse_connect(settings: Mapping[str, str]) -> None:
    """Raises InputError if environment variables or Spark's settings ask for Spark Connect."""
    asked = _asks_for_connect(settings)
    if asked is not None:
        raise InputError(
            "the session must be one of classic Spark, because Spark Connect has no sparkContext "
            f"to run trials with, but {asked}; use --master"
        )


def _asks_for_connect(settings: Mapping[str, str]) -> str | None:
    for name in ("SPARK_REMOTE", "spark.remote"):
        # Its value may hold a token.
        if settings.get(name):
            return f"{name} is set"
    for name in ("SPARK_API_MODE", "spark.api.mode"):
        if settings.get(name, "").lower() == "connect":
            return f"{name} is connect"
    words = shlex.split(settings.get("PYSPARK_SUBMIT_ARGS", ""))
    if any(word == "--remote" or word.startswith("--remote=") for word in words):
        return "--remote was given"
    return None


def refuse_local_gpus(conf: SparkConf) -> None:
    """Raises InputError if tasks of a session in local mode ask for GPUs."""
    wanted = conf.get("spark.task.resource.gpu.amount")
    if wanted:
        raise InputError(
            "spark.task.resource.gpu.amount must not be set in local mode, where Spark cannot "
            f"assign GPUs and waits forever, but got {wanted}"
        )


def refuse_python_memory(conf: SparkConf) -> None:
    """Raises InputError if the virtual memory of executors' Python processes is limited."""
    limit = conf.get("spark.executor.pyspark.memory")
    if limit:
        raise InputError(
            "spark.executor.pyspark.memory must not be set, because it limits virtual memory, of "
            f"which TensorFlow reserves far more than it uses, but got {limit}; "
            "use spark.executor.memoryOverhead"
        )
