"""What a training spends beside its arithmetic, and how much of the machine's peak that reaches.

    python tests/benchmarks/training.py                      # about ten minutes on two cores
    python tests/benchmarks/training.py speed peak           # some of: speed, peak, threads, memory
    KERAS_BACKEND=jax python tests/benchmarks/training.py speed peak     # on a GPU too

speed     images a second of our fit on a memory-mapped set; of Keras's fit on the same images as an
          array in memory, the limit; of a tf.data pipeline from Parquet files
peak      the part of the machine's peak that the limit and our fit reach, in float32 and bfloat16
threads   one trial on all cores, or one on each core
memory    a trial's own memory at 4,000 and at 100,000 images (what is mapped from files belongs to
          the system's page cache and is not counted: RssAnon of /proc/PID/status, highest of many)

The network is the course project's, 3 x 32 filters on 128x128 grey pixels, in batches of 32.
"""

import argparse
import gc
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peaks import highest_anonymous

SIZE, BATCH, RUNS = 128, 32, 5
IMAGES, EPOCHS = 320, 3
PARAMS = {"conv_layers": 3, "filters": 32, "dense_units": 32, "batch_size": BATCH}


def draw(folder: Path, count: int) -> tuple[Any, Any]:
    """A memory-mapped set of `count` images, the first ones repeated, and its labels."""
    import numpy as np

    path = folder / f"{count}.npy"
    labels = np.arange(count) % 2
    if not path.exists():
        shape = (count, SIZE, SIZE, 1)
        pixels = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        rng = np.random.default_rng(0)
        first = min(count, IMAGES)
        pixels[:first] = rng.integers(0, 200, (first, SIZE, SIZE, 1))
        pixels[:first] += (labels[:first, None, None, None] * 40).astype(np.uint8)
        for start in range(first, count, first):
            pixels[start : start + first] = pixels[: min(first, count - start)]
        pixels.flush()
    return np.load(path, mmap_mode="r"), labels


def network(precision: str, params: dict[str, Any] = PARAMS) -> Any:
    import keras

    from cnn.model.network import build, compile_model
    from cnn.model.precision import policy
    from cnn.settings.params import ModelParams

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy(precision))  # type: ignore[arg-type]
    model = build(ModelParams(**params), size=SIZE, channels=1, classes=2)
    compile_model(model, ModelParams(**params))
    return model


def ours(folder: Path, model: Any, count: int = IMAGES, epochs: int = EPOCHS) -> Callable[[], None]:
    import numpy as np

    from cnn.train.batches import Images
    from cnn.train.fit import fit
    from cnn.train.fit_parts import TrainingPart

    pixels, labels = draw(folder, count)
    images = Images(pixels, labels, np.arange(count))

    def run() -> None:
        options: dict[str, Any] = {"classes": 2, "batch_size": BATCH, "objective": "val_accuracy"}
        fit([TrainingPart(model, images, None)], epochs=epochs, seed=0, **options)

    return run


def limit(folder: Path, model: Any) -> Callable[[], None]:
    import numpy as np

    mapped, labels = draw(folder, IMAGES)
    pixels, one_hot = np.array(mapped), np.eye(2, dtype=np.float32)[labels]
    return lambda: model.fit(pixels, one_hot, batch_size=BATCH, epochs=EPOCHS, verbose=0)


def pipeline(folder: Path, model: Any) -> Callable[[], None]:
    """Parquet files through tf.data, as its guides have it for a format that it cannot read."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import tensorflow as tf

    pixels, labels = draw(folder, IMAGES)
    table = pa.table({"pixels": [image.tobytes() for image in pixels], "label": labels})
    pq.write_table(table, folder / "images.parquet")

    def rows() -> Any:
        for batch in pq.ParquetFile(folder / "images.parquet").iter_batches():
            for row in batch.to_pylist():
                yield row["pixels"], row["label"]

    def decode(data: Any, label: Any) -> Any:
        image = tf.reshape(tf.io.decode_raw(data, tf.uint8), (SIZE, SIZE, 1))
        return image, tf.one_hot(label, 2)

    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))
    data = tf.data.Dataset.from_generator(rows, output_signature=signature)
    data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE).shuffle(IMAGES).batch(BATCH)
    data = data.prefetch(tf.data.AUTOTUNE)
    return lambda: model.fit(data, epochs=EPOCHS, verbose=0)


def rates(kinds: dict[str, Callable[[], None]], runs: int = RUNS) -> dict[str, float]:
    """Images a second: medians of trainings taken in turn, after one that is not counted."""
    for run in kinds.values():
        run()
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(runs):
        for kind, run in kinds.items():
            started = time.perf_counter()
            run()
            seconds[kind].append(time.perf_counter() - started)
    return {kind: EPOCHS * IMAGES / statistics.median(values) for kind, values in seconds.items()}


def speed(folder: Path) -> None:
    import keras

    model = network("float32")
    kinds = {"ours, memory-mapped": ours(folder, model), "in memory": limit(folder, model)}
    if keras.backend.backend() == "tensorflow":
        kinds["tf.data from Parquet"] = pipeline(folder, model)
    found = rates(kinds)
    for kind, rate in found.items():
        print(f"  {kind:<22} {rate:8.0f} images/s   {rate / found['in memory']:.2f} of the limit")


def flops(model: Any) -> float:
    """Floating-point operations an image, forward and backward.

    A layer's gradients cost as much again by its weights and by its inputs; the first layer has no
    use for the latter.
    """
    import keras

    total = 0.0
    for place, layer in enumerate(
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    ):
        positions = math.prod(layer.output.shape[1:-1])
        total += 2 * math.prod(layer.kernel.shape) * positions * (2 if place == 0 else 3)
    return total


def peak(folder: Path) -> None:
    import keras

    from cnn.model.precision import resolve

    device = keras.distribution.list_devices()[0]
    found: dict[str, float] = {}
    # Where there are no units for it, bfloat16 is emulated: a tenth of the speed, for minutes.
    for precision in dict.fromkeys(("float32", resolve("auto", device))):
        model = network(precision)
        rate = rates({"ours": ours(folder, model)})["ours"]
        most = multiplied(precision)
        reached = rate * flops(model)
        found[precision] = rate
        print(
            f"  {precision:<9} {rate:8.0f} images/s  {reached / 1e9:7.1f} of {most / 1e9:7.1f} "
            f"GFLOP/s of a matrix product: {reached / most:.2f}"
        )
    if "bfloat16" in found:
        print(f"  bfloat16 is {found['bfloat16'] / found['float32']:.2f} x float32 on {device}")
    else:
        print(f"  {device} has no units for bfloat16")


def multiplied(precision: str, side: int = 2048) -> float:
    """Floating-point operations a second of one large matrix product, the best of five."""
    import keras
    import numpy as np

    values = keras.ops.cast(np.random.default_rng(0).normal(size=(side, side)), precision)
    best = 0.0
    for _ in range(6):
        started = time.perf_counter()
        for _ in range(4):
            product = keras.ops.matmul(values, values)
        float(keras.ops.cast(product[0, 0], "float32"))
        best = max(best, 4 * 2 * side**3 / (time.perf_counter() - started))
    return best


def part(name: str, folder: Path, threads: int, *arguments: str) -> subprocess.Popen[str]:
    """This file again, as a process of its own with so many threads."""
    from cnn.spark.gpus import environment_for

    return subprocess.Popen(
        [sys.executable, __file__, name, "--folder", str(folder), *arguments],
        env={**os.environ, **environment_for(threads, None)},
        stdout=subprocess.PIPE,
        text=True,
    )


def alone(folder: Path) -> None:
    print(rates({"ours": ours(folder, network("float32"))}, runs=3)["ours"])


def threads(folder: Path) -> None:
    cores = os.cpu_count() or 1
    draw(folder, IMAGES)
    for trials, each in ((1, cores), (cores, 1)):
        totals = []
        for _ in range(3):
            processes = [part("alone", folder, each) for _ in range(trials)]
            totals.append(sum(float(process.communicate()[0]) for process in processes))
        print(
            f"  {trials} at a time with {each} threads each: "
            f"{statistics.median(totals):.0f} images/s together"
        )


def memory(folder: Path) -> None:
    found = []
    for count in (4_000, 100_000):
        draw(folder, count)
        process = part("grow", folder, os.cpu_count() or 1, "--count", str(count))
        found.append(float(process.communicate()[0]))
        print(f"  {count:>7} images: {found[-1] / 2**20:.0f} MiB")
    print(f"  the second is {found[1] / found[0]:.2f} of the first")


def grow(folder: Path, count: int) -> None:
    """The highest RssAnon, bytes, of a training that sees all images once."""
    small = network("float32", {**PARAMS, "conv_layers": 5, "filters": 2})
    print(highest_anonymous(ours(folder, small, count, epochs=1)))


PARTS: dict[str, Callable[[Path], None]] = {
    "speed": speed,
    "peak": peak,
    "threads": threads,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), help="some of: " + ", ".join(PARTS)
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        # Not at the top: with another backend this file runs where there is no Spark.
        from cnn.spark.executor_env import EXECUTOR_ENVIRONMENT

        if not EXECUTOR_ENVIRONMENT.items() <= os.environ.items():
            environment = {**os.environ, **EXECUTOR_ENVIRONMENT}
            os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    if args.folder is not None:
        inner = {"alone": lambda: alone(args.folder), "grow": lambda: grow(args.folder, args.count)}
        inner[args.parts[0]]()
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in args.parts:
            print(name, flush=True)
            PARTS[name](Path(folder))
            gc.collect()


if __name__ == "__main__":
    main()
