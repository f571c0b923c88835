"""Fixtures that build real sessions, data sets and runs, once where they are only read."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from support.chaos_table import table
from support.data_sets import make
from support.images import write_greys, write_images
from support.jobs import SHORT_LIVED, Run, clean_environment, preprocess
from support.paths import CONF_DIR, REPOSITORY
from support.s3_server import BUCKET, S3Server

from cnn.core.directory import Directory
from cnn.data.data_set import DataSet
from cnn.data.sources.sample import write_sample


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    """How many examples a property is tried on where its test does not say."""
    hypothesis.settings.register_profile("ci", max_examples=120)
    hypothesis.settings.register_profile("all", max_examples=2000)
    hypothesis.settings.load_profile("all" if config.getoption("--all") else "ci")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all"):
        return
    skip = pytest.mark.skip(reason="slow: run with --all")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of faults that jobs have survived, where tests/jobs/test_chaos.py has run."""
    passed = terminalreporter.getreports("passed")
    hits = [value for report in passed for key, value in report.user_properties if key == "chaos"]
    if hits:
        terminalreporter.write_sep("=", "faults survived: by itself + run again")
        for line in table(hits):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def submit() -> Run:
    """Runs ./spark-submit.sh with arguments, in a directory, and returns what it printed.

    `before` is a command that runs the one behind it, such as taskset.
    """

    def run(
        *arguments: str | Path,
        cwd: Path = REPOSITORY,
        env: dict[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        command = [*before, str(REPOSITORY / "spark-submit.sh"), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=cwd,
            env=clean_environment() | (env or {}),
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def spark() -> Iterator["object"]:
    """A local session as jobs/tune.py has it, with two slots."""
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    os.environ.setdefault("SPARK_CONF_DIR", str(CONF_DIR))
    os.environ.setdefault("SPARK_SUBMIT_OPTS", SHORT_LIVED)
    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] pyspark-shell"
    from cnn.spark.session import TUNE, spark_session

    with spark_session("tests", TUNE) as session:
        yield session


@pytest.fixture(scope="session")
def sample_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 drawn pairs of 64x64 in the Kaggle archive's layout."""
    root = tmp_path_factory.mktemp("sample")
    write_sample(root, 20, size=64)
    return root


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT/it's $5/{train,val,test}/{cats,dogs}: 40, 10 and 10 images of each class, all unlike."""
    root = tmp_path_factory.mktemp("official") / "it's  $5"
    for seed, (name, count) in enumerate({"train": 40, "val": 10, "test": 10}.items()):
        write_images(root / name, {"cats": count, "dogs": count}, seed=seed)
    return root


@pytest.fixture(scope="session")
def noise_data(submit: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of two classes of noise, 32x32: for what is not about learning."""
    root = tmp_path_factory.mktemp("noise")
    write_images(root / "images", {"cats": 30, "dogs": 30})
    return preprocess(submit, root)


@pytest.fixture(scope="session")
def greys(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A data set of dark and of light images, 16x16: for what is about learning, but in seconds."""
    root = tmp_path_factory.mktemp("greys")
    return make(spark, write_greys(root / "images", 40), root / "data")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """A server that speaks S3; this process's environment names it."""
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def place(s3: S3Server) -> Directory:
    """A directory of this test's own."""
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition(":")[2].partition(" ")[0]
    return Directory(f"s3://{BUCKET}/{test}/place")
