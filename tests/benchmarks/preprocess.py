"""Images a second from files to committed Parquet, next to the limit and to what others do.

    python tests/benchmarks/preprocess.py              # 4,000 and 40,000 files; some minutes
    python tests/benchmarks/preprocess.py --files 400  # a tenth of it
    python tests/benchmarks/preprocess.py --listing 1000000
    python tests/benchmarks/preprocess.py --look       # what the page data.html costs; a minute

The files are drawn once and kept in --cache; the larger set is ten links to each of them. With the
extra `bench` installed, OpenCV's loop is timed too.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from peaks import Peaks
from PIL import Image

from cnn.core.directory import Directory
from cnn.data.build import make_dataset
from cnn.data.data_settings import DataSettings
from cnn.data.decoding.decode import decode_and_look
from cnn.data.decoding.originals import Original, Originals
from cnn.data.manifest import Source
from cnn.data.sources.folder import FolderSource
from cnn.data.sources.sample import write_sample
from cnn.report.data_page import render_data_page
from cnn.settings.toml import CONF
from cnn.spark.session import spark_session

SIDE, SIZE = 1024, 128
LINKS = 10
SETTINGS = DataSettings(image_size=SIZE, group="none")


def draw(root: Path, count: int) -> Path:
    """`count` JPEGs of two classes, variations of a few drawn pairs."""
    folder = root / f"jpeg-{count}"
    if folder.is_dir():
        return folder
    pairs = 20
    with tempfile.TemporaryDirectory() as drawn, ProcessPoolExecutor() as pool:
        write_sample(Path(drawn), pairs, size=SIDE)
        staging = folder.with_suffix(".partial")
        shutil.rmtree(staging, ignore_errors=True)
        bases = sorted(Path(drawn).rglob("*.jpg"))
        tasks = [(base, staging, count // len(bases), number) for number, base in enumerate(bases)]
        list(pool.map(_vary, tasks))
    return staging.rename(folder)


def _vary(task: tuple[Path, Path, int, int]) -> None:
    base, folder, count, number = task
    pixels = np.asarray(Image.open(base).convert("RGB"))
    rng = np.random.default_rng(number)
    target = folder / base.parent.name
    target.mkdir(parents=True, exist_ok=True)
    for variant in range(count):
        moved = np.roll(pixels, rng.integers(0, SIDE, 2), axis=(0, 1))
        name = f"{number:03d}-{variant:05d}.jpg"
        Image.fromarray(moved).save(target / name, quality=90)


def link(folder: Path) -> Path:
    """Ten names for each file, in a folder beside it."""
    linked = folder.with_name(f"{folder.name}-links")
    if not linked.is_dir():
        staging = linked.with_suffix(".partial")
        shutil.rmtree(staging, ignore_errors=True)
        for path in folder.rglob("*.jpg"):
            target = staging / path.parent.name
            target.mkdir(parents=True, exist_ok=True)
            for number in range(LINKS):
                os.link(path, target / f"{number}-{path.name}")
        staging.rename(linked)
    return linked


def bare(paths: Sequence[Path]) -> float:
    """Files a second of the least that must be done: open, read, draft, decode, reduce."""
    started = time.perf_counter()
    for path in paths:
        with Image.open(path) as image:
            image.draft("L", (SIZE, SIZE))
            np.asarray(image.reduce(image.width // SIZE))
    return len(paths) / (time.perf_counter() - started)


# What OpenCV has for such a size: whole images, and libjpeg's means of blocks as we have them.
OPENCV = ("GRAYSCALE", "REDUCED_GRAYSCALE_4", "REDUCED_GRAYSCALE_8")


def opencv(paths: Sequence[Path], flag: str) -> float | None:
    """Files a second of the loop of the course project's peers."""
    try:
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    how = getattr(cv2, f"IMREAD_{flag}")
    started = time.perf_counter()
    for path in paths:
        cv2.resize(cv2.imread(str(path), how), (SIZE, SIZE))
    return len(paths) / (time.perf_counter() - started)


def spark_image_source(spark: Any, folder: Path, out: Path) -> float:
    """Spark's own image source doing the same work."""

    def reduce(rows: Any) -> Any:
        for row in rows:
            image = row.image
            pixels = np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, -1)
            grey = Image.fromarray(pixels[..., ::-1].copy()).convert("L")
            yield image.origin, bytearray(grey.reduce(image.width // SIZE).tobytes())

    started = time.perf_counter()
    frame = spark.read.format("image").option("recursiveFileLookup", "true").load(str(folder))
    rows = frame.rdd.mapPartitions(reduce)
    written = spark.createDataFrame(rows, "path string, pixels binary")
    written.write.mode("overwrite").parquet(str(out))
    return spark.read.parquet(str(out)).count() / (time.perf_counter() - started)


def ours(spark: Any, folder: Path, out: Path) -> tuple[float, dict[str, float]]:
    """Seconds of our job from files to a committed data directory, and peak memory by role."""
    with Peaks() as peaks:
        started = time.perf_counter()
        reader = FolderSource(folder)
        listing = reader.find(SETTINGS)
        make_dataset(
            spark,
            reader,
            Directory(out),
            SETTINGS,
            listing,
            source=Source(name="benchmark"),
            page=render_data_page,
        )
        seconds = time.perf_counter() - started
    shutil.rmtree(out)
    return seconds, peaks.mib


def line(what: str, rate: float | None, limit: float) -> None:
    if rate is not None:
        print(f"  {what:52} {rate:8.0f}  {rate / limit:6.2f}", flush=True)


def decoding(folder: Path, runs: int) -> None:
    linked = link(folder)
    paths = sorted(folder.rglob("*.jpg"))
    cores = os.cpu_count() or 1
    quiet = "--conf spark.ui.showConsoleProgress=false"
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{cores}] {quiet} pyspark-shell"
    os.environ["SPARK_CONF_DIR"] = str(CONF)
    bare(paths)  # reads all files once: what follows measures decoding, not the disk
    with tempfile.TemporaryDirectory() as temporary, spark_session("benchmark") as spark:
        out = Path(temporary) / "data"
        spark.sparkContext.parallelize(range(cores), cores).count()
        # Interleaved, so that a change in the machine's speed meets all alike.
        loops, together, small, large = [], [], [], []
        cv: dict[str, list[float | None]] = {flag: [] for flag in OPENCV}
        for _ in range(runs):
            loops.append(bare(paths))
            with multiprocessing.get_context("spawn").Pool(cores) as pool:
                pool.map(bare, [paths[:10]] * cores)
                together.append(sum(pool.map(bare, [paths] * cores, chunksize=1)))
            small.append(ours(spark, folder, out))
            large.append(ours(spark, linked, out))
            for flag, rates in cv.items():
                rates.append(opencv(paths[::4] if flag == "GRAYSCALE" else paths, flag))
        image_source = spark_image_source(spark, folder, Path(temporary) / "image-source")
    limit = statistics.median(loops) * cores
    seconds = [statistics.median(s for s, _ in times) for times in (small, large)]
    marginal = (LINKS - 1) * len(paths) / (seconds[1] - seconds[0])
    print(
        f"{len(paths):,} and {LINKS * len(paths):,} JPEGs of {SIDE}x{SIDE} to {SIZE}x{SIZE} grey,"
    )
    print(f"{cores} cores, medians of {runs}                        images a second   ratio")
    line(f"bare loop on one core, times {cores} (the limit)", limit, limit)
    line(f"bare loops in {cores} processes at once", statistics.median(together), limit)
    line("our job, marginal rate", marginal, limit)
    line("our job, marginal, to the loops at once", marginal, statistics.median(together))
    line(f"our job, {len(paths):,} files in {seconds[0]:.1f} s", len(paths) / seconds[0], limit)
    peers = {flag: _median(rates) for flag, rates in cv.items()}
    for flag, rate in peers.items():
        line(f"OpenCV, imread({flag}), one loop", rate, limit)
    best = max((rate for rate in peers.values() if rate is not None), default=None)
    if best is not None:
        line(f"OpenCV's best loop, times {cores}", best * cores, limit)
        line("our job, marginal, to OpenCV's best loop so", marginal, best * cores)
    line("Spark's image source", image_source, limit)
    print(f"  ours at {len(paths):,} files, to Spark's image source", end="")
    print(f"{len(paths) / seconds[0] / image_source:29.1f} times")
    fixed = seconds[0] - len(paths) / marginal
    print(f"  fixed cost of our job{fixed:38.1f} s")
    for role in small[0][1]:
        peaks = [max(mib.get(role, 0) for _, mib in times) for times in (small, large)]
        print(f"  peak memory, {role:15} {peaks[0]:8.0f} and {peaks[1]:8.0f} MiB", flush=True)


def _median(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return statistics.median(known) if known else None


def listing(root: Path, count: int) -> None:
    """Lists so many links in a process of its own, whose peak memory is its own."""
    folder = root / f"listing-{count}"
    if not folder.is_dir():
        staging = folder.with_suffix(".partial")
        shutil.rmtree(staging, ignore_errors=True)
        origin = staging
        for number in range(count):
            target = staging / f"class-{number % 10}" / f"image-{number:07d}.jpg"
            if number % 50_000 == 0:  # file systems limit the links to a file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(f"image {number}".encode())
                origin = target
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(origin, target)
        staging.rename(folder)
    code = (
        "import resource, sys, time; from pathlib import Path\n"
        "from cnn.data.data_settings import DataSettings\n"
        "from cnn.data.sources.folder import FolderSource\n"
        "started = time.perf_counter()\n"
        "found = FolderSource(Path(sys.argv[1])).find(DataSettings())\n"
        "print(len(found.files), time.perf_counter() - started,"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    found, seconds, mib = done.stdout.split()
    print(
        f"listed {int(found):,} files in {float(seconds):.1f} s, peak memory {float(mib):.0f} MiB"
    )


def looking(folder: Path) -> None:
    """What learning about the originals takes of the time of decoding, on one core."""
    contents = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:400]]
    how = SETTINGS.decoding(None)
    decoded, learnt = [], []
    for _ in range(5):
        originals = Originals()
        started = time.perf_counter()
        seen = [decode_and_look(content, how) for content in contents]
        for place, one in enumerate(seen):
            originals.add(place, place % 20, one.original)
        decoded.append(time.perf_counter() - started)
        originals = Originals()
        started = time.perf_counter()
        for place, one in enumerate(seen):
            sides = one.original.width, one.original.height
            originals.add(place, place % 20, Original.of(sides, one.original.kind, one.pixels))
        learnt.append(time.perf_counter() - started)
    each, extra = (1e6 * statistics.median(times) / len(contents) for times in (decoded, learnt))
    print(f"decoding {each:.0f} us an image, {extra:.0f} us of which tell of the original")
    print(f"  without it: {each / (each - extra):.3f} times as many images a second", flush=True)
    print(f"  {len(originals.pack()):,} bytes from a part of {len(contents)} images")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--listing", type=int, metavar="N", help="time the listing of N files alone"
    )
    parser.add_argument("--look", action="store_true", help="time what data.html needs alone")
    default = Path(tempfile.gettempdir()) / "cnn-benchmarks"
    parser.add_argument("--cache", type=Path, default=default)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.listing:
        listing(args.cache, args.listing)
    elif args.look:
        looking(draw(args.cache, args.files))
    else:
        decoding(draw(args.cache, args.files), args.runs)


if __name__ == "__main__":
    main()
