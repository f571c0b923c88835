"""Every format is decoded alike, and refused alike where it would take too much memory."""

import io
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from support.data_sets import make, no_session
from support.images import encoded, write_images

from cnn.core.directory import Directory
from cnn.core.errors import InputError
from cnn.data.build import existing_dataset
from cnn.data.decoding import heic
from cnn.data.decoding.decode import Decoding, Unreadable, decode, values_of
from cnn.data.decoding.heic import NEEDS_EXTRA
from cnn.data.decoding.open_image import MAX_PIXELS, open_image
from cnn.data.sources.folder import FolderSource

pillow_heif.register_heif_opener()
RAMP = Image.linear_gradient("L").resize((64, 48)).convert("RGB")


@pytest.mark.parametrize(("kind", "off"), [("PPM", 0), ("AVIF", 3), ("HEIF", 3)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_format_gives_the_pixels_that_a_png_gives(kind: str, off: int, mode: str) -> None:
    image = RAMP.convert(mode)
    for channels in (1, 3):
        how = Decoding(16, channels)
        whole = decode(encoded(image, "PNG"), how).astype(int)
        found = decode(encoded(image, kind, quality=95), how)
        assert np.abs(found - whole).max() <= off


@pytest.mark.parametrize("content", [b"P1 8 8 " + b"10" * 32, b"P4 8 8\n" + b"\xaa" * 8])
def test_a_bitmap_is_black_where_it_has_ones(content: bytes) -> None:
    assert decode(content, Decoding(8, 1))[0, :, 0].tolist() == [0, 255] * 4


def test_plain_text_and_bytes_are_one_image() -> None:
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    head = b"8 8 # a comment\n63\n"
    text = b"P2 " + head + b" ".join(str(v).encode() for v in values.flat)
    np.testing.assert_array_equal(
        decode(text, Decoding(8, 1)), decode(b"P5 " + head + values.tobytes(), Decoding(8, 1))
    )


def test_16_bits_of_a_pgm_are_scaled_like_all_deep_images() -> None:
    values = np.linspace(0, 4095, 64 * 64).astype(">u2").reshape(64, 64)
    content = b"P5 64 64 65535\n" + values.tobytes()
    assert values_of(content) == (0, 4095, True)
    pixels = decode(content, Decoding(64, 1, value_range=(0, 4095)))
    assert np.abs(pixels[:, :, 0] - np.rint(values / 4095 * 255)).max() == 0
    # A file that says how large its values can be is scaled by that.
    twelve = b"P5 64 64 4095\n" + values.tobytes()
    same = decode(twelve, Decoding(64, 1, value_range=(0, 65535)))
    assert np.abs(same.astype(int) - pixels).max() <= 1


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_an_image_is_turned_upright_and_its_transparency_laid_on_white(kind: str) -> None:
    image = RAMP.copy()
    image.getexif()[0x0112] = 6
    content = encoded(image, kind, quality=95, exif=image.getexif().tobytes())
    assert b"irot" in content
    turned = decode(content, Decoding(16, 1))
    expected = decode(encoded(RAMP.transpose(Image.Transpose.ROTATE_270)), Decoding(16, 1))
    assert np.abs(turned.astype(int) - expected).max() <= 3
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert decode(encoded(clear, kind), Decoding(8, 3, background=(255, 255, 255))).min() >= 253


def test_a_brand_decides_not_the_suffix() -> None:
    with open_image(io.BytesIO(encoded(RAMP, "HEIF"))) as one:
        assert one.format == "HEIF"
    with open_image(io.BytesIO(encoded(RAMP, "AVIF"))) as other:
        assert other.format == "AVIF"
    film = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 0, b"mp41")
    for content in (film, film.replace(b"isom", b"mif1"), film.replace(b"isom", b"avif")):
        with pytest.raises(Unreadable, match=r"supported format|damaged image"):
            decode(content + bytes(100), Decoding(8, 1))


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_a_header_with_too_many_pixels_is_refused_before_they_are_decoded(kind: str) -> None:
    content = bytearray(encoded(RAMP, kind))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = struct.pack(">II", 12_000, 12_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match=f"more than {MAX_PIXELS} pixels"):
        decode(bytes(content), Decoding(16, 3))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sys.platform != "linux" or after - before < 32 << 10


def test_a_large_netpbm_file_is_refused_by_its_header() -> None:
    for head in (b"P5 12000 12000 255\n", b"P2 12000 12000 255\n", b"P4 12000 12000\n"):
        with pytest.raises(Unreadable, match=f"more than {MAX_PIXELS} pixels"):
            decode(head + bytes(100), Decoding(16, 1))


def test_more_pixels_behind_a_small_header_are_refused() -> None:
    content = bytearray(encoded(RAMP.resize((1024, 1024)), "HEIF"))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = struct.pack(">II", 64, 64)
    with pytest.raises(Unreadable, match="exceeds the maximum"):
        decode(bytes(content), Decoding(16, 3))


def test_a_heic_header_that_could_hide_its_size_is_refused() -> None:
    content = encoded(RAMP, "HEIF")
    start = content.index(b"meta") - 4
    long = struct.pack(">I", (8 << 20) + 1) + b"meta" + bytes(8 << 20)
    with pytest.raises(Unreadable, match="header longer than 8 MiB"):
        decode(content[:start] + long + content[start:], Decoding(16, 3))


def test_without_the_extra_a_heic_image_is_a_reject_that_names_it(
    spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(RAMP, "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    heic._plugin.cache_clear()
    with pytest.raises(Unreadable, match=r"needs the extra \[heic\] \(pip install pillow-heif\)"):
        decode(content, Decoding(16, 1))
    heic._plugin.cache_clear()
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    (root / "a" / "photo.heic").write_bytes(content)
    made = make(spark, root, tmp_path / "data", max_rejects=1)
    # Workers of Spark are other processes, which have it.
    assert made.manifest.rejects == 0
    lacking = made.manifest.model_copy(update={"reasons": {NEEDS_EXTRA: 1}})
    (tmp_path / "data" / "manifest.json").write_text(lacking.model_dump_json())
    monkeypatch.undo()
    # What could be read now is a reason to make the data set again.
    assert existing_dataset(Directory(tmp_path / "data"), made.manifest.inputs) is None


def test_folders_of_other_files_are_named_by_their_extensions(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"{number}.dcm").touch()
    (tmp_path / "README").touch()
    (tmp_path / "Thumbs.db").touch()
    with pytest.raises(InputError) as error:
        make(no_session(), tmp_path, tmp_path / "data")
    assert str(error.value) == (
        f"--images must hold images, but {tmp_path} has none; it holds 1,200 .dcm files and 1 file "
        "without an extension"
    )


def test_what_was_passed_over_is_counted_by_extension(spark: Any, tmp_path: Path) -> None:
    root = write_images(tmp_path / "images", {"a": 20, "b": 20})
    for number in range(3):
        (root / f"{number}.dcm").touch()
    for number in range(12):
        (root / f"note.x{number:02d}").touch()
    found = FolderSource(root).gather()
    assert found.ignored == 15 == found.passed_over.total()
    made = make(spark, root, tmp_path / "data")
    assert made.manifest.ignored == 15
    assert list(made.manifest.passed_over.items())[:2] == [(".dcm", 3), (".x00", 1)]
    assert "3 .dcm files, 1 .x00 file" in str(made)
    assert str(made).count("passed over") == 1
    assert "and 3 other files were passed over" in str(made)
