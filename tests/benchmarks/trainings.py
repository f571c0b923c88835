"""Records trainings to their end, once, so that other benchmarks can replay searches in seconds.

    python tests/benchmarks/trainings.py record --data rings --configurations 300 \
        --out tests/benchmarks/data/rings.parquet                          # hours on two cores
    python tests/benchmarks/trainings.py show tests/benchmarks/data/rings.parquet

discs   four classes of drawn discs (drawn.py): 2,000 to train on, 500 to validate, 2,000 to test
faint   the same with less contrast, so that no network has all images right
rings   the same with six classes of drawn rings
photos  the ants and bees in --photos DIR/{train,val}, by default $SHARED/data/ants-and-bees, as
        64x64 RGB: a fifth of train validates, val is the test set

The configurations are drawn at random from the space of conf/default.toml, and trained as trials
are, for as many epochs as trials have at most, but without patience. Each training has one thread
and a process of its own, as many at a time as there are cores. A recording that was killed goes on
where it was, from --cache, and one with more configurations from the table in --out.
`halving.py`, `proposals.py` and `saturation.py` replay the tables.
"""

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from drawn import SIZE, discs, rings
from hyperopt import base
from tables import Table, Training, default_phase, read_table, show, write_table

from cnn.core.seeds import derive_seed
from cnn.data.decoding.decode import Decoding, decode_file
from cnn.search.hyperopt_documents import point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.settings.params import TrainingParams
from cnn.settings.schema import PhaseSettings
from cnn.spark.session import TUNE

# The first look at a training, before a whole epoch is over; the others are at its epochs' ends.
EARLY = 1 / 3
DRAWN: dict[str, Callable[[int, int], tuple[np.ndarray, np.ndarray]]] = {
    "discs": discs,
    "faint": partial(discs, contrast=(8, 30)),
    "rings": rings,
}
CACHE = Path(tempfile.gettempdir()) / "cnn-benchmarks"
_EXECUTOR = "spark.executorEnv."


class Images(NamedTuple):
    """A data set: first the images to train on, then those to validate and to test."""

    pixels: np.ndarray
    labels: np.ndarray
    train: int
    validation: int

    @property
    def test(self) -> int:
        """The number of images to test."""
        return len(self.labels) - self.train - self.validation


class Task(NamedTuple):
    """A training to be recorded."""

    images: Path
    params: TrainingParams
    epochs: int
    seed: int
    path: Path


def drawn_images(
    name: str, seed: int = 0, *, train: int = 2000, validation: int = 500, test: int = 2000
) -> Images:
    """A drawn data set: one of DRAWN."""
    draw = DRAWN[name]
    parts = draw(train + validation, seed), draw(test, derive_seed(seed, name, "test"))
    pixels, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    return Images(pixels, labels, train, validation)


def photos(folder: Path, seed: int = 0) -> Images:
    """Photographs in folders named after their classes, in FOLDER/train and FOLDER/val."""
    sides: tuple[list[Path], list[Path], list[Path]] = ([], [], [])
    rng = np.random.default_rng(seed)
    classes = sorted(path.name for path in (folder / "train").iterdir() if path.is_dir())
    for name in classes:
        files = sorted((folder / "train" / name).glob("*.jpg"))
        order = [files[index] for index in rng.permutation(len(files))]
        held_out = len(files) // 5
        sides[0].extend(order[held_out:])
        sides[1].extend(order[:held_out])
        sides[2].extend(sorted((folder / "val" / name).glob("*.jpg")))
    # The order of rows is random, as in a data directory.
    paths = [side[index] for side in sides for index in rng.permutation(len(side))]
    pixels = np.stack([decode_file(path, Decoding(SIZE, 3)) for path in paths])
    labels = np.array([classes.index(path.parent.name) for path in paths])
    return Images(pixels, labels, len(sides[0]), len(sides[1]))


def configurations(phase: PhaseSettings, count: int) -> list[Any]:
    """The configurations that random search proposes first in a phase."""
    space = SearchSpace(phase.model_copy(update={"strategy": "random"}))
    domain = base.Domain(lambda point: 0.0, space.expression())
    suggest = strategy(space, 0)
    drawn = []
    for number in range(count):
        (document,) = suggest([number], domain, base.Trials(), 0)
        drawn.append(space.params(point_of(domain, document)))
    return drawn


def train_one(task: Task) -> None:
    """Trains one configuration to its end, as a trial would, and keeps what each look saw."""
    import keras

    from cnn.model.network import build, compile_model
    from cnn.model.operations import operations
    from cnn.model.precision import policy, resolve
    from cnn.train.batches import Images as Rows
    from cnn.train.fit import Diverged, Progress, fit
    from cnn.train.fit_parts import OneMachine, TrainingPart
    from cnn.train.job import device

    with np.load(task.images) as stored:
        images = Images(*(stored[name] for name in Images._fields))
    ends = np.cumsum([0, images.train, images.validation, images.test])
    rows = [np.arange(*pair) for pair in itertools.pairwise(ends)]
    train, validation, test = (Rows(images.pixels, images.labels, own) for own in rows)
    classes = int(images.labels.max()) + 1
    keras.config.set_dtype_policy(policy(resolve("auto", device())))
    keras.utils.set_random_seed(task.seed)
    model = build(task.params, size=SIZE, channels=images.pixels.shape[-1], classes=classes)
    compile_model(model, task.params)
    part = TrainingPart(model, train, validation)
    looks: dict[str, list[float]] = {
        name: [] for name in ("epochs", "val_accuracy", "val_loss", "test_accuracy")
    }
    lengths: list[float] = []

    def look(epoch: float, accuracy: float | None, loss: float | None) -> None:
        tested = OneMachine(model).evaluate(test, classes).accuracy
        for name, value in zip(looks, (epoch, accuracy, loss, tested), strict=True):
            looks[name].append(float(value if value is not None else "nan"))

    def at_rung(rung: int, key: tuple[float, float]) -> bool:
        # Asked again before each later epoch.
        if not looks["epochs"]:
            look(EARLY, 1 - key[0], key[1])
        return True

    def on_epoch(progress: Progress) -> None:
        epoch = progress.epochs[-1]
        lengths.append(epoch.seconds)
        if epoch.val_loss is not None:
            look(epoch.epoch, epoch.val_accuracy, epoch.val_loss)

    status, started = "ok", time.monotonic()
    try:
        fit(
            [part],
            classes=classes,
            batch_size=task.params.batch_size,
            epochs=task.epochs,
            seed=task.seed,
            objective="val_accuracy",
            rungs=(EARLY,),
            go_on=at_rung,
            on_epoch=on_epoch,
        )
    except Diverged:
        status = "diverged"
    found = {
        **looks,
        "params": task.params.model_dump(mode="json"),
        # The first epoch has the compiling and the early look in it.
        "seconds": statistics.median(lengths[1:] or lengths or [time.monotonic() - started]),
        "operations": operations(model),
        "parameters": model.count_params(),
        "status": status,
    }
    staging = task.path.with_suffix(".partial")
    staging.write_text(json.dumps(found))
    staging.rename(task.path)


def record(
    images: Images,
    phase: PhaseSettings,
    drawn: Sequence[TrainingParams],
    folder: Path,
    *,
    workers: int | None = None,
) -> list[Training]:
    """The trainings of some configurations; only those that are not in `folder` yet take time."""
    folder.mkdir(parents=True, exist_ok=True)
    # Each process reads the images, which takes less time than drawing them.
    np.savez(folder / "images.npz", **images._asdict())
    tasks = []
    for number, params in enumerate(drawn):
        epochs, _ = phase.schedule(images.train, params.batch_size)
        seed = derive_seed(phase.seed, "trial", phase.name, number)
        path = folder / f"{number:04d}.json"
        tasks.append(Task(folder / "images.npz", params, epochs, seed, path))
    missing = [task for task in tasks if _known(task) is None]
    # As trials have it (cnn/spark/session.py), but with one thread each.
    environment = {k.removeprefix(_EXECUTOR): v for k, v in TUNE.items() if k.startswith(_EXECUTOR)}
    os.environ.update(environment | {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"})
    # A process for each training: what one leaves behind does not slow the next. They are forked
    # from one that has imported TensorFlow and not used it yet.
    context = get_context("forkserver")
    context.set_forkserver_preload(["cnn.model.network", "cnn.train.fit"])
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        for done, _ in enumerate(pool.map(train_one, missing), start=1):
            print(f"{folder.name}: {done} of {len(missing)}", end="\r", file=sys.stderr)
    known = [_known(task) for task in tasks]
    return [Training(number, **found) for number, found in enumerate(known) if found is not None]


def resume(folder: Path, table: Table) -> None:
    """Puts the trainings of an earlier table where `record` looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    for training in table.trainings:
        found = training._asdict()
        path = folder / f"{found.pop('number'):04d}.json"
        if not path.exists():
            path.write_text(json.dumps(found))


def _known(task: Task) -> dict[str, Any] | None:
    """What is known of a training from an earlier recording, if that was of this configuration."""
    with contextlib.suppress(OSError, ValueError):
        found: dict[str, Any] = json.loads(task.path.read_text())
        whole = found["status"] == "diverged" or found["epochs"][-1] == task.epochs
        if whole and found["params"] == task.params.model_dump(mode="json"):
            return found
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train, and write a table")
    recording.add_argument("--data", choices=[*DRAWN, "photos"], required=True)
    recording.add_argument("--configurations", type=int, default=300)
    recording.add_argument("--out", type=Path, required=True)
    recording.add_argument("--epochs", type=int, help="default: those of conf/default.toml")
    recording.add_argument("--seed", type=int, default=0, help="of images and configurations")
    recording.add_argument("--cache", type=Path, default=CACHE)
    shared = Path(os.environ.get("SHARED", ".")) / "data" / "ants-and-bees"
    recording.add_argument("--photos", type=Path, default=shared)
    showing = commands.add_parser("show", help="say what a table has")
    showing.add_argument("table", type=Path)
    args = parser.parse_args()
    if args.command == "show":
        show(read_table(args.table))
        return
    epochs = {} if args.epochs is None else {"epochs": args.epochs}
    phase = default_phase(SIZE, seed=args.seed, **epochs)
    if args.data == "photos":
        if not (args.photos / "train").is_dir():
            parser.error(f"--photos must be a folder with train and val, but got {args.photos}")
        images = photos(args.photos, args.seed)
    else:
        images = drawn_images(args.data, args.seed)
    folder = args.cache / f"trainings-{args.data}-{phase.epochs}-{args.seed}"
    table = Table(args.data, images.train, images.validation, images.test, [])
    if args.out.exists():
        earlier = read_table(args.out)
        if earlier[:4] != table[:4]:
            parser.error(f"--out must be a table of {args.data}, but {args.out} has {earlier.data}")
        resume(folder, earlier)
    trainings = record(images, phase, configurations(phase, args.configurations), folder)
    table = table._replace(trainings=trainings)
    write_table(args.out, table)
    show(table)


if __name__ == "__main__":
    main()
