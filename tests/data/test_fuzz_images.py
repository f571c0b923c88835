"""Image files, names and archives that may be anything: read, or refused with one line."""

import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.fuzzing import fuzz, is_short

from cnn.core.errors import Error, InputError
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import Decoding, Unreadable, decode
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.kaggle import fetch_kaggle, unpack
from cnn.data.sources.paths import real_path

names = st.binary(min_size=1, max_size=12).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)

parts = st.sampled_from(["..", ".", "", "a", "b", "con:", "x" * 300, "\x1b", "\n", "ä", "a.png"])

members = st.lists(parts, min_size=1, max_size=4).map("/".join) | st.text(max_size=20)


pillow_heif.register_heif_opener()


def encoded(kind: str, mode: str, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(sink, kind, **options)
    return sink.getvalue()


IMAGES = [
    encoded("JPEG", "RGB"),
    encoded("JPEG", "CMYK"),
    encoded("JPEG", "L", progressive=True),
    encoded("PNG", "RGBA"),
    encoded("PNG", "P", transparency=0),
    encoded("PNG", "I;16"),
    encoded("GIF", "P"),
    encoded("TIFF", "RGB", compression="tiff_lzw"),
    encoded("TIFF", "RGB", compression="jpeg"),
    encoded("WEBP", "RGBA"),
    encoded("BMP", "RGB"),
    encoded("PPM", "RGB"),
    encoded("PPM", "I;16"),
    b"P2 12 12 300 " + b"7 299 150 " * 48,
    b"P1 # bits\n16 16\n" + b"10 " * 128,
    encoded("AVIF", "RGBA"),
    encoded("AVIF", "L"),
    encoded("HEIF", "RGB"),
    encoded("HEIF", "RGBA"),
]


@settings(fuzz, max_examples=3 * settings().max_examples)
@given(st.sampled_from(IMAGES), st.randoms(use_true_random=False), st.sampled_from([1, 3]))
def test_image_bytes(whole: bytes, rng: random.Random, channels: int) -> None:
    content = bytearray(whole)
    for _ in range(rng.randrange(6)):
        place = rng.randrange(min(len(content), rng.choice([40, len(content)])))
        content[place] = rng.choice([0, 0x7F, 0xFF, rng.randrange(256)])
    if rng.random() < 0.3:
        del content[rng.randrange(len(content)) :]
    try:
        assert decode(bytes(content), Decoding(16, channels)).shape == (16, 16, channels)
    except Unreadable as reason:
        is_short(reason)


@fuzz
@given(st.lists(st.tuples(names, names | st.just(b"a.png")), max_size=4))
@example([(b"cats", b"1"), (b"dogs", b"1")])
def test_names_of_files_and_classes(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[bytes, bytes]]
) -> None:
    root = tmp_path_factory.mktemp("names")
    for folder, name in found:
        path = Path(str(root)) / Path(folder.decode("utf-8", "surrogateescape"))
        path.mkdir(exist_ok=True)
        (path / (name.decode("utf-8", "surrogateescape") + ".png")).touch()
    try:
        listing = FolderSource(root).find(DataSettings())
    except InputError:
        plain = all((folder + name).isalnum() for folder, name in found)
        assert not plain or len({folder for folder, _ in found}) < 2
        return
    assert len(listing.classes) == len(set(listing.classes)) >= 2
    for file in listing.files:
        file.path.encode()
        assert real_path(root, file.path).resolve().is_relative_to(root.resolve())
        assert real_path(root, file.path).is_file()


GOOD = ["a/1.png", "b/1.png"]


@fuzz
@given(st.lists(members, max_size=4), st.randoms(use_true_random=False), st.booleans())
@example(["a", "a/b"], random.Random(0), False)
@example(["a/b", "a"], random.Random(0), False)
@example(["."], random.Random(0), False)
@example(GOOD, random.Random(0), False)
def test_archives(
    tmp_path_factory: pytest.TempPathFactory, found: list[str], rng: random.Random, damaged: bool
) -> None:
    home = tmp_path_factory.mktemp("archives")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in dict.fromkeys(found):
            try:
                archive.writestr(zipfile.ZipInfo(name), b"content" * 30, zipfile.ZIP_DEFLATED)
            except UnicodeEncodeError:
                continue
    content = bytearray(sink.getvalue())
    for _ in range(rng.randrange(1, 5) if damaged else 0):
        content[rng.randrange(len(content))] = rng.randrange(256)
    (home / "a.zip").write_bytes(content)
    try:
        unpack(home / "a.zip", home / "folder")
    except Error:
        assert damaged or found != GOOD
        assert {path.name for path in home.iterdir()} <= {"a.zip"}
    else:
        assert {path.name for path in home.iterdir()} == {"a.zip", "folder"}
        files = {str(path.relative_to(home / "folder")) for path in home.glob("folder/*/*")}
        assert damaged or found != GOOD or files == set(GOOD)


@fuzz
@given(st.text(max_size=20).filter(lambda name: "/" not in name) | st.just("a/../b"))
def test_names_of_data_sets(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="--kaggle must be an owner and a name"):
        fetch_kaggle(name, tmp_path / "down")
    assert not list(tmp_path.iterdir())
