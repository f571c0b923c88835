"""Nothing is lost: damaged files are told apart, and a job killed at any moment does no harm."""

import io
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.images import write_images
from support.jobs import Run, one_line, started

from cnn.core.directory import Directory
from cnn.data.build import make_dataset
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import MAX_PIXELS, Decoding, Unreadable, decode_file
from cnn.data.manifest import Manifest, Source, read_manifest
from cnn.data.rejects import read_rejects
from cnn.data.sources.folder import FolderSource


def good(rng: random.Random, kind: str) -> bytes:
    pixels = np.frombuffer(rng.randbytes(32 * 32), np.uint8).reshape(32, 32)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def truncated(rng: random.Random) -> bytes:
    whole = good(rng, rng.choice(["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF"]))
    return whole[: rng.randrange(1, len(whole) * 9 // 10)]


def flipped(rng: random.Random) -> bytes:
    """A bit of the pixels' stream turned round; a PNG has a checksum that tells."""
    whole = bytearray(good(rng, "PNG"))
    start = whole.index(b"IDAT") + 6
    place = rng.randrange(start, whole.index(b"IEND") - 12)
    whole[place] ^= 1 << rng.randrange(8)
    return bytes(whole)


def wrong_header(rng: random.Random) -> bytes:
    return rng.randbytes(16) + good(rng, "JPEG")[16:]


def bomb(rng: random.Random) -> bytes:
    """A few bytes that claim to be more pixels than are allowed."""
    side = rng.randrange(int(MAX_PIXELS**0.5) + 1, 2**31 - 1)

    def chunk(name: bytes, content: bytes) -> bytes:
        tail = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + tail

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))


def html(rng: random.Random) -> bytes:
    return b"<!DOCTYPE html><title>404 " + str(rng.random()).encode()


def empty(rng: random.Random) -> bytes:
    return b""


def tiny(rng: random.Random) -> bytes:
    sink = io.BytesIO()
    Image.new("L", (rng.randrange(1, 8), 200), rng.randrange(256)).save(sink, "PNG")
    return sink.getvalue() + rng.randbytes(8)


DAMAGES = {
    truncated: ("damaged image", "not an image in a supported format"),
    flipped: ("damaged image",),
    wrong_header: ("not an image in a supported format",),
    bomb: (f"more than {MAX_PIXELS} pixels",),
    html: ("not an image in a supported format",),
    empty: ("empty file",),
    tiny: ("too small",),
}


def test_a_thousand_damaged_files_among_a_thousand_good_ones(spark: Any, tmp_path: Path) -> None:
    rng = random.Random(3)
    root = tmp_path / "images"
    expected: dict[str, tuple[str, ...]] = {}
    kept: set[str] = set()
    damages = list(DAMAGES)
    for number in range(1000):
        name = ("a", "b")[number % 2]
        (root / name).mkdir(parents=True, exist_ok=True)
        kind = ("JPEG", "PNG")[number % 3 == 0]
        (root / name / f"good-{number}.jpg").write_bytes(good(rng, kind))
        kept.add(f"{name}/good-{number}.jpg")
        damage = damages[number % len(damages)]
        (root / name / f"bad-{number}.jpg").write_bytes(damage(rng))
        expected[f"{name}/bad-{number}.jpg"] = DAMAGES[damage]
    reader = FolderSource(root)
    settings = DataSettings(image_size=16, max_rejects=1000)
    out = Directory(tmp_path / "data")
    manifest = make_dataset(
        spark, reader, out, settings, reader.find(settings), source=Source(name="t")
    )
    rejects = dict(read_rejects(out))
    wrong = {
        path: rejects.get(path)
        for path, reasons in expected.items()
        if not rejects.get(path, "").startswith(reasons)
    }
    assert wrong == {}
    rows = {
        path
        for split in ("train", "test")
        for path in pq.read_table(tmp_path / "data" / split, columns=["path"])["path"].to_pylist()
    }
    assert rows == kept
    assert (manifest.listed, manifest.rejects) == (2000, 1000)
    assert sum(manifest.reasons.values()) == 1000


def test_bits_flipped_in_a_jpeg_never_end_the_job(tmp_path: Path) -> None:
    rng = random.Random(5)
    refused = 0
    for _ in range(300):
        content = bytearray(good(rng, "JPEG"))
        for _ in range(rng.randrange(1, 9)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path = tmp_path / "flipped.jpg"
        path.write_bytes(content)
        try:
            assert decode_file(path, Decoding(16, 1)).shape == (16, 16, 1)
        except Unreadable:
            refused += 1
    # Most flips only change pixels; those in a header or a table spoil the file.
    assert 0 < refused < 150


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = write_images(tmp_path, {"a": 1}) / "a" / "a-0.png"
    for folder in (path.parent, *path.parent.parents):
        if folder.is_relative_to(tmp_path):
            folder.chmod(0o755)
    path.chmod(0o000)
    seen, write = os.pipe()
    child = os.fork()
    if child == 0:
        # Root reads everything: nobody does not.
        os.setuid(65534)
        try:
            decode_file(path, Decoding(16, 1))
        except Unreadable as reason:
            os.write(write, str(reason).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(seen, 1000) == b"unreadable: Permission denied"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("kill") / "images", {"a": 400, "b": 400}, size=256)


def start(images: Path, out: Path) -> subprocess.Popen[str]:
    return started("jobs/preprocess.py", "--images", images, "--out", out, "--overwrite")


@pytest.fixture(scope="module")
def undisturbed(images: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, float]:
    """The manifest of a run that nothing disturbs, and how long it takes."""
    out = tmp_path_factory.mktemp("whole") / "data"
    began = time.monotonic()
    done = start(images, out)
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    return read_manifest(Directory(out)), time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(20))
def test_a_killed_driver_leaves_no_half_data_set(
    moment: int, images: Path, undisturbed: tuple[Manifest, float], tmp_path: Path
) -> None:
    manifest, seconds = undisturbed
    out = tmp_path / "data"
    process = start(images, out)
    # Most of the time nothing is written yet: the later half is where harm could be done.
    time.sleep(seconds * random.Random(moment).triangular(0.2, 1.0, 0.9))
    process.kill()
    process.communicate(timeout=60)
    if out.exists():
        assert read_manifest(Directory(out)).fingerprint == manifest.fingerprint
    again = start(images, out)
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert read_manifest(Directory(out)).fingerprint == manifest.fingerprint
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_killed_python_worker_fails_the_job_in_one_line(
    images: Path, undisturbed: tuple[Manifest, float], tmp_path: Path
) -> None:
    out = tmp_path / "data"
    process = start(images, out)
    while not (workers := _workers(process.pid)):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    if process.returncode != 0:
        assert process.returncode == 1
        assert "preprocessing failed, and nothing was written" in one_line(errors)
        assert not list(tmp_path.iterdir())
    again = start(images, out)
    again.communicate(timeout=300)
    assert read_manifest(Directory(out)).fingerprint == undisturbed[0].fingerprint


def _workers(ancestor: int) -> list[int]:
    """Python workers below a process: forked from a daemon, they have its command line."""
    parents: dict[int, int] = {}
    daemons = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parents[int(folder.name)] = int(
                    (folder / "stat").read_text().rpartition(")")[2].split()[1]
                )
                if b"cnn.daemon" in (folder / "cmdline").read_bytes():
                    daemons.append(int(folder.name))
            except OSError:
                continue

    def is_below(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == ancestor:
                return True
        return False

    return [pid for pid in daemons if parents.get(pid) in daemons and is_below(pid)]


def test_a_second_writer_is_refused(images: Path, submit: Run, tmp_path: Path) -> None:
    out = tmp_path / "data"
    first = start(images, out)
    while not (tmp_path / ".data.lock").exists():
        assert first.poll() is None
        time.sleep(0.02)
    second = submit("jobs/preprocess.py", "--images", images, "--out", out)
    assert second.returncode == 2
    assert "--out must have one writer at a time" in one_line(second.stderr)
    _, errors = first.communicate(timeout=300)
    assert first.returncode == 0, errors


def test_a_data_set_moved_aside_by_a_killed_writer_is_put_back(
    images: Path, submit: Run, tmp_path: Path
) -> None:
    aside = tmp_path / ".data.old-0123abcd"
    write_images(aside / "train", {"x": 1})
    (tmp_path / ".data.partial-0123abcd").mkdir()
    done = submit("jobs/preprocess.py", "--images", images, "--out", tmp_path / "data")
    assert done.returncode == 2
    assert "is neither" in one_line(done.stderr)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}
    assert (tmp_path / "data" / "train" / "x" / "x-0.png").is_file()
