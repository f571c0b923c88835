"""The whole program on an object store: a server on this machine that speaks S3."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import Run, write_images
from s3_server import BUCKET, SECRET, S3Server

from cnn.classifier import Classifier
from cnn.results import read_trials
from cnn.storage import Directory


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def s3(server: S3Server) -> Iterator[S3Server]:
    """The server, and this process's environment names it too."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("s3") / "images", {"cats": 30, "dogs": 30})


@pytest.fixture(scope="module")
def data(submit: Run, s3: S3Server, images: Path) -> str:
    """A data directory in the bucket, 32x32."""
    data = f"s3://{BUCKET}/path/data"
    arguments = ("--images", images, "--out", data, "--image-size", "32")
    done = submit("jobs/preprocess.py", *arguments, env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    return data


def test_the_whole_path(submit: Run, s3: S3Server, data: str, images: Path, tmp_path: Path) -> None:
    run, out = f"s3a://{BUCKET}/path/run", f"s3://{BUCKET}/path/out"
    said = []

    def does(*words: object) -> str:
        done = submit(*map(str, words), env=s3.env)
        said.append(done.stdout + done.stderr)
        assert done.returncode == 0, said[-1]
        assert "Traceback" not in said[-1]
        return done.stdout

    does("jobs/tune.py", "--data", data, "--out", run, "--config", "conf/test.toml")
    kinds = {key.split("/")[2] for key in s3.keys("path/run")}
    assert kinds >= {"model.keras", "model.json", "report.html", "result.json", "run.json"}
    assert kinds >= {"settings.toml", "test.parquet", "tensorboard", "trials"}
    assert not kinds & {"checkpoints", "running", "tested.json"}
    assert [trial.status for trial in read_trials(Directory(run))] == ["ok", "ok"]
    assert "the run had finished" in does("jobs/tune.py", "--resume", run)
    assert does("jobs/predict.py", "--model", run, "--images", images, "--out", out, "--csv")
    table = pq.read_table(f"{BUCKET}/path/out/predictions", filesystem=s3.files)
    assert len(table) == 60
    image = next((images / "cats").iterdir())
    row = next(row for row in table.to_pylist() if row["path"] == f"cats/{image.name}")
    assert Classifier.load(run).predict(image).prediction == row["prediction"]
    # Nothing of writers is left beside, and nothing shows credentials.
    assert {key.split("/")[1] for key in s3.keys("path")} == {"data", "run", "out"}
    for key in s3.keys("path"):
        with s3.files.open_input_stream(f"{BUCKET}/{key}") as stream:
            assert SECRET.encode() not in stream.read()
    assert SECRET not in "".join(said)
