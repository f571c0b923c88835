"""Images that are drawn."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def write_images(root: Path, counts: dict[str, int], size: int = 24, seed: int = 0) -> Path:
    """Small images of noise, `counts` of each class, all different."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (size, size), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}-{number}.png")
    return root


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file of that kind."""
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def drawing(*colour: int, mode: str = "RGBA") -> Image.Image:
    """A ring of a colour on transparency, with soft edges."""
    image = Image.new("RGBA", (256, 256), (*colour, 0))
    ImageDraw.Draw(image).ellipse((40, 40, 216, 216), outline=(*colour, 255), width=24)
    return image.resize((64, 64), Image.Resampling.BOX).convert(mode)


def photograph(path: Path, sides: tuple[int, int], **options: Any) -> Path:
    """A grey JPEG, black at its top and white at its bottom."""
    Image.linear_gradient("L").resize(sides, Image.Resampling.NEAREST).save(path, **options)
    return path
