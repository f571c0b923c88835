"""Pictures for the report, and the Parquet files of a run."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cnn.core.directory import Directory

# The longest side of a picture; the images themselves may be larger.
_PICTURE_PIXELS = 160


def as_png(pixels: np.ndarray, *, small: bool = False) -> bytes:
    """A PNG of uint8 (size, size, 1 or 3); with `small` of 256 colours, half the bytes."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else np.asarray(pixels))
    image.thumbnail((_PICTURE_PIXELS, _PICTURE_PIXELS))
    if small and image.mode == "RGB":
        image = image.quantize(256)
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return sink.getvalue()


def write_parquet(run: Directory, name: str, table: pa.Table) -> None:
    """Writes a table as a file of a run directory, completely or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    run.write(name, sink.getvalue().to_pybytes())
