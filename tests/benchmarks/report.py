"""The course project's whole procedure as the loop that its notebook was, against jobs/tune.py.

    python tests/benchmarks/report.py --size quick      # 400 images of 64x64: minutes
    python tests/benchmarks/report.py --size middle     # 4,000 of 64x64, narrower networks
    python tests/benchmarks/report.py                   # 4,000 of 128x128, three seeds: hours each
    python tests/benchmarks/report.py --group none      # split without regard to pairs, as it did
    python tests/benchmarks/report.py loop default      # without conf/report.toml

loop      three phases one configuration after another in one process, Keras's `fit` on arrays in
          memory, TensorFlow as it comes; chosen on validation images, tested once
default   jobs/tune.py as it stands: what a user gets
report    jobs/tune.py with conf/report.toml: the loop's own configurations

All three have the same training and test images, the drawn sample's. default against loop is the
gain of engine and search space together, report against loop the engine's alone. An image-epoch is
one image trained on once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).parent.parent.parent
KINDS = ("loop", "default", "report")


class Size(NamedTuple):
    """How large the race is."""

    pairs: int
    pixels: int
    filters: tuple[int, ...]
    seeds: int


SIZES = {
    "full": Size(2500, 128, (32, 64, 128), 3),
    "middle": Size(2500, 64, (16, 32, 64), 3),
    "quick": Size(250, 64, (16, 32, 64), 1),
}


class Outcome(NamedTuple):
    """What one way came to."""

    seconds: float
    image_epochs: int
    accuracy: float


def arrays(data: str, split: str) -> tuple[Any, Any]:
    """A split's images, float32 from 0 to 1, and one-hot labels, as a notebook holds them."""
    import numpy as np
    import pyarrow.parquet as pq

    manifest = json.loads((Path(data) / "manifest.json").read_text())
    table = pq.read_table(Path(data) / split, columns=["label", "pixels"])
    shape = (-1, manifest["size"], manifest["size"], manifest["channels"])
    flat = np.frombuffer(b"".join(table["pixels"].to_pylist()), np.uint8)
    images = flat.reshape(shape).astype(np.float32) / 255
    return images, np.eye(2, dtype=np.float32)[table["label"].to_numpy()]


def network(size: int, layers: int, filters: int, dropout: float, rate: float) -> Any:
    import keras

    stack: list[Any] = [keras.Input((size, size, 1))]
    for _ in range(layers):
        stack += [
            keras.layers.Conv2D(filters, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
        ]
    stack += [keras.layers.Flatten(), keras.layers.Dense(filters, activation="relu")]
    if dropout:
        stack.append(keras.layers.Dropout(dropout))
    model = keras.Sequential([*stack, keras.layers.Dense(2, activation="softmax")])
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def loop(data: str, filters: Sequence[int], seed: int) -> Outcome:
    """The course project's three phases, and the winner trained again for the epochs found."""
    import keras

    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    images, labels = arrays(data, "train")
    size, spent = images.shape[1], 0
    subset = min(4000, len(images))

    def validated(epochs: int, count: int, *params: Any) -> list[float]:
        nonlocal spent
        model = network(size, *params)
        fitted = model.fit(
            images[:count],
            labels[:count],
            batch_size=32,
            epochs=epochs,
            validation_split=0.2,
            verbose=0,
        )
        spent += epochs * (count - int(count * 0.2))
        return list(fitted.history["val_accuracy"])

    rates = (0.01, 0.001)
    grid = list(product((2, 3), filters, (0.0,), rates))
    best = max(grid, key=lambda params: max(validated(5, subset, *params)))
    grid = list(product(best[:1], best[1:2], (0.5, 0.7), rates))
    best = max(grid, key=lambda params: max(validated(5, subset, *params)))
    curve = validated(10, len(images), *best)
    epochs = curve.index(max(curve)) + 1
    model = network(size, *best)
    model.fit(images, labels, batch_size=32, epochs=epochs, verbose=0)
    spent += epochs * len(images)
    accuracy = model.evaluate(*arrays(data, "test"), verbose=0)[1]
    return Outcome(time.perf_counter() - began, spent, accuracy)


def tuned(data: str, kind: str, filters: Sequence[int], seed: int) -> Outcome:
    """jobs/tune.py from its command to its end."""
    words: list[str] = []
    if kind == "report":
        words = ["--config", str(REPOSITORY / "conf" / "report.toml")]
        words += ["--set", f"phases.0.space.filters={{choices = {list(filters)}}}"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began = time.perf_counter()
        job(
            *("jobs/tune.py", "--data", data, "--out", str(run), "--seed", str(seed)),
            *("--cache-dir", folder, *words),
        )
        seconds = time.perf_counter() - began
        trials = [json.loads(path.read_text()) for path in (run / "trials").glob("*.json")]
        result = json.loads((run / "result.json").read_text())
    final = result["final"]
    spent = sum(len(t["epochs"]) * (t["train_images"] or 0) * t["folds"] for t in trials)
    spent += len(final["epochs"]) * final["train_images"]
    return Outcome(seconds, spent, result["test"]["accuracy"])


def job(*words: str) -> None:
    done = subprocess.run(
        [str(REPOSITORY / "spark-submit.sh"), *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)


def prepared(folder: Path, size: Size, group: str) -> str:
    """The sample drawn and preprocessed; kept for the next time."""
    from cnn.data.sources.sample import write_sample

    images, data = folder / f"{size.pairs}-images", folder / f"{size.pairs}-{size.pixels}-{group}"
    if not images.exists():
        write_sample(images, size.pairs, size=2 * size.pixels)
    if not (data / "manifest.json").exists():
        options = ("--image-size", str(size.pixels), "--group", group, "--overwrite")
        job("jobs/preprocess.py", "--images", str(images), "--out", str(data), *options)
    return str(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kinds", nargs="*", default=KINDS, help="some of: " + ", ".join(KINDS))
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--quick", action="store_const", const="quick", dest="size")
    parser.add_argument("--seeds", type=int, help="how many, instead of the size's own")
    parser.add_argument("--first-seed", type=int, default=0, help="to go on another day")
    parser.add_argument("--group", choices=("auto", "none"), default="auto")
    default = Path(tempfile.gettempdir()) / "cnn-benchmarks"
    parser.add_argument("--cache", type=Path, default=default)
    parser.add_argument("--one-loop", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    size = SIZES[args.size]
    if args.one_loop:
        data, seed = args.one_loop
        print(json.dumps(loop(data, size.filters, int(seed))))
        return
    data = prepared(args.cache, size, args.group)
    found: dict[str, list[Outcome]] = {kind: [] for kind in args.kinds}
    for seed in range(args.first_seed, args.first_seed + (args.seeds or size.seeds)):
        for kind, outcomes in found.items():
            outcomes.append(
                loop_apart(args.size, data, seed)
                if kind == "loop"
                else tuned(data, kind, size.filters, seed)
            )
            print(f"seed {seed}: {kind:8} {outcomes[-1]}", flush=True)
    print(f"\n{'':8}{'seconds':>10}{'image-epochs':>14}{'test accuracy':>15}{'times faster':>14}")
    for kind, outcomes in found.items():
        seconds, spent, accuracy = (statistics.mean(v) for v in zip(*outcomes, strict=True))
        base = statistics.mean(outcome.seconds for outcome in found.get("loop", outcomes))
        print(f"{kind:8}{seconds:10.0f}{spent:14,.0f}{accuracy:15.4f}{base / seconds:14.2f}")


def loop_apart(size: str, data: str, seed: int) -> Outcome:
    """The loop in a process of its own, with TensorFlow as it comes."""
    words = ["--size", size]
    done = subprocess.run(
        [sys.executable, __file__, *words, "--one-loop", data, str(seed)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Outcome(*json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
