"""What of a large image is decoded counts, not what its header says."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.images import photograph
from support.paths import REPOSITORY

from cnn.data.decoding.decode import Decoding, Unreadable, decode
from cnn.data.decoding.open_image import MAX_DECLARED, MAX_PIXELS, open_image

# Photographs of 108 and of 200 megapixels.
SIZES = [(12_000, 9_000), (16_320, 12_240)]


@pytest.mark.parametrize("sides", SIZES)
def test_photographs_of_todays_phones_are_decoded_in_little_memory(
    sides: tuple[int, int], tmp_path: Path
) -> None:
    path = photograph(tmp_path / "large.jpg", sides)
    # In a process of its own, whose highest memory is this test's alone.
    code = """
import resource, sys
from cnn.data.decoding.decode import Decoding, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], "rb") as file:
    pixels = decode(file, Decoding(128, 1))
rows = pixels.mean(axis=(1, 2))
assert rows[0] < 2 and rows[-1] > 253 and abs(rows - [i + 0.5 for i in range(0, 256, 2)]).max() < 2
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10
    assert sides[0] * sides[1] > MAX_PIXELS


def colour_jpeg(**options: Any) -> bytearray:
    sink = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 100, 50)).save(sink, "JPEG", **options)
    return bytearray(sink.getvalue())


def declaring(content: bytearray, width: int, height: int) -> bytes:
    """A JPEG whose header says that it is so large."""
    start = next(
        content.index(marker) for marker in (b"\xff\xc0", b"\xff\xc2") if marker in content
    )
    content[start + 5 : start + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(content)


def several_scans(content: bytearray) -> bytearray:
    """A baseline JPEG whose first scan says that it has one plane of three."""
    start = content.index(b"\xff\xda")
    content[start : start + 14] = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    return content


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (declaring(colour_jpeg(), 65_000, 65_000), f"more than {MAX_PIXELS} pixels"),
        # 200 megapixels of three planes in full are 1.2 GB of coefficients.
        (
            declaring(colour_jpeg(progressive=True, subsampling=0), 16_320, 12_240),
            r"progressive JPEG that needs too much memory \(1143 MiB, at most 679\)",
        ),
        (
            declaring(several_scans(colour_jpeg(subsampling=0)), 16_320, 12_240),
            "progressive JPEG that needs too much memory",
        ),
        # A 1/2 of this is what 2,048 pixels want, and that is too much.
        (declaring(colour_jpeg(), 60_000, 16_000), f"more than {MAX_PIXELS} pixels"),
    ],
)
def test_what_would_take_too_much_is_refused_by_its_header(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data, Decoding(2048, 3))


def test_108_megapixels_in_several_scans_fit_into_the_memory_for_them() -> None:
    for content in (colour_jpeg(progressive=True), several_scans(colour_jpeg())):
        data = declaring(content, 12_000, 9_000)
        assert decode(data, Decoding(16, 1)).shape == (16, 16, 1)
    assert MAX_DECLARED > 5 * 200_000_000


def test_a_large_png_is_refused_by_its_header() -> None:
    sink = io.BytesIO()
    Image.new("1", (16_320, 12_240)).save(sink, "PNG")
    with pytest.raises(Unreadable, match=f"more than {MAX_PIXELS} pixels"):
        decode(sink.getvalue(), Decoding(16, 1))


def test_a_progressive_photograph_of_108_megapixels_is_decoded(tmp_path: Path) -> None:
    path = photograph(tmp_path / "large.jpg", SIZES[0], progressive=True)
    with path.open("rb") as file:
        rows = decode(file, Decoding(16, 1)).mean(axis=(1, 2))
    assert np.abs(rows - np.arange(8, 256, 16)).max() < 2


def test_a_phone_photo_with_more_pictures_behind_it_is_its_first() -> None:
    first, second = Image.new("L", (64, 64), 60), Image.new("L", (64, 64), 200)
    sink = io.BytesIO()
    first.save(sink, "MPO", save_all=True, append_images=[second])
    assert abs(int(decode(sink.getvalue(), Decoding(8, 1)).mean()) - 60) < 2
    with open_image(io.BytesIO(sink.getvalue())) as image:
        assert image.info["mp"]


def test_a_jpeg_of_12_bits_says_so() -> None:
    data = colour_jpeg()
    data[data.index(b"\xff\xc0") + 4] = 12
    with pytest.raises(Unreadable, match=r"supported format \(cannot handle 12-bit layers\)"):
        decode(bytes(data), Decoding(8, 1))
