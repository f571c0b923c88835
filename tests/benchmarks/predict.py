"""Images a second from files to predictions, next to decoding and `model.predict` alone.

    python tests/benchmarks/predict.py                 # 4,000 and 40,000 files of 1024x1024
    python tests/benchmarks/predict.py --files 1000    # a quarter of it

ours    jobs/predict.py's work in one session: what each image more costs, from the smaller to the
        larger set, and the fixed cost that is left
limit   as many processes as cores, each with one thread: a bare loop that decodes a share of the
        files, and one call of Keras's `predict`; model and framework loaded before the clock starts

The network is the course project's 3 x 32, with weights as they are drawn.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from preprocess import LINKS, draw, link

from cnn.core.directory import Directory
from cnn.data.sources.folder import FolderSource
from cnn.model.card import ModelCard, read_card
from cnn.model.predict import predict_images
from cnn.settings.params import ModelParams
from cnn.settings.toml import CONF
from cnn.spark.executor_env import EXECUTOR_ENVIRONMENT
from cnn.spark.gpus import environment_for
from cnn.spark.session import PREDICT, spark_session

PARAMS = ModelParams(conv_layers=3, filters=32, dense_units=32)


def write_model(folder: Path) -> None:
    """A run directory as far as predicting needs it; in a process of its own."""
    from cnn.model.network import build

    card = ModelCard(
        size=128,
        channels=1,
        color_mode="grayscale",
        fit="stretch",
        classes=("faces", "comics"),
        params=PARAMS.model_dump(mode="json"),
        builder="cnn.model:build",
        versions={},
    )
    build(PARAMS, size=128, channels=1, classes=2).save(folder / "model.keras")
    (folder / "model.json").write_text(json.dumps(card.model_dump(mode="json")))


_state: dict[str, Any] = {}


def load(folder: Path) -> None:
    """What a process of the limit has before the clock starts."""
    import keras

    _state["card"] = read_card(Directory(folder))
    _state["model"] = keras.models.load_model(folder / "model.keras")
    _state["model"].predict(np.zeros((256, 128, 128, 1), np.uint8), batch_size=256, verbose=0)


def bare(paths: Sequence[Path]) -> int:
    """Decodes, then predicts, with nothing around it."""
    from cnn.data.decoding.decode import decode_file

    card = _state["card"]
    pixels = np.stack([decode_file(path, card.decoding) for path in paths])
    return len(_state["model"].predict(pixels, batch_size=card.batch_size, verbose=0))


def limit(folder: Path, paths: Sequence[Path], processes: int) -> float:
    """Images a second of all processes together."""
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=load, initargs=(folder,)
    ) as pool:
        # Every process has its model before the clock starts.
        list(pool.map(bare, [paths[:32]] * 4 * processes))
        chunks = [paths[number::processes] for number in range(processes)]
        started = time.perf_counter()
        done = sum(pool.map(bare, chunks))
        return done / (time.perf_counter() - started)


def ours(spark: Any, run: Path, images: Path, out: Path) -> float:
    """Seconds."""
    directory, source = Directory(run), FolderSource(images)
    started = time.perf_counter()
    found = source.gather_new()
    card = read_card(directory)
    done = predict_images(spark, directory, card, source, found, Directory(out))
    assert done.predicted == len(found.files)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=3)
    default = Path(tempfile.gettempdir()) / "cnn-benchmark-images"
    parser.add_argument("--cache", type=Path, default=default)
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    os.environ |= {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_CONF_DIR": str(CONF)}
    os.environ["PYSPARK_SUBMIT_ARGS"] = f"--master local[{cores}] pyspark-shell"
    # The limit's processes have what executors have.
    os.environ |= EXECUTOR_ENVIRONMENT | environment_for(1, None)
    args.cache.mkdir(parents=True, exist_ok=True)
    small = draw(args.cache, args.files)
    large = link(small)
    paths = sorted(large.rglob("*.jpg"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run = folder / "run"
        run.mkdir()
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            pool.submit(write_model, run).result()
        seconds: list[tuple[float, float]] = []
        limits: list[float] = []
        for number in range(args.runs):
            limits.append(limit(run, paths, cores))
            with spark_session("benchmark", PREDICT) as spark:
                both = [ours(spark, run, s, folder / f"{s.name}-{number}") for s in (small, large)]
            seconds.append((both[0], both[1]))
            print(f"  run {number}: {both[0]:.1f} s, {both[1]:.1f} s", file=sys.stderr)
    few, many = (statistics.median(column) for column in zip(*seconds, strict=True))
    files = len(paths) // LINKS
    rate, most = (len(paths) - files) / (many - few), statistics.median(limits)
    print(f"{files:,} and {len(paths):,} JPEGs of 1024x1024, {cores} cores, {args.runs} runs")
    print(f"  limit  {most:7.0f} images/s   1.00 of the limit")
    print(f"  ours   {rate:7.0f} images/s   {rate / most:.2f} of the limit")
    print(f"  ours in all: {few:.1f} s and {many:.1f} s, {few - files / rate:.1f} s of it fixed")


if __name__ == "__main__":
    main()
