"""The whole program on an object store: a server on this machine that speaks S3."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.images import write_images
from support.jobs import Run, one_line
from support.s3_server import BUCKET, SECRET, S3Server

from cnn.core.commit import claim, staged
from cnn.core.directory import Directory, reachable
from cnn.core.errors import InputError
from cnn.core.lock import lease
from cnn.data.sources.store import StoreSource
from cnn.model.classifier import Classifier
from cnn.report.page import main as report_main
from cnn.rundir.trials import read_trials
from cnn.spark.child import supervise

TAKEN = InputError("taken")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("s3") / "images", {"cats": 30, "dogs": 30})


@pytest.fixture(scope="module")
def stored(s3: S3Server, images: Path) -> str:
    """The images in the bucket, and what is none."""
    stored = Directory(f"s3://{BUCKET}/images")
    for path in images.rglob("*.png"):
        stored.write(path.relative_to(images).as_posix(), path.read_bytes())
    for name in ("cats/.hidden", "__MACOSX/cats/a.png", "README.md"):
        stored.write(name, b"none")
    return stored.uri


@pytest.fixture(scope="module")
def data(submit: Run, s3: S3Server, stored: str) -> str:
    """A data directory in the bucket, 32x32."""
    data = f"s3://{BUCKET}/path/data"
    arguments = ("--images", stored, "--out", data, "--image-size", "32")
    done = submit("jobs/preprocess.py", *arguments, env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60  and 3 others ignored" in done.stdout
    return data


def test_the_whole_path(submit: Run, s3: S3Server, data: str, stored: str, images: Path) -> None:
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
    report_main([run])
    assert "the run has already finished" in does("jobs/tune.py", "--resume", run)
    assert does("jobs/predict.py", "--model", run, "--images", stored, "--out", out, "--csv")
    table = pq.read_table(f"{BUCKET}/path/out/predictions", filesystem=s3.files)
    assert len(table) == 60
    image = images / "cats" / "cats-3.png"
    row = next(row for row in table.to_pylist() if row["path"] == f"cats/{image.name}")
    assert Classifier.load(run).predict(image).prediction == row["prediction"]
    # Nothing of writers is left beside, and nothing shows credentials.
    assert {key.split("/")[1] for key in s3.keys("path")} == {"data", "run", "out"}
    for key in s3.keys("path"):
        with s3.files.open_input_stream(f"{BUCKET}/{key}") as stream:
            assert SECRET.encode() not in stream.read()
    assert SECRET not in "".join(said)


def test_one_new_image_by_its_own_uri(s3: S3Server, place: Directory) -> None:
    place.write("cats/a b.png", b"123")
    images = StoreSource(reachable(f"{place.uri}/cats/a b.png"))
    (file,) = images.gather_new().files
    assert (file.path, file.class_name) == ("a b.png", "")
    assert images.opener()(file.path) == b"123"
    with pytest.raises(InputError, match="--images must be a folder or a file, but got s3://"):
        StoreSource(place.sub("none")).gather_new()


def test_a_file_is_whole_or_what_was_there(s3: S3Server, place: Directory) -> None:
    place.write("sub/file", b"old")
    place.write("sub/empty", b"")

    def fail() -> None:
        with place.writer("sub/file") as stream:
            stream.write(b"half")
            raise OSError("on purpose")

    for error, work in ((OSError, fail), (TypeError, lambda: place.write("sub/file", 3))):  # type: ignore[arg-type]
        with pytest.raises(error):
            work()
    assert place.read("sub/file") == b"old"
    with place.writer("sub/file") as stream:
        stream.write(b"new")
    assert place.read("sub/file") == b"new"
    assert place.names("sub") == ["empty", "file"]
    assert place.files() == ["sub/empty", "sub/file"]
    place.delete("sub/file")
    place.remove()
    assert not place.exists()
    assert place.names() == []


def test_what_takes_a_place_is_there_when_its_marker_is(s3: S3Server, place: Directory) -> None:
    for content in (b"1", b"2"):
        with claim(place, "marker"), staged(place, "marker") as staging:
            for name in ("a/1", "a/2", "marker"):
                staging.write(name, content)
            # The earlier one stays until the new one is complete.
            assert place.exists("marker") == (content == b"2")
    with pytest.raises(ValueError, match="on purpose"):
        _fill(place)
    assert {place.read(name) for name in place.files()} == {b"2"}
    assert {key.split("/")[1] for key in s3.keys(place.uri.split("/")[3])} == {"place"}


def _fill(place: Directory) -> None:
    with claim(place, "marker"), staged(place, "marker") as staging:
        staging.write("a/1", b"3")
        raise ValueError("on purpose")


def test_a_copy_that_a_killed_writer_had_begun_is_finished(s3: S3Server, place: Directory) -> None:
    with staged(place, "marker") as staging:
        for name in ("a/1", "a/2", "a/old", "marker"):
            staging.write(name, b"1")
    ended = supervise(_die_while_copying, place.uri, method="spawn")
    assert not ended.returned
    assert ended.reason == "exited with code 9 and returned nothing"
    assert not place.exists("marker")
    with claim(place, "marker"):
        pass
    assert {name: place.read(name) for name in place.files()} == {"a/1": b"2", "marker": b"2"}
    assert {key.split("/")[1] for key in s3.keys(place.uri.split("/")[3])} == {"place"}


def _die_while_copying(uri: str) -> None:
    place = Directory(uri)
    with staged(place, "marker") as staging:
        staging.write("a/1", b"2")
        staging.write("marker", b"2")
        # The killing: nothing that is copied arrives.
        Directory.copy = lambda *_: os._exit(9)  # type: ignore[method-assign]


def test_a_second_process_is_refused(s3: S3Server, place: Directory) -> None:
    with lease(place, TAKEN, 3.0), pytest.raises(InputError, match="taken"):
        lease(place, TAKEN, 3.0).__enter__()
    assert s3.keys(place.uri.split("/")[3]) == []


@pytest.mark.parametrize(
    "uri",
    [
        f"s3://KEY:{SECRET}@bucket/x",
        f"s3a://bucket/x?secret={SECRET}",
        f"hdfs://me:{SECRET}@host/x",
    ],
)
def test_a_uri_with_more_than_a_place_in_it_is_refused_and_not_shown(uri: str) -> None:
    with pytest.raises(InputError, match="must") as refused:
        Directory(uri)
    assert SECRET not in str(refused.value)


def test_what_cannot_be_reached_is_said_at_once(
    submit: Run, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = submit("jobs/tune.py", "--data", "s3://no-such-bucket/data", env=s3.env)
    assert done.returncode == 2
    assert "that of s3://no-such-bucket/data does not" in one_line(done.stderr)
    with pytest.raises(InputError, match="must not be a root"), claim(Directory("s3://x"), "m"):
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"s3://bucket/data is not: .*Could not connect"):
        reachable("s3://bucket/data")
    assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_daemon_forks_before_the_client_has_threads(s3: S3Server) -> None:
    code = """
from pathlib import Path
from cnn.spark.daemon import PRELOAD, preload
from cnn.spark.executor_env import EXECUTOR_ENVIRONMENT
from cnn.core.directory import Directory

def of_client():
    return [t for t in Path("/proc/self/task").iterdir() if "Aws" in (t / "comm").read_text()]

preload(EXECUTOR_ENVIRONMENT[PRELOAD].split(","))
assert not of_client()
Directory("s3://bucket/x").exists()
assert of_client()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.slow
def test_a_data_set_is_replaced_and_the_sample_drawn(
    submit: Run, s3: S3Server, images: Path, place: Directory
) -> None:
    first = ("jobs/preprocess.py", "--images", images, "--out", place.uri, "--image-size", "16")
    other = ("jobs/preprocess.py", "--sample", "12", "--out", place.uri, "--image-size", "16")
    assert submit(*first, env=s3.env).returncode == 0
    assert "nothing to do" in submit(*first, env=s3.env).stdout
    assert "--overwrite" in one_line(submit(*other, env=s3.env).stderr)
    done = submit(*other, "--overwrite", env=s3.env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(pq.read_table(place.path("train")[1], filesystem=s3.files)) < 24
    assert {key.split("/")[1] for key in s3.keys(place.uri.split("/")[3])} == {"place"}
