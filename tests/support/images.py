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


def write_greys(root: Path, each: int) -> Path:
    """Small dark and light images, which any network learns to tell apart."""
    rng = np.random.default_rng(0)
    for name, level in {"dark": 60, "light": 190}.items():
        (root / name).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(level - 40, level + 40, (16, 16)).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
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


def texture(rng: np.random.Generator, sides: tuple[int, int] = (300, 200)) -> Image.Image:
    """A picture with detail of all sizes, like a photograph: noise of several scales in colour."""
    wide, high = sides
    total = np.zeros((high, wide, 3))
    for cells in (2, 4, 8, 16, 32):
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(noise).resize(sides, Image.Resampling.BICUBIC)) / 5
    total = (total - total.mean()) * 2 + 128
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def copies(image: Image.Image) -> dict[str, bytes]:
    """Files that show nearly the same picture, by what was done to it."""
    wide, high = image.size
    half = image.resize((wide // 2, high // 2), Image.Resampling.BILINEAR)
    across, down = round(wide * 0.01), round(high * 0.01)
    cropped = image.crop((across, down, wide - across, high - down))
    return {
        "half the size": encoded(half, "JPEG", quality=90),
        "JPEG quality 50": encoded(image, "JPEG", quality=50),
        "2 % cropped": encoded(cropped, "JPEG", quality=90),
        "grey": encoded(image.convert("L"), "JPEG", quality=90),
    }
