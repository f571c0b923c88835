"""Kaggle data sets, from a real HTTP server on localhost that speaks the client's routes."""

import io
import json
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.images import write_images
from support.jobs import Run, one_line

from cnn.core.errors import Error, InputError
from cnn.data.sources.kaggle import fetch_kaggle, unpack

DATASET = "someone/pets"
KEY = "kaggle-secret-0123456789"
# The client's own port for tests.
PORT = 7777


class Kaggle(ThreadingHTTPServer):
    """What Kaggle answers, and what it was asked."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", PORT), _Handler)
        self.archive = archive
        # Bytes after which a connection is cut, one a request.
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    server: Kaggle

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.status != 200 or self.headers.get("Authorization") is None:
            self._json({"code": self.server.status, "message": "no"}, self.server.status)
        elif self.path.endswith("/GetDatasetMetadata"):
            licences = [{"name": "CC-BY-4.0"}]
            info = {"title": "Pets", "ownerUser": "someone", "licenses": licences}
            self._json({"info": info})
        elif self.path.endswith("/DownloadDataset"):
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{PORT}/pets.zip?signature=signed-url")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = self.server.archive[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Type", "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"one"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.server.cuts:
            body = body[: self.server.cuts.pop(0)]
        self.wfile.write(body)
        self.close_connection = True

    def _json(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = write_images(
        tmp_path_factory.mktemp("pets") / "pets" / "pets", {"cat": 30, "dog": 30}, 64
    )
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(root.rglob("*.png")):
            packed.write(path, path.relative_to(root.parent))
    return sink.getvalue()


@pytest.fixture
def kaggle(archive: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kaggle]:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "nothing"))
    with Kaggle(archive) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()


def test_a_data_set_becomes_a_folder_with_its_source(kaggle: Kaggle, tmp_path: Path) -> None:
    folder, source = fetch_kaggle(DATASET, tmp_path / "down")
    assert folder == tmp_path / "down" / "someone--pets"
    assert len(list((folder / "pets" / "cat").glob("*.png"))) == 30
    assert source.name == "Pets"
    assert source.licence == "CC-BY-4.0"
    assert source.attribution == "someone on Kaggle"
    assert {path.name for path in folder.parent.iterdir()} == {
        "someone--pets",
        "someone--pets.json",
    }
    asked = len(kaggle.ranges)
    assert fetch_kaggle(DATASET, tmp_path / "down") == (folder, source)
    assert len(kaggle.ranges) == asked


def test_a_connection_cut_in_the_middle_is_resumed(kaggle: Kaggle, tmp_path: Path) -> None:
    kaggle.cuts = [len(kaggle.archive) // 2]
    folder, _ = fetch_kaggle(DATASET, tmp_path / "down")
    assert kaggle.ranges[0] is None
    assert kaggle.ranges[1] == f"bytes={1 << 16}-"
    assert len(list(folder.rglob("*.png"))) == 60


def test_a_later_run_resumes_what_an_interrupted_one_has_left(
    kaggle: Kaggle, tmp_path: Path
) -> None:
    half = len(kaggle.archive) // 2
    down = tmp_path / "down"
    down.mkdir()
    partial = down / "someone--pets.zip.partial"
    partial.write_bytes(kaggle.archive[:half])
    from kaggle.api.kaggle_api_extended import KaggleApi

    KaggleApi()._write_resume_marker(str(partial), '"one"', len(kaggle.archive))
    folder, _ = fetch_kaggle(DATASET, down)
    assert kaggle.ranges[-1] == f"bytes={half}-"
    assert len(list(folder.rglob("*.png"))) == 60


@pytest.mark.parametrize(
    ("status", "rule"),
    [
        (401, "but Kaggle refused them"),
        (403, "must permit someone/pets, but Kaggle refused it"),
        (404, "--kaggle must be a data set on Kaggle, but someone/pets was not found"),
        (503, "Kaggle answered with HTTP 503"),
    ],
)
def test_what_kaggle_refuses_is_one_line(
    kaggle: Kaggle, tmp_path: Path, status: int, rule: str
) -> None:
    kaggle.status = status
    with pytest.raises(Error, match=rule) as caught:
        fetch_kaggle(DATASET, tmp_path / "down")
    assert KEY not in str(caught.value)
    assert not list((tmp_path / "down").glob("someone*"))


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", KEY)
    with pytest.raises(Error, match="Kaggle could not be reached"):
        fetch_kaggle(DATASET, tmp_path)


def test_a_disk_that_is_too_full(
    kaggle: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = os.statvfs(tmp_path)
    free = usage.f_bavail * usage.f_frsize
    monkeypatch.setattr(kaggle, "archive", _Huge(free * 2))
    with pytest.raises(Error, match=r"the disk of .* is too full: .* GB are needed"):
        fetch_kaggle(DATASET, tmp_path / "down")


class _Huge(bytes):
    """An archive that is larger than any disk, as far as its headers go."""

    def __new__(cls, size: int) -> "_Huge":
        made = super().__new__(cls, b"")
        made.size = size
        return made

    size: int

    def __getitem__(self, key: object) -> "_Huge":  # type: ignore[override]
        return self

    def __len__(self) -> int:
        return self.size


def test_the_job_shows_licence_and_keeps_the_key_to_itself(
    kaggle: Kaggle, submit: Run, tmp_path: Path
) -> None:
    out = tmp_path / "data"
    arguments = ("--kaggle", DATASET, "--download-dir", tmp_path / "down", "--out", out)
    done = submit("jobs/preprocess.py", *arguments, "--image-size", "16")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["source"]["licence"] == "CC-BY-4.0"
    assert "100%" in done.stderr
    said = done.stdout + done.stderr + (out / "manifest.json").read_text()
    assert KEY not in said
    assert "signed-url" not in said


def test_missing_credentials_are_said_before_anything_is_done(submit: Run, tmp_path: Path) -> None:
    nobody = {"HOME": str(tmp_path), "KAGGLE_API_ENVIRONMENT": "TEST"}
    arguments = ("--kaggle", DATASET, "--download-dir", tmp_path / "down")
    done = submit("jobs/preprocess.py", *arguments, "--out", tmp_path / "data", env=nobody)
    assert done.returncode == 2
    assert "Kaggle's credentials must be" in one_line(done.stderr)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["pets", "a/b/c", "../x", "a b/c", ""])
def test_names_that_are_no_data_sets(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--kaggle must be an owner and a name"):
        fetch_kaggle(name, tmp_path)


def packed(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "reason"),
    [
        ("../outside.png", 0o644, "is outside its folder"),
        ("/etc/outside.png", 0o644, "is outside its folder"),
        ("a\\..\\..\\outside.png", 0o644, "is outside its folder"),
        ("link.png", stat.S_IFLNK | 0o777, "is a link"),
        ("pipe.png", stat.S_IFIFO | 0o644, "is a link or another special file"),
    ],
)
def test_an_archive_that_reaches_out_is_refused(
    tmp_path: Path, name: str, mode: int, reason: str
) -> None:
    archive = packed(tmp_path / "a.zip", ("good.png", b"x", 0o644), (name, b"/etc/passwd", mode))
    with pytest.raises(Error, match=reason):
        unpack(archive, tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}


def test_an_archive_that_is_too_large_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnn.data.sources.kaggle.MAX_UNPACKED", 1 << 20)
    archive = packed(tmp_path / "a.zip", ("zeros.png", bytes(2 << 20), 0o644))
    with pytest.raises(Error, match="must unpack to at most"):
        unpack(archive, tmp_path / "folder")
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip"}


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_archive_is_removed_and_nothing_is_left(
    archive: bytes, tmp_path: Path, damage: str
) -> None:
    content = bytearray(archive)
    if damage == "truncated":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 0xFF
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(Error, match=r"a\.zip is damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []
