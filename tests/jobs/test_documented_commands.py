"""The commands of README and docs/, run as they stand there but for the reader's own names."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.backbones import save_backbone
from support.documents import COMMANDS, DOCUMENTS, README, blocks
from support.images import write_images
from support.jobs import clean_environment
from support.paths import REPOSITORY
from support.s3_server import S3Server

from cnn.core.directory import Directory


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what a clone has, and where outputs may go."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("jobs", "conf", "constraints.txt"):
        (root / name).symlink_to(REPOSITORY / name)
    write_images(root / "images", {"cats": 60, "dogs": 60})
    for seed, (name, count) in enumerate({"train": 30, "test": 10}.items()):
        write_images(root / "pets" / name, {"cats": count, "dogs": count}, seed=seed)
    kinds = [f"{kind}/{kind}-{n},{kind}" for kind in ("cats", "dogs") for n in range(60)]
    (root / "labels.csv").write_text("\n".join(["image,label", *kinds]))
    (root / "shared").mkdir()
    (root / "shared" / "images").symlink_to(root / "images")
    return root


def run(command: str, clone: Path) -> str:
    """Runs a command of a document in a clone, with a reader's names in it; returns its output."""
    import pyspark

    words = {
        r"^\./spark-submit\.sh": str(REPOSITORY / "spark-submit.sh"),
        r"spark://HOST:7077": "local-cluster[2,4,1024]",
        r"/shared": str(clone / "shared"),
        r"\b(DIR|NEW)\b": "images",
        r"\bDATA\b": "data/mine",
        r"\bRUN\b": "runs/mine",
    }
    for pattern, word in words.items():
        command = re.sub(pattern, word, command)
    environment = clean_environment()
    if "local-cluster" in command:
        environment["SPARK_HOME"] = str(Path(pyspark.__file__).parent)
    done = subprocess.run(
        shlex.split(command, comments=True),
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands(pattern: str) -> list[str]:
    found = [command for command in COMMANDS if re.search(pattern, command)]
    assert found
    return found


# What the command of each test has in it.
MAIN = r"^\./spark-submit\.sh +#"
MINE = r"^\./spark-submit\.sh jobs/\w+\.py .*/mine"
OFFICIAL = r"--test-images pets/test"
LABELLED = r"--labels labels\.csv"
PREDICT = r"--model RUN"
AGAIN = r"--config RUN/settings\.toml"
RESUME = r"--resume RUN"
EXTEND = r"--extend RUN"
CLUSTER = r"--master spark://HOST"
START = r"^spark-class "
STEP = r"--master spark://127\.0\.0\.1"
STORE = r" s3://bucket/|^export AWS_"
# A name of Keras, whose weights a test cannot fetch: a file takes its place.
BACKBONE = r"\befficientnet_v2_b0\b"


def test_every_command_is_run_by_a_test_here() -> None:
    tested = [MAIN, MINE, OFFICIAL, LABELLED, PREDICT, AGAIN, RESUME, CLUSTER, START, STEP, STORE]
    tested += [BACKBONE, EXTEND]
    assert [c for c in COMMANDS if not any(re.search(p, c) for p in tested)] == []


@pytest.mark.slow
def test_the_main_command_tunes_on_the_sample(clone: Path) -> None:
    (command,) = commands(MAIN)
    *_, accuracy, report = run(command, clone).strip().splitlines()
    assert accuracy.startswith("test accuracy 0.9") or accuracy.startswith("test accuracy 1.0")
    assert Path(report.removeprefix("report: ")).is_file()
    assert (clone / "data" / "manifest.json").is_file()


def shrunk(command: str) -> str:
    """The command with what makes it quick on the few images here."""
    if "preprocess.py" in command:
        return f"{command} --image-size 32"
    if "tune.py" in command:
        quick = ["search.epochs=1", "search.min_steps=0", "search.cross_validation=1"]
        quick += ["space.filters=4", "space.conv_layers=2", "space.dense_units=8"]
        return " ".join([command, *(f"--set {setting}" for setting in quick)])
    return command


@pytest.fixture(scope="module")
def mine(clone: Path) -> Path:
    """The clone after the commands for a reader's own images: the run is runs/mine."""
    for command in commands(MINE):
        run(shrunk(command), clone)
    return clone


def test_your_own_images_and_the_run_again(mine: Path) -> None:
    result = json.loads((mine / "runs" / "mine" / "result.json").read_text())
    assert result["trials"]["ok"] == 12
    assert (mine / "predictions" / "mine" / "predictions.csv").is_file()
    assert list((mine / "predictions" / "mine" / "predictions").glob("*.parquet"))
    (command,) = commands(RESUME)
    assert "the run has already finished" in run(command, mine)
    before = set((mine / "runs").iterdir())
    (command,) = commands(AGAIN)
    run(f"{command} --max-trials 2", mine)
    assert len(set((mine / "runs").iterdir()) - before) == 1


@pytest.mark.slow
def test_a_runs_model_and_new_images(mine: Path) -> None:
    (command,) = commands(PREDICT)
    run(command, mine)
    assert list((mine / "predictions" / "new" / "predictions").glob("*.parquet"))


@pytest.mark.slow
def test_a_finished_run_goes_on(mine: Path) -> None:
    shutil.copytree(mine / "runs" / "mine", mine / "runs" / "longer")
    (command,) = commands(EXTEND)
    said = run(f"{command.replace('RUN', 'runs/longer')} --max-trials 1", mine)
    assert "12 trials are there, 1 more" in said


@pytest.mark.slow
def test_a_search_on_a_backbone(mine: Path) -> None:
    backbone = save_backbone(mine / "small.keras")
    quick = "--max-trials 3 --set search.head_epochs=2 --set search.fine_tune_epochs=1"
    for command in commands(BACKBONE):
        named = re.sub(BACKBONE, str(backbone), command)
        assert "computing the features" in run(f"{shrunk(named)} {quick}", mine)


@pytest.mark.slow
def test_an_official_test_set(clone: Path) -> None:
    (command,) = commands(OFFICIAL)
    run(shrunk(command), clone)
    manifest = json.loads((clone / "data" / "official" / "manifest.json").read_text())
    assert manifest["counts"]["test"] == {"cats": 10, "dogs": 10}


@pytest.mark.slow
def test_labels_in_a_table(clone: Path) -> None:
    (command,) = commands(LABELLED)
    assert "120 rows of labels, 0 files not in the table" in run(shrunk(command), clone)


@pytest.mark.slow
def test_the_clusters_commands(clone: Path) -> None:
    for command in commands(CLUSTER):
        run(shrunk(command) + (" --max-trials 2" if "tune.py" in command else ""), clone)
    assert (clone / "shared" / "runs" / "first" / "report.html").is_file()


@pytest.mark.slow
def test_the_standalone_cluster_step_by_step(clone: Path) -> None:
    environment = clean_environment()
    started = [
        subprocess.Popen(
            shlex.split(command), cwd=clone, env=environment, stderr=subprocess.DEVNULL
        )
        for command in commands(START)
    ]
    try:
        wait_for(lambda: len(ask("http://127.0.0.1:8080/json/")["workers"]) == 2)
        preprocess, tune, predict = commands(STEP)
        run(preprocess, clone)
        words = shlex.split(tune.replace("./spark-submit.sh", str(REPOSITORY / "spark-submit.sh")))
        job = subprocess.Popen(words, cwd=clone, env=environment)
        wait_for(both_work)
        assert job.wait() == 0
        run(predict, clone)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def both_work() -> bool:
    """Whether two executors have done tasks, as the application's page says.

    It has the first port from 4040 on that is free: other sessions of this machine have theirs.
    """
    (application,) = ask("http://127.0.0.1:8080/json/")["activeapps"]
    for port in range(4040, 4056):
        page = f"http://127.0.0.1:{port}/api/v1/applications/{application['id']}/executors"
        with contextlib.suppress(OSError):
            executors = [each for each in ask(page) if each["id"] != "driver"]
            return sum(each["completedTasks"] > 0 for each in executors) == 2
    return False


def ask(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        # Spark's page says at first, in HTML, that it is starting up.
        with contextlib.suppress(OSError, ValueError):
            if happened():
                return
        time.sleep(0.2)
    raise AssertionError("it did not happen within 300 s")


@pytest.mark.slow
def test_the_commands_on_a_store(clone: Path, s3: S3Server) -> None:
    stored = Directory("s3://bucket/images")
    for path in (clone / "images").rglob("*.png"):
        stored.write(path.relative_to(clone / "images").as_posix(), path.read_bytes())
    credentials, endpoint, *jobs = commands(STORE)
    assert [name for name in s3.env if name not in f"{credentials} {endpoint}"] == []
    for command in jobs:
        run(shrunk(command) + (" --max-trials 2" if "tune.py" in command else ""), clone)
    assert Directory("s3://bucket/new").names("predictions")


@pytest.mark.slow
def test_the_model_is_used_in_plain_python(mine: Path) -> None:
    (code,) = (block for block in blocks("python") if "export" in block)
    (mine / "face.jpg").write_bytes((mine / "images" / "cats" / "cats-0.png").read_bytes())
    done = subprocess.run([sys.executable, "-c", code], cwd=mine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (mine / "exported" / "saved_model.pb").is_file()
    assert (mine / "model.onnx").is_file()


def test_the_report_can_be_made_again(mine: Path) -> None:
    command = "python -m cnn.report RUN"
    assert any(f"`{command}`" in text for text in DOCUMENTS.values())
    report = mine / "runs" / "mine" / "report.html"
    report.unlink()
    run(command, mine)
    assert report.is_file()


@pytest.mark.slow
def test_plain_spark_submit_preprocesses_then_tunes(tmp_path: Path) -> None:
    jobs = REPOSITORY / "jobs"
    assert "`spark-submit jobs/preprocess.py`" in README
    said = run(f"spark-submit {jobs}/preprocess.py", tmp_path)
    assert f"data set written to {tmp_path}/data" in said
    said = run(f"spark-submit {jobs}/tune.py --config {REPOSITORY}/conf/test.toml", tmp_path)
    (report,) = re.findall(r"^report: (.*)$", said, re.MULTILINE)
    assert Path(report).parent.parent == tmp_path / "runs"
    assert Path(report).is_file()


def test_every_block_of_python_is_run_by_a_test() -> None:
    # "tune(" by tests/test_notebook.py, "export" above, "def saved" below.
    signs = ("tune(", "export", "def saved")
    found = sorted([sign in block for sign in signs] for block in blocks("python"))
    assert found == [[False, False, True], [False, True, False], [True, False, False]]


def test_an_objective_of_ones_own_is_what_its_docstring_says() -> None:
    (block,) = (block for block in blocks("python") if "def saved" in block)
    names: dict[str, Any] = {}
    exec(block, names)
    # A false alarm, a missed tumour, and one that was found.
    probabilities = np.array([[0.9, 0.1], [0.99, 0.01], [0.2, 0.8]])
    assert names["saved"](probabilities, np.array([0, 1, 1])) == pytest.approx(-(1 + 20) / 3)
