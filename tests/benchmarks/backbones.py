"""How good and how fast a search on a backbone is, next to what one would do without us.

    python tests/benchmarks/backbones.py --backbone NAME|FILE --photos DIR       # all parts
    python tests/benchmarks/backbones.py accuracy --seeds 0 1 2 ...              # some of them

accuracy  test images right, for each seed: our search of heads; the same followed by fine-tuning;
          for a quarter of an hour, our default space from scratch; on the same stored pixels,
          scikit-learn's logistic regression on the features, as it comes and with its strength
          chosen by cross-validation; and a plain Keras script that freezes, trains a head, and
          fine-tunes
path      from a data directory to a tested network with 20 heads, next to a bare `predict` of all
          images in one process with all cores or in one for each core, whichever is faster; and the
          images a second of the job that computes the features
heads     on one core: a head's training for 200 epochs on 2,000 x 1,280 features, with 500 more for
          validation, and Keras's `fit` of the same
memory    a head's own memory with the features of 4,000 and of 100,000 images

DIR has two folders, `train` and `val`, with a folder of photos for each class. For `path`, --count
images are cut out of these photos.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import backbone_peers as peers
import numpy as np
from PIL import Image

from cnn.core.directory import Directory
from cnn.data.arrays import Pixels, open_pixels
from cnn.data.manifest import read_manifest
from cnn.data.splits import TEST, TRAIN
from cnn.rundir.result import read_result
from cnn.settings.schema import CacheSettings
from cnn.spark.executor_env import EXECUTOR_ENVIRONMENT

ROOT = Path(__file__).parents[2]


def job(*words: object) -> list[tuple[float, str]]:
    """Runs one of the jobs; returns its lines, with the seconds after which each appeared."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [(time.perf_counter() - began, line.rstrip()) for line in process.stdout]
    if process.wait() != 0:
        raise SystemExit(f"{words[0]} failed: {lines[-5:]}")
    return [*lines, (time.perf_counter() - began, "")]


def preprocess(out: Path, *words: object) -> Path:
    if not (out / "manifest.json").exists():
        job("jobs/preprocess.py", "--out", out, *words)
    return out


def split(data: Path, name: str) -> Pixels:
    directory = Directory(str(data))
    return open_pixels(directory, read_manifest(directory), name, CacheSettings(dir=str(data)))


def frozen(backbone: str) -> tuple[object, ...]:
    return ("--backbone", backbone, "--set", f'space.backbone="{backbone}"', *_set("fine_tune=0.0"))


def _set(*values: str) -> tuple[str, ...]:
    return tuple(word for value in values for word in ("--set", f"space.{value}"))


FINE_TUNING = """
[[phases]]
name = "heads"
[phases.space]
fine_tune = 0.0

[[phases]]
name = "fine-tuning"
start = "heads"
max_trials = 3
strategy = "random"
[phases.space]
fine_tune = {choices = [0.1, 0.3]}
backbone_rate = {low = 0.01, high = 0.2, log = true}
learning_rate = {low = 1e-4, high = 1e-3, log = true}
batch_size = 32
augment = true
"""


def accuracy(args: argparse.Namespace, folder: Path) -> None:
    photos = ("--images", args.photos / "train", "--test-images", args.photos / "val")
    data = preprocess(folder / "photos", *photos, "--for", args.backbone)
    small = preprocess(folder / "small", *photos, "--color-mode", "rgb")
    train, test = split(data, TRAIN), split(data, TEST)
    tuning = folder / "fine_tuning.toml"
    tuning.write_text(FINE_TUNING)
    known: dict[str, np.ndarray] = {}

    def searched(kind: str, seed: int, data: Path, *words: object) -> None:
        run = folder / f"{kind.replace(' ', '-')}-{seed}"
        began = time.perf_counter()
        seeded = ("--set", f"search.seed={seed}")
        job("jobs/tune.py", "--data", data, "--out", run, *words, *seeded)
        said(kind, seed, peers.classes_of(run / "model.keras", split(data, TEST).pixels), began)
        result = read_result(Directory(str(run)))
        assert result.test.accuracy == np.mean(known[f"{kind} {seed}"] == test.labels)

    def said(kind: str, seed: int, found: np.ndarray, began: float) -> None:
        known[f"{kind} {seed}"] = found
        right = found == test.labels
        line = f"  seed {seed}  {kind:<28} {right.sum()}/{len(right)} = {right.mean():.4f}"
        line += f"  {time.perf_counter() - began:6.0f} s"
        probe = known.get("probe, chosen 0")
        if probe is not None:
            other = probe == test.labels
            line += f"  paired with the probe: +{(right & ~other).sum()} -{(other & ~right).sum()}"
        print(line, flush=True)

    began = time.perf_counter()
    features = [peers.features(args.backbone, part.pixels) for part in (train, test)]
    said("probe, chosen", 0, peers.probe(features, train.labels, chosen=True), began)
    said("probe as it comes", 0, peers.probe(features, train.labels, chosen=False), began)
    own = frozen(args.backbone)
    kinds: dict[str, Callable[[int], None]] = {
        "ours, frozen": lambda seed: searched("ours, frozen", seed, data, *own),
        "ours, then fine-tuned": lambda seed: searched(
            "ours, then fine-tuned", seed, data, "--config", tuning, *own[:4]
        ),
        "ours, from scratch": lambda seed: searched(
            "ours, from scratch", seed, small, "--set", "search.timeout=900"
        ),
    }
    for seed in args.seeds:
        for kind, search in kinds.items():
            if kind in args.kinds:
                search(seed)
        if "plain Keras" in args.kinds:
            began = time.perf_counter()
            found = peers.plain_keras(args.backbone, train, test.pixels, seed)
            said("plain Keras", seed, found, began)


def cut_out(photos: Path, folder: Path, count: int) -> Path:
    """`count` JPEGs of 224x224, parts of the photos; a folder for each class."""
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    sources = sorted(photos.glob("*/*/*"))
    pictures = [(path.parent.name, Image.open(path).convert("RGB")) for path in sources]
    for number in range(count):
        name, picture = pictures[number % len(pictures)]
        side = int(min(picture.size) * rng.uniform(0.4, 0.9))
        left, top = (int(rng.integers(0, space - side)) for space in picture.size)
        part = picture.crop((left, top, left + side, top + side)).resize((224, 224))
        path = folder / name / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.save(path)
    return folder


def path(args: argparse.Namespace, folder: Path) -> None:
    seconds = {}
    for count in (args.count // 5, args.count):
        images = cut_out(args.photos, folder / f"images-{count}", count)
        data = preprocess(folder / f"data-{count}", "--images", images, "--for", args.backbone)
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            lines = job(
                *("jobs/tune.py", "--data", data, "--out", Path(cache) / "run"),
                *(*frozen(args.backbone), "--max-trials", 20, "--set", f"cache.dir={cache!r}"),
                *("--set", "space.augment=false", "--set", "features.views=0"),
            )
        started = next(at for at, line in lines if "computing the features" in line)
        end = lines[-1][0]
        job_line = next(line for _, line in lines if re.search(r"features of .* after", line))
        features = float(re.findall(r"after ([\d.]+) s", job_line)[0])
        trained = len(split(data, TRAIN).labels)
        pixels = np.concatenate([split(data, name).pixels for name in (TRAIN, TEST)])
        bare = peers.predict_seconds(args.backbone, pixels, folder)
        seconds[trained] = (features, bare * trained / len(pixels))
        print(
            f"  {len(pixels):,} images: start {started:.1f} s, then {end - started:.1f} s to a "
            f"tested network; bare predict {bare:.1f} s: {(end - started) / bare:.2f} of it; "
            f"features of {trained:,} after {features:.1f} s",
            flush=True,
        )
    (few, (short, bare_short)), (many, (long, bare_long)) = seconds.items()
    rate, limit = ((many - few) / (b - a) for a, b in ((short, long), (bare_short, bare_long)))
    print(
        f"  features: {rate:.1f} images/s more from {few:,} to {many:,}, and "
        f"{short - few / rate:.1f} s of fixed cost; bare predict {limit:.1f}: {rate / limit:.2f}"
    )


def heads(args: argparse.Namespace, folder: Path) -> None:
    print(peers.separately("train_heads", folder), end="")


def memory(args: argparse.Namespace, folder: Path) -> None:
    found = [float(peers.separately("grow", folder, str(n))) for n in (4_000, 100_000)]
    for count, most in zip((4_000, 100_000), found, strict=True):
        print(f"  {count:>7,} images: {most / 2**20:.0f} MiB")
    print(f"  the second is {found[1] / found[0]:.2f} of the first")


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "accuracy": accuracy,
    "path": path,
    "heads": heads,
    "memory": memory,
}
KINDS = ("ours, frozen", "ours, then fine-tuned", "ours, from scratch", "plain Keras")


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", default=list(PARTS), help="of: " + ", ".join(PARTS))
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), help="of: " + "; ".join(KINDS))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where to keep what was made")
    args = parser.parse_args(words)
    if not EXECUTOR_ENVIRONMENT.items() <= os.environ.items():
        environment = {**os.environ, **EXECUTOR_ENVIRONMENT}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.parts:
            print(name, flush=True)
            PARTS[name](args, folder)


if __name__ == "__main__":
    main()
