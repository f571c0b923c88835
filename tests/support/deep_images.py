"""Images of more than 8 bits a channel, written byte by byte."""

import struct
import zlib
from typing import Literal

import numpy as np


def chunk(name: bytes, content: bytes) -> bytes:
    tail = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + tail


def png(values: np.ndarray, extra: bytes = b"") -> bytes:
    """A 16-bit PNG of 1 to 4 channels, its rows as differences to the left. Pillow writes none."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = rows.copy()
    filtered[:, 2 * channels :] -= rows[:, : -2 * channels]
    lines = b"".join(b"\x01" + row.tobytes() for row in filtered)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff(
    values: np.ndarray, *, order: Literal["<", ">"] = "<", packed: bool = False, **tags: int
) -> bytes:
    """A TIFF of one strip with such values, in either order of bytes, plain or deflated."""
    height, width, channels = values.shape
    kind = values.dtype.newbyteorder(order)
    strip = values.astype(kind).tobytes()
    strip = zlib.compress(strip) if packed else strip
    bits, form = 8 * kind.itemsize, {"u": 1, "i": 2, "f": 3}[kind.kind]
    entries = {256: width, 257: height, 259: 8 if packed else 1, 262: 2 if channels > 2 else 1}
    entries |= {273: 8, 277: channels, 278: height, 279: len(strip)}
    entries |= {int(tag[1:]): value for tag, value in tags.items()}
    if channels == 4:
        entries.setdefault(338, 2)
    after = 8 + len(strip) + len(strip) % 2
    lists = struct.pack(f"{order}{channels}H", *[bits] * channels)
    lists += struct.pack(f"{order}{channels}H", *[form] * channels)
    fields = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in entries.items()]
    for tag, value, place in ((258, bits, after), (339, form, after + 2 * channels)):
        if channels > 2:
            fields.append(struct.pack(f"{order}HHII", tag, 3, channels, place))
        else:
            fields.append(struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0))
    fields.sort(key=lambda field: struct.unpack(f"{order}H", field[:2]))
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", after + len(lists))
    directory = struct.pack(f"{order}H", len(fields)) + b"".join(fields) + bytes(4)
    return start + strip + bytes(len(strip) % 2) + lists + directory
