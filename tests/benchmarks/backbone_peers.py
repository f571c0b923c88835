"""What `backbones.py` compares with, and what it measures in processes of their own.

python tests/benchmarks/backbone_peers.py PART FOLDER ARGUMENTS
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from peaks import highest_anonymous

from cnn.model.head import build_head
from cnn.model.network import compile_model
from cnn.settings.params import ModelParams
from cnn.spark.gpus import environment_for
from cnn.train.batches import Images
from cnn.train.fit import fit
from cnn.train.fit_parts import TrainingPart
from cnn.train.head_steps import ManySteps
from cnn.train.heads import moments

BATCH, WIDTH, EPOCHS = 32, 1280, 200


def classes_of(model: Path, pixels: np.ndarray) -> np.ndarray:
    """The classes that a saved network says, read without our code."""
    loaded = keras.models.load_model(model, safe_mode=True)
    found: np.ndarray = loaded.predict(pixels, verbose=0).argmax(axis=1)
    return found


def features(backbone: str, pixels: np.ndarray) -> np.ndarray:
    found: np.ndarray = keras.models.load_model(backbone).predict(pixels, verbose=0)
    return found


def probe(found: Sequence[np.ndarray], labels: np.ndarray, *, chosen: bool) -> np.ndarray:
    """scikit-learn's logistic regression; `chosen`: scaled, its strength by cross-validation."""
    from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if chosen:
        options: dict[str, Any] = {"Cs": 10, "cv": 5, "max_iter": 5000, "l1_ratios": (0,)}
        best = LogisticRegressionCV(**options, use_legacy_attributes=False)
        model: Any = make_pipeline(StandardScaler(), best)
    else:
        model = LogisticRegression(max_iter=5000)
    classes: np.ndarray = model.fit(found[0], labels).predict(found[1])
    return classes


def plain_keras(backbone: str, train: Any, test: np.ndarray, seed: int) -> np.ndarray:
    """Keras's guide to transfer learning: freeze, train a head, then train all at a low rate.

    As there: mirrored and turned images, dropout of 0.2, 20 epochs at 1e-3 and then 10 at 1e-5 with
    batch normalisation in inference mode.
    """
    keras.utils.set_random_seed(seed)
    base = keras.models.load_model(backbone)
    base.trainable = False
    inputs = keras.Input(base.input_shape[1:])
    x = keras.layers.RandomFlip("horizontal")(inputs)
    x = keras.layers.RandomRotation(0.1)(x)
    x = base(x, training=False)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    classes = int(train.labels.max()) + 1
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    pixels = np.array(train.pixels)
    for rate, epochs in ((1e-3, 20), (1e-5, 10)):
        model.compile(keras.optimizers.Adam(rate), loss)
        model.fit(pixels, train.labels, batch_size=BATCH, epochs=epochs, verbose=0)
        base.trainable = True
    found: np.ndarray = model.predict(test, verbose=0).argmax(axis=1)
    return found


def predict_seconds(backbone: str, pixels: np.ndarray, folder: Path) -> float:
    """One pass over all pixels: in one process, or in one for each core, whichever is faster."""
    np.save(folder / "pixels.npy", pixels)
    cores = os.cpu_count() or 1
    bounds = [len(pixels) * place // cores for place in range(cores + 1)]
    together = [(0, len(pixels), cores)]
    apart = [(bounds[place], bounds[place + 1], 1) for place in range(cores)]
    return min(_slowest(backbone, folder, shares) for shares in (together, apart))


def _slowest(backbone: str, folder: Path, shares: Sequence[tuple[int, int, int]]) -> float:
    """The seconds of the slowest of several processes with (first image, end, threads)."""
    processes = [
        _process("predict", folder, backbone, str(start), str(end), threads=threads)
        for start, end, threads in shares
    ]
    # All have loaded the backbone before any begins.
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in processes)


def predict(folder: Path, backbone: str, start: str, end: str) -> None:
    model = keras.models.load_model(backbone)
    pixels = np.load(folder / "pixels.npy", mmap_mode="r")[int(start) : int(end)]
    model.predict(pixels[: 2 * BATCH], batch_size=BATCH, verbose=0)
    print("loaded", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    model.predict(pixels, batch_size=BATCH, verbose=0)
    print(time.perf_counter() - began)


def _process(
    part: str, folder: Path, *arguments: str, threads: int | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__, part, str(folder), *arguments],
        env={**os.environ, **environment_for(threads, None)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def separately(part: str, folder: Path, *arguments: str) -> str:
    """What one of the parts below prints in a process of its own with one core, as in a slot."""
    output, _ = _process(part, folder, *arguments, threads=1).communicate()
    return output


def head() -> tuple[keras.Model, ModelParams]:
    params = ModelParams(backbone="any", batch_size=256, l2=1e-4, learning_rate=1e-3)
    keras.utils.set_random_seed(0)
    ones = np.ones(WIDTH, np.float32)
    model = build_head(params, classes=2, mean=0 * ones, variance=ones)
    compile_model(model, params)
    return model, params


def draw(folder: Path, count: int) -> Images:
    """Memory-mapped float16 features, with labels that a head can learn."""
    path = folder / f"features-{count}.npy"
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    if not path.exists():
        array = np.lib.format.open_memmap(path, "w+", np.float16, (count, WIDTH))
        for start in range(0, count, 1000):
            rows = labels[start : start + 1000, None]
            array[start : start + 1000] = rng.normal(0.1 * rows, 1, (len(rows), WIDTH))
        array.flush()
    return Images(np.load(path, mmap_mode="r"), labels.astype(np.int32), np.arange(count))


def trained(images: Images, epochs: int, validation: np.ndarray | None = None) -> None:
    """A head's trial after its features are opened: their moments, the network, the training.

    `validation` are rows of `images`. Up to 64 MiB of features stay in memory, as in a trial.
    """
    moments(images.inputs, images.rows)
    model, params = head()
    held = images.inputs if 2 * images.inputs.nbytes <= 2**26 else None
    machines = ManySteps(model, params.batch_size, held)
    if held is not None:
        images = replace(images, inputs=np.arange(len(held)))
    judged = None if validation is None else replace(images, rows=validation)
    part = TrainingPart(model, images, judged, None, machines)
    options: dict[str, Any] = {"objective": "val_accuracy", "seed": 0}
    fit([part], classes=2, batch_size=params.batch_size, epochs=epochs, **options)


def train_heads(folder: Path) -> None:
    """Seconds of a head's training, with the building and compiling of its network."""
    drawn = draw(folder, 2_500)
    images, validation = replace(drawn, rows=drawn.rows[:2_000]), drawn.rows[2_000:]

    def keras_fit() -> None:
        model, params = head()
        values = np.asarray(drawn.inputs, np.float32)
        one_hot = np.eye(2, dtype=np.float32)[drawn.labels]
        sides = [(values[rows], one_hot[rows]) for rows in (images.rows, validation)]
        model.fit(*sides[0], params.batch_size, EPOCHS, verbose=0, validation_data=sides[1])

    kinds: dict[str, Callable[[], None]] = {
        "ours": lambda: trained(images, EPOCHS, validation),
        "Keras fit": keras_fit,
    }
    medians = {}
    for kind, run in kinds.items():
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
        medians[kind] = statistics.median(seconds)
        print(f"  {kind:<12} {medians[kind]:.2f} s, the first time {seconds[0]:.2f} s")
    print(f"  ours takes {medians['ours'] / medians['Keras fit']:.2f} of the other's time")


def grow(folder: Path, count: str) -> None:
    """The highest RssAnon, bytes, of a head's training of two epochs."""
    images = draw(folder, int(count))
    print(highest_anonymous(lambda: trained(images, 2, images.rows)))


if __name__ == "__main__":
    parts: dict[str, Callable[..., None]] = {
        "predict": predict,
        "train_heads": train_heads,
        "grow": grow,
    }
    parts[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
