"""How well near-duplicates are found: recall by change, false positives by kind, and time.

    PYTHONPATH=tests python tests/benchmarks/near_duplicates.py       # what is drawn, and digits
    SHARED=DIR PYTHONPATH=tests python ... near_duplicates.py         # real photographs too
    PYTHONPATH=tests python ... near_duplicates.py --hashes 1000000   # candidates among so many

Kinds of images: drawn textures, cells and shapes, the sample's faces and comics, and scikit-learn's
scanned digits; with SHARED the photographs of ants and bees and the paired faces and comics.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from support.images import copies, encoded, texture

from cnn.core.directory import Directory
from cnn.data.decoding.decode import Decoding, decode
from cnn.data.near.hashes import PartHashes
from cnn.data.near.method import BANDS, candidates, hashes, look, similarity
from cnn.data.near.search import find_candidates
from cnn.data.sources.sample import write_sample
from cnn.settings.toml import CONF
from cnn.spark.session import spark_session

Pairs = set[tuple[int, int]]


def near(images: np.ndarray) -> tuple[int, Pairs]:
    """The number of candidates, and the near-duplicates among them."""
    there, found = hashes(images)
    pairs = there[candidates(found, range(BANDS))[:, :2]]
    looks = {int(i): look(images[i]) for i in np.unique(pairs)}
    agree = {(int(i), int(j)) for i, j in pairs if similarity(looks[i], looks[j])}
    return len(pairs), agree


def cells(rng: np.random.Generator) -> Image.Image:
    """Stained cells on a bright field: the colours and the kind of detail are the same in all."""
    image = Image.new("RGB", (256, 256), (232, 220, 226))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(15, 30)):
        x, y, radius = *rng.uniform(0, 256, 2), rng.uniform(12, 20)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(198, 150, 190))
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=(110, 60, 140))
    noise = rng.normal(0, 4, (256, 256, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def radiograph(rng: np.random.Generator) -> Image.Image:
    """A drawn chest: lungs, a heart, ribs and vessels, in the same place but for anatomy."""
    image = Image.new("L", (256, 256), 150)
    draw = ImageDraw.Draw(image)
    for side in (-1, 1):
        x, y, wide, high = rng.normal((128 + 55 * side, 135, 38, 80), (4, 5, 5, 8))
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=60)
        top, gap, slope = rng.normal((60, 19, 12), (6, 1.5, 3))
        for rib in range(8):
            box = (x - 55, top + gap * rib - slope, x + 55, top + gap * rib + 30)
            draw.arc(box, 200, 340, fill=int(rng.normal(95, 8)), width=4)
        for _ in range(12):
            end = rng.normal((x, y), (wide / 2, high / 2))
            draw.line((128 + 15 * side, 130, *end), fill=int(rng.normal(85, 8)), width=2)
    wide, high = rng.normal((35, 45), (6, 6))
    draw.ellipse((150 - wide, 175 - high, 150 + wide, 175 + high), fill=160)
    soft = np.asarray(image.resize((128, 128)).resize((256, 256), Image.Resampling.BICUBIC))
    return Image.fromarray((soft + rng.normal(0, 5, soft.shape)).clip(0, 255).astype(np.uint8))


def shape(rng: np.random.Generator) -> Image.Image:
    """An outline of a circle or a square anywhere."""
    image = Image.new("L", (256, 256), 255)
    radius = rng.uniform(20, 120)
    x, y = rng.uniform(radius, 256 - radius, 2)
    draw = ImageDraw.Draw(image)
    figure = draw.ellipse if rng.random() < 0.5 else draw.rectangle
    figure((x - radius, y - radius, x + radius, y + radius), outline=0, width=10)
    return image


def kinds(shared: str | None, count: int) -> dict[str, list[Image.Image]]:
    rng = np.random.default_rng(0)

    def drawn(draw: Callable[[np.random.Generator], Image.Image]) -> list[Image.Image]:
        return [draw(rng) for _ in range(count)]

    found = {
        "drawn textures": drawn(texture),
        "drawn cells": drawn(cells),
        "drawn radiographs": drawn(radiograph),
        "drawn shapes": drawn(shape),
        "scanned digits": [
            Image.fromarray((digit * (255 / 16)).astype(np.uint8)) for digit in load_digits().images
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder), 100)
        found["sample: drawn faces and comics"] = opened(Path(folder), "*.jpg")
    if shared is not None:
        data = Path(shared) / "data"
        found["photographs of ants and bees"] = opened(data / "ants-and-bees", "*.jpg")
        found["faces and their comics"] = opened(data / "comic-faces", "*.jpg")
    return found


def opened(folder: Path, pattern: str) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(folder.rglob(pattern))]


def stored(files: list[bytes], how: Decoding) -> np.ndarray:
    return np.stack([decode(file, how) for file in files])


def recalls(kind: str, images: list[Image.Image], how: Decoding) -> None:
    originals = stored([encoded(image) for image in images], how)
    changed = [copies(image) for image in images]
    print(f"recall, {len(images)} {kind}, {how.size}x{how.size} {how.mode}", flush=True)
    for change in changed[0]:
        both = np.concatenate([originals, stored([files[change] for files in changed], how)])
        pairs = near(both)[1]
        found = sum((i, len(images) + i) in pairs for i in range(len(images)))
        print(f"  {change:20} {found / len(images):6.2f}   others {len(pairs) - found}", flush=True)


def strangers(images: dict[str, list[Image.Image]], how: Decoding) -> None:
    print(f"false positives, {how.size}x{how.size} {how.mode}{'pairs':>20}  compared  near")
    for kind, some in images.items():
        tested, pairs = near(stored([encoded(image) for image in some], how))
        every = len(some) * (len(some) - 1) // 2
        print(f"  {kind:32} {every:12,} {tested:9,} {len(pairs):5,}", flush=True)


def join(count: int, files: int = 16) -> None:
    """The candidates among random hashes, of which every tenth is a copy with 6 changed bits."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 2**64, (count, 2), dtype=np.uint64)
    copied = count // 10
    found[-copied:] = found[:copied]
    for _ in range(6):
        word = rng.integers(0, 2, copied)
        bit = np.uint64(1) << rng.integers(0, 64, copied, dtype=np.uint64)
        found[np.arange(count - copied, count), word] ^= bit
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{os.cpu_count()}] pyspark-shell"
    os.environ["SPARK_CONF_DIR"] = str(CONF)
    with tempfile.TemporaryDirectory() as folder, spark_session("benchmark") as spark:
        staging = Directory(folder)
        for number, rows in enumerate(np.array_split(np.arange(count), files)):
            part = PartHashes(Decoding(128, 1))
            part.extend(rows, found[rows])
            part.write(staging, "train", number)
        spark.sparkContext.parallelize(range(2), 2).count()
        started = time.perf_counter()
        pairs = find_candidates(spark, staging, {"train": 0, "test": count}, np.empty(0, np.int64))
        seconds = time.perf_counter() - started
    true = np.count_nonzero(pairs[:, 1] - pairs[:, 0] == count - copied)
    print(
        f"{count:,} hashes: {len(pairs):,} candidates in {seconds:.1f} s, "
        f"{true / copied:.3f} of {copied:,} copies with 6 changed bits among them"
    )


def hashing(size: int = 128, count: int = 1000) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.bytes(size * size) for _ in range(count)]
    started = time.process_time()
    PartHashes(Decoding(size, 1)).add(range(count), pixels)
    micros = (time.process_time() - started) / count * 1e6
    print(f"hashing {size}x{size} grey: {micros:.0f} microseconds an image on one core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hashes", type=int, metavar="N", help="only join N random hashes")
    parser.add_argument("--images", type=int, default=150, help="drawn images of each kind")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 32, 8])
    args = parser.parse_args()
    if args.hashes:
        join(args.hashes)
        return
    images = kinds(os.environ.get("SHARED"), args.images)
    hashing()
    for size in args.sizes:
        for kind in ("drawn textures", "photographs of ants and bees", "faces and their comics"):
            if kind in images:
                recalls(kind, images[kind][:100], Decoding(size, 3))
        strangers(images, Decoding(size, 1))


if __name__ == "__main__":
    main()
