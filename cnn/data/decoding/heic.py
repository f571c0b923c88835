"""Opens HEIC images, with pillow-heif (the extra `[heic]`).

Its library, libheif, refuses to decode more pixels than the file's header declares. A HEIC file
consists of boxes: a length of 4 bytes, a name of 4 bytes, and content.
"""

import struct
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, BinaryIO

from PIL import Image

# The brands of a file's first box: those of HEVC-coded images, and those of any coding.
_BRANDS = frozenset(
    {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
)
_AVIF = frozenset({b"avif", b"avis"})
# More brands than any file has.
HEADER = 64
# The box of all other boxes of the header, and its most bytes: other readers refuse more as well.
_META, _MOST_META = b"meta", 8 << 20
# A property of an image: the size of what is decoded, before it is cropped and turned.
_SIDES = b"ispe"
# The reason for rejecting a HEIC image where pillow-heif is not installed.
NEEDS_EXTRA = "HEIC, which needs the extra [heic]"


def is_heic(start: bytes) -> bool:
    """Whether a file that begins with these bytes, up to HEADER, is HEIC and not AVIF."""
    if start[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(start[:4], "big"), len(start))
    brands = {start[place : place + 4] for place in range(8, end, 4)}
    return bool(brands & _BRANDS) and not brands & _AVIF


def coded_sides(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Yields width and height of everything that a HEIC file declares to be coded in it.

    Raises ValueError if its header is too long.
    """
    file.seek(0)
    while len(head := file.read(16)) == 16:
        length, name, long = struct.unpack(">I4sQ", head)
        # 1: the length of more than 32 bits follows; 0: the box ends with the file.
        length = long if length == 1 else length
        start = file.tell() - 16
        if name == _META:
            file.seek(start)
            content = file.read(min(length or _MOST_META + 1, _MOST_META + 1))
            if len(content) > _MOST_META:
                raise ValueError(f"a header longer than {_MOST_META >> 20} MiB")
            for piece in content.split(_SIDES)[1:]:
                if len(piece) >= 12:
                    yield struct.unpack(">II", piece[4:12])
        if length < 8:
            break
        file.seek(start + length)
    file.seek(0)


def can_open_heic() -> bool:
    """Whether this Python environment has pillow-heif."""
    return find_spec("pillow_heif") is not None


def open_heic(file: BinaryIO) -> Image.Image:
    """Opens a HEIC image, reading its header. Raises ImportError without pillow-heif."""
    return _plugin()(file)


@cache
def _plugin() -> Any:
    from pillow_heif import HeifImageFile, options

    # A task has one core.
    options.DECODE_THREADS = 1
    # Embedded thumbnails are no averages of the image, and depth maps are of no use here.
    options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False
    return HeifImageFile
