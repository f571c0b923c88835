"""What docs/security.md promises, held by planting what must not work."""

import os
import re
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import pytest
from support.images import write_images
from support.jobs import Run, one_line
from support.made_up import SETTINGS, default_trial
from support.models import save
from support.paths import REPOSITORY

from cnn.core.directory import Directory
from cnn.core.documents import MOST_BYTES
from cnn.core.errors import Error, InputError
from cnn.data.manifest import read_manifest
from cnn.model.classifier import Classifier
from cnn.model.file_check import check_model_file
from cnn.model.named_functions import BUILDER, OBJECTIVE, check_named_functions
from cnn.rundir.trials import write_trial
from cnn.search.journal import recover_trials
from cnn.settings.toml import dump_settings, load_settings
from cnn.spark.gpus import lease
from cnn.spark.unsupported import refuse_connect

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
ESCAPE = "\x1b]0;owned\x07"
GIB = 1 << 30


# Nothing that is read is executed.


def with_config(folder: Path, old: str, new: str) -> None:
    """Puts other text into the configuration of a saved model."""
    path = folder / "model.keras"
    with zipfile.ZipFile(path) as archive:
        found = {name: archive.read(name) for name in archive.namelist()}
    assert old.encode() in found["config.json"]
    found["config.json"] = found["config.json"].replace(old.encode(), new.encode(), 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in found.items():
            archive.writestr(name, content)


def test_a_model_with_code_or_of_another_library_is_refused(submit: Run, tmp_path: Path) -> None:
    save(tmp_path)
    check_model_file(Directory(tmp_path))
    Classifier.load(tmp_path)
    name = '"module": "keras.layers", "class_name": "Flatten"'
    with_config(tmp_path, name, '"module": "os", "class_name": "system"')
    with pytest.raises(InputError, match="but has 'system' of 'os'"):
        Classifier.load(tmp_path)
    save(tmp_path, keras.layers.Lambda(lambda x: x))
    with pytest.raises(InputError, match=r"safe mode.* has a function's code \(Lambda\)"):
        Classifier.load(tmp_path)
    images = write_images(tmp_path / "images", {"a": 1})
    flags = ("--model", tmp_path, "--images", images, "--out", tmp_path / "out")
    done = submit("jobs/predict.py", *flags)
    assert done.returncode == 2
    assert "has a function's code (Lambda)" in one_line(done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["huge", "pipe", "torn", "deep"])
def test_a_model_file_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.keras"
    if kind == "huge":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", b" " * (MOST_BYTES + 1))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "deep":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", b"[" * 100_000)
    else:
        path.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="must be a model that can be read in safe mode, but"):
        check_model_file(Directory(tmp_path))


@pytest.mark.parametrize("setting", [BUILDER, OBJECTIVE])
def test_who_may_name_a_function_is_who_owns_the_run(tmp_path: Path, setting: str) -> None:
    settings = load_settings(assignments=[f"{setting}=os:system"])
    (tmp_path / "settings.toml").write_text(dump_settings(settings))
    run = Directory(tmp_path)
    check_named_functions(run, settings, named=())
    for path in (tmp_path, tmp_path / "settings.toml"):
        mode = path.stat().st_mode
        path.chmod(0o777)
        with pytest.raises(InputError, match=rf"must be used with {setting}=os:system again"):
            check_named_functions(run, settings, named={"os:getpid"})
        check_named_functions(run, settings, named={"os:system"})
        check_named_functions(run, SETTINGS, named=())
        path.chmod(stat.S_IMODE(mode))
    if os.getuid() == 0:
        os.chown(tmp_path / "settings.toml", 65534, -1)
        os.chown(tmp_path, 65534, -1)
        with pytest.raises(InputError, match=r"others may have written"):
            check_named_functions(run, settings, named=())


# Huge, torn and foreign files.


@contextmanager
def memory_below(more: int) -> Iterator[None]:
    """The work takes at no moment so many KiB more than before, whatever came before it."""

    def highest() -> int:
        status = Path("/proc/self/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])

    # From now on the highest is counted anew.
    Path("/proc/self/clear_refs").write_text("5")
    before = highest()
    yield
    assert highest() - before < more


def test_what_is_huge_is_refused_unread(tmp_path: Path) -> None:
    run, said = Directory(tmp_path), list[str]()
    for name in ("manifest.json", "model.json", "settings.toml"):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, GIB)
    for number in range(3):
        write_trial(run, default_trial(number))
    os.truncate(tmp_path / "trials" / "00000.json", GIB)
    (tmp_path / "trials" / "00001.json").unlink()
    (tmp_path / "trials" / "00001.json").symlink_to("/dev/zero")
    started = time.monotonic()
    with memory_below(200 << 10):
        with pytest.raises(InputError, match="it is invalid: it is larger than 16 MiB"):
            read_manifest(run)
        with pytest.raises(InputError, match=r"must name a TOML file, but .* is larger than 1 MiB"):
            load_settings([tmp_path / "settings.toml"])
        assert [one.number for one in recover_trials(run, SETTINGS, said.append)] == [2]
    assert "is larger than 16 MiB" in said[0]
    assert "not a regular file" in said[1]
    assert (tmp_path / "set-aside" / "00000.json").stat().st_size == GIB
    assert (tmp_path / "set-aside" / "00001.json").is_symlink()
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_the_worst_that_is_within_the_limits_is_bounded(tmp_path: Path) -> None:
    values = b'{"classes":[' + b"0," * 1_999_000 + b"0]}"
    for content in (values + b" " * (MOST_BYTES - len(values)), b"[" * MOST_BYTES):
        (tmp_path / "manifest.json").write_bytes(content)
        refused = pytest.raises(InputError, match="must be a manifest")
        with memory_below(2 << 20), refused:
            read_manifest(Directory(tmp_path))


def test_bombs_of_images_take_bounded_memory() -> None:
    # In a process of its own, whose highest memory is this test's alone.
    code = """
import io, resource, struct, zlib
from PIL import Image
from cnn.data.decoding.decode import MAX_PIXELS, Decoding, Unreadable, decode
def chunk(name, content):
    tail = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + tail
def png(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    return b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for side in (100_000, 2**31 - 1, 20_000):
    try:
        decode(png(side), Decoding(16, 3))
        raise SystemExit("decoded")
    except Unreadable as reason:
        assert f"more than {MAX_PIXELS} pixels" in str(reason), reason
text = io.BytesIO()
Image.new("L", (16, 16)).save(text, "PNG")
whole = text.getvalue()
bomb = whole[:33] + chunk(b"zTXt", b"k\\0\\0" + zlib.compress(bytes(1 << 28))) + whole[33:]
try:
    decode(bomb, Decoding(16, 1))
except Unreadable:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200 << 10


# Paths and names.


def test_links_lead_nothing_away(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "inside").symlink_to(outside)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    Directory(tmp_path / "link").remove()
    assert (tmp_path / "run" / "inside").is_symlink()
    Directory(tmp_path / "run").remove()
    assert not (tmp_path / "run").exists()
    assert (outside / "thesis.txt").read_text() == "years of work"


def test_the_list_of_gpus_in_use_is_this_users_alone(tmp_path: Path) -> None:
    folder = tmp_path / "gpus"
    folder.symlink_to(tmp_path)
    with pytest.raises(Error, match="only this user can write to"), lease(["0"], 1, folder):
        pass


def test_names_steer_no_terminal_and_break_no_line(submit: Run, tmp_path: Path) -> None:
    names = (f"a{ESCAPE}\nerror: forged", f"b\x9b31m{'‮'}")
    write_images(tmp_path / "images", {"a": 30, "b": 30})
    for old, new in zip(("a", "b"), names, strict=True):
        (tmp_path / "images" / old).rename(tmp_path / "images" / new)
    first = tmp_path / "images" / names[0] / "a-0.png"
    first.rename(first.with_name(f"{ESCAPE}\udcff\n.png"))
    (first.with_name(f"{ESCAPE}torn.png")).write_bytes(b"torn")
    words = ("--images", tmp_path / "images", "--out", tmp_path / "data", "--image-size", "32")
    done = submit("jobs/preprocess.py", *words, "--max-rejects", "3")
    assert done.returncode == 0, done.stderr
    assert "1 not an image" in done.stdout
    again = submit("jobs/preprocess.py", *words, "--classes", "a,b")
    assert one_line(again.stderr).startswith("error: --classes must name folders")
    for text in (done.stdout, again.stderr):
        assert all(line.isprintable() for line in text.splitlines())
        assert "\nerror: forged" not in text


@pytest.mark.parametrize("flag", ["--out", "--images"])
def test_a_path_that_is_no_utf8_is_one_line(submit: Run, tmp_path: Path, flag: str) -> None:
    write_images(tmp_path / "images", {"a": 30, "b": 30})
    words = {"--images": tmp_path / "images", "--out": tmp_path / "data"}
    done = submit("jobs/preprocess.py", *sum(words.items(), ()), flag, tmp_path / "\udcff")
    assert done.returncode == 2, done.stderr
    assert one_line(done.stderr)


# What Spark cannot do.


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SPARK_REMOTE": "sc://host/;token=secret"}, "SPARK_REMOTE is set"),
        ({"SPARK_API_MODE": "Connect"}, "SPARK_API_MODE is connect"),
        ({"spark.remote": "sc://host"}, "spark.remote is set"),
        ({"spark.api.mode": "connect"}, "spark.api.mode is connect"),
        ({"PYSPARK_SUBMIT_ARGS": "--remote sc://host pyspark-shell"}, "--remote was given"),
    ],
)
def test_spark_connect_is_refused(settings: dict[str, str], named: str) -> None:
    with pytest.raises(InputError, match=re.escape(named)) as raised:
        refuse_connect(settings)
    assert "secret" not in str(raised.value)
    refuse_connect({"SPARK_REMOTE": "", "spark.api.mode": "classic"})


def test_a_job_under_spark_connect_is_one_line(submit: Run, tmp_path: Path) -> None:
    out = ("--sample", "20", "--out", tmp_path / "data")
    done = submit("jobs/preprocess.py", *out, env={"SPARK_REMOTE": "sc://127.0.0.1:1"})
    assert done.returncode == 2
    assert "Spark Connect has no sparkContext" in one_line(done.stderr)
    assert not list(tmp_path.iterdir())
