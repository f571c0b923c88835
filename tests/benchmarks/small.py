"""Five classes of 60 drawn images: jobs/tune.py as it stands against a plain Keras loop.

    python tests/benchmarks/small.py                 # some twenty minutes on two cores
    python tests/benchmarks/small.py --seeds 1

loop    the course project's network (3 x 32) with the same augmentation, trained with Keras's `fit`
        on four fifths of the training images until the rest no longer improves, its best epoch
        kept
ours    jobs/preprocess.py and jobs/tune.py; conf/small.toml is laid over the defaults by itself

Both have the same 240 training images. The 60 of the data set's own test split are too few to tell
them apart, so both are also shown 1,000 images drawn for that alone, after all is decided.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from report import job

SIZE = 64
SHAPES = ("circle", "cross", "ring", "square", "triangle")
EACH, FRESH = 60, 200


class Outcome(NamedTuple):
    """What one way came to, on the images that were drawn for the comparison alone."""

    seconds: float
    accuracy: float


def draw(shape: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 (64, 64): a shape of varied place, size, angle and contrast, a line, and noise."""
    background = rng.integers(30, 130)
    ink = background + rng.integers(40, 100)
    image = Image.new("L", (SIZE, SIZE), int(background))
    pen = ImageDraw.Draw(image)
    pen.line(rng.integers(0, SIZE, 4).tolist(), fill=int(rng.integers(30, 220)), width=2)
    radius = rng.uniform(11, 18)
    x, y = rng.uniform(SIZE / 2 - 9, SIZE / 2 + 9, 2)
    box = (x - radius, y - radius, x + radius, y + radius)
    turn = rng.uniform(-0.4, 0.4)

    def corners(count: int) -> list[tuple[float, float]]:
        angles = turn + 2 * np.pi * np.arange(count) / count
        return [(x + radius * np.cos(a), y + radius * np.sin(a)) for a in angles]

    if shape == "circle":
        pen.ellipse(box, fill=int(ink))
    elif shape == "ring":
        pen.ellipse(box, outline=int(ink), width=3)
    elif shape == "cross":
        first, second, third, fourth = corners(4)
        pen.line([first, third], fill=int(ink), width=5)
        pen.line([second, fourth], fill=int(ink), width=5)
    else:
        pen.polygon(corners(4 if shape == "square" else 3), fill=int(ink))
    noisy = np.asarray(image) + rng.normal(0, 6, (SIZE, SIZE))
    return noisy.clip(0, 255).astype(np.uint8)


def drawn(each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (5 x each, 64, 64, 1) and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(SHAPES)), each)
    return np.stack([draw(SHAPES[label], rng) for label in labels])[..., None], labels


def write(folder: Path, seed: int) -> None:
    pixels, labels = drawn(EACH, seed)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        path = folder / SHAPES[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)


def ours(data: str, folder: Path, seed: int) -> Outcome:
    from cnn.model.classifier import Classifier

    run = folder / f"run-{seed}"
    began = time.perf_counter()
    job("jobs/tune.py", "--data", data, "--out", str(run), "--seed", str(seed))
    seconds = time.perf_counter() - began
    pixels, labels = drawn(FRESH, 1000 + seed)
    named = Classifier.load(run).probabilities(pixels).argmax(axis=1)
    return Outcome(seconds, float((named == labels).mean()))


def loop(data: str, seed: int) -> Outcome:
    import keras
    import pyarrow.parquet as pq

    began = time.perf_counter()
    table = pq.read_table(Path(data) / "train", columns=["label", "pixels"])
    flat = np.frombuffer(b"".join(table["pixels"].to_pylist()), np.uint8)
    pixels = flat.reshape(-1, SIZE, SIZE, 1)
    labels = np.eye(len(SHAPES), dtype=np.float32)[table["label"].to_numpy()]
    keras.utils.set_random_seed(seed)
    stack: list[Any] = [
        keras.Input((SIZE, SIZE, 1)),
        keras.layers.Rescaling(1 / 255),
        keras.layers.RandomFlip("horizontal"),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="nearest"),
        keras.layers.RandomRotation(0.04, fill_mode="nearest"),
        keras.layers.RandomZoom(0.1, fill_mode="nearest"),
    ]
    for _ in range(3):
        stack += [keras.layers.Conv2D(32, 3, activation="relu"), keras.layers.MaxPooling2D()]
    stack += [
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(len(SHAPES), activation="softmax"),
    ]
    model = keras.Sequential(stack)
    model.compile(keras.optimizers.Adam(0.001), "categorical_crossentropy", metrics=["accuracy"])
    stop = keras.callbacks.EarlyStopping("val_loss", patience=15, restore_best_weights=True)
    options = {"batch_size": 32, "epochs": 150, "validation_split": 0.2, "verbose": 0}
    model.fit(pixels, labels, callbacks=[stop], **options)
    seconds = time.perf_counter() - began
    fresh, truth = drawn(FRESH, 1000 + seed)
    named = model.predict(fresh, verbose=0).argmax(axis=1)
    return Outcome(seconds, float((named == truth).mean()))


def loop_apart(data: str, seed: int) -> Outcome:
    """In a process of its own, with TensorFlow as it comes."""
    done = subprocess.run(
        [sys.executable, __file__, "--one-loop", data, str(seed)],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Outcome(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one-loop", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one_loop:
        data, seed = args.one_loop
        print(json.dumps(loop(data, int(seed))))
        return
    found: dict[str, list[Outcome]] = {"loop": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in range(args.seeds):
            images, data = folder / f"images-{seed}", str(folder / f"data-{seed}")
            write(images, seed)
            sizes = ("--image-size", str(SIZE), "--group", "none")
            job("jobs/preprocess.py", "--images", str(images), "--out", data, *sizes)
            found["loop"].append(loop_apart(data, seed))
            found["ours"].append(ours(data, folder, seed))
            for kind, outcomes in found.items():
                print(f"seed {seed}: {kind} {outcomes[-1]}", flush=True)
    print(f"\n{'':6}{'seconds':>9}{'accuracy on 1,000 fresh images':>32}{'errors / loop':>15}")
    base = 1 - statistics.mean(outcome.accuracy for outcome in found["loop"])
    for kind, outcomes in found.items():
        seconds, accuracy = (statistics.mean(v) for v in zip(*outcomes, strict=True))
        ratio = (1 - accuracy) / base if base else float("nan")
        print(f"{kind:6}{seconds:9.0f}{accuracy:32.4f}{ratio:15.2f}")


if __name__ == "__main__":
    main()
