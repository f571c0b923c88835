"""What early stopping across trials saves and costs, next to none and to Optuna's.

    python tests/benchmarks/halving.py             # an hour on two cores, once; then seconds
    python tests/benchmarks/halving.py --seeds 1

Every configuration is trained to its end once and its curve kept in --cache: a training follows
from its seed, so that a scheduler that stops it early would have seen the same. The schedulers then
see the curves as `--slots` trials at a time would show them, in the order of the epochs' measured
lengths. Needs the extra `bench`.
"""

import argparse
import contextlib
import heapq
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hyperopt import base

from cnn.core.directory import Directory
from cnn.core.seeds import derive_seed
from cnn.rundir.trials import Key, objective_key
from cnn.search.hyperopt_documents import point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import strategy
from cnn.settings.dimension import Dimension
from cnn.settings.schema import PhaseSettings
from cnn.spark.session import TUNE
from cnn.train.halving import Rungs, rung_epochs

SIZE, TRAIN, VALIDATION, CONFIGURATIONS, EPOCHS, ETA = 64, 2000, 2000, 32, 9, 3
# A rung before a whole epoch is over; Optuna's counts whole ones.
EARLY = 1 / 3
_EXECUTOR = "spark.executorEnv."
CLASSES = 4
SPACE: dict[str, Any] = {
    "conv_layers": {"low": 1, "high": 4},
    "filters": {"choices": (4, 8)},
    "dense_units": {"choices": (16, 32, 64)},
    "dropout": {"low": 0.0, "high": 0.6},
    "learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "batch_size": {"choices": (32, 64)},
    "batch_norm": {"choices": (False, True)},
    "pooling": {"choices": ("flatten", "average")},
}


class Curve(NamedTuple):
    """One configuration's training: best (accuracy, loss) by the end of each of `epochs`."""

    epochs: list[float]
    keys: list[Key]
    # Of one epoch.
    seconds: float


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a small striped disc in noise: uint8 (count, 64, 64, 1), and which way it runs.

    Place, size, wavelength, phase and contrast vary, and the angle by up to a third of the way to
    the next class, so that what tells the classes apart has to be learned.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    y, x = np.mgrid[:SIZE, :SIZE]
    pixels = np.empty((count, SIZE, SIZE, 1), np.uint8)
    for index, label in enumerate(labels):
        angle = (label + rng.uniform(-1, 1) / 3) * np.pi / CLASSES
        wave = 2 * np.pi / rng.uniform(4, 9)
        radius = rng.uniform(10, 20)
        row, column = rng.uniform(radius, SIZE - radius, 2)
        stripes = np.sin(wave * (np.cos(angle) * x + np.sin(angle) * y) + rng.uniform(0, 2 * np.pi))
        inside = (y - row) ** 2 + (x - column) ** 2 < radius**2
        noisy = 128 + rng.uniform(20, 70) * stripes * inside + rng.normal(0, 22, (SIZE, SIZE))
        pixels[index, :, :, 0] = np.clip(noisy, 0, 255)
    return pixels, labels


def record(task: tuple[int, int, str]) -> None:
    """Trains one configuration to its end and keeps its curve."""
    seed, number, path = task
    import keras

    from cnn.model.network import build, compile_model
    from cnn.train.batches import Images
    from cnn.train.fit import Diverged, Progress, fit
    from cnn.train.fit_parts import TrainingPart

    pixels, labels = draw(TRAIN + VALIDATION, seed)
    train = Images(pixels, labels, np.arange(TRAIN))
    validation = Images(pixels, labels, np.arange(TRAIN, TRAIN + VALIDATION))
    params = configuration(seed, number)
    own = derive_seed(seed, "trial", "search", number)
    keras.utils.set_random_seed(own)
    model = build(params, size=SIZE, channels=1, classes=CLASSES)
    compile_model(model, params)
    epochs: list[float] = []
    keys: list[Key] = []
    lengths: list[float] = []

    def seen(epoch: float, key: Key) -> bool:
        epochs.append(epoch)
        keys.append(min(key, *keys) if keys else key)
        return True

    def on_epoch(progress: Progress) -> None:
        epoch = progress.epochs[-1]
        lengths.append(epoch.seconds)
        found = {"loss": epoch.val_loss, "accuracy": epoch.val_accuracy}
        seen(epoch.epoch, objective_key("val_accuracy", **found, balanced_accuracy=None))

    with contextlib.suppress(Diverged):  # Its curve ends there.
        fit(
            [TrainingPart(model, train, validation)],
            classes=CLASSES,
            batch_size=params.batch_size,
            epochs=EPOCHS,
            seed=own,
            objective="val_accuracy",
            rungs=(EARLY,),
            go_on=lambda rung, key: seen(EARLY, key),
            on_epoch=on_epoch,
        )
    curve = {"epochs": epochs, "keys": keys, "seconds": statistics.median(lengths)}
    staging = Path(path).with_suffix(".partial")
    staging.write_text(json.dumps(curve))
    staging.rename(path)


def configuration(seed: int, number: int) -> Any:
    """The configuration that random search proposes as its `number`th."""
    space = {name: Dimension(**dimension) for name, dimension in SPACE.items()}
    phase = PhaseSettings(name="search", strategy="random", seed=seed, space=space)
    drawn = SearchSpace(phase)
    domain = base.Domain(lambda point: 0.0, drawn.expression())
    (document,) = strategy(drawn, 0)([number], domain, base.Trials(), 0)
    return drawn.params(point_of(domain, document))


def curves(seed: int, cache: Path) -> list[Curve]:
    folder = cache / f"halving-{SIZE}-{TRAIN}-{EPOCHS}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.json" for number in range(CONFIGURATIONS)]
    missing = [(seed, number, str(p)) for number, p in enumerate(paths) if not p.exists()]
    # As trials have it (cnn/spark/session.py), but with one thread each.
    environment = {k.removeprefix(_EXECUTOR): v for k, v in TUNE.items() if k.startswith(_EXECUTOR)}
    os.environ.update(environment | {"TF_NUM_INTRAOP_THREADS": "1"})
    # A process for each training: what one leaves behind does not slow the next.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for done, _ in enumerate(pool.map(record, missing), start=1):
            print(f"seed {seed}: {done} of {len(missing)} curves", end="\r", file=sys.stderr)
    found = [json.loads(path.read_text()) for path in paths]
    return [Curve(c["epochs"], [tuple(k) for k in c["keys"]], c["seconds"]) for c in found]


# Asked after each look at a trial: (number, epoch, best key so far) -> whether it goes on.
Scheduler = Callable[[int, float, Key], bool]


def replay(known: list[Curve], slots: int, go_on: Scheduler) -> tuple[float, float]:
    """Image-epochs spent, and the best validation accuracy, of a search under a scheduler."""
    waiting = list(range(len(known)))
    running: list[tuple[float, int, int]] = []  # when its next look is due, which trial, which look
    spent, best = 0.0, 0.0

    def start(now: float) -> None:
        if waiting:
            number = waiting.pop(0)
            due = now + known[number].epochs[0] * known[number].seconds
            heapq.heappush(running, (due, number, 0))

    for _ in range(slots):
        start(0.0)
    while running:
        now, number, look = heapq.heappop(running)
        curve = known[number]
        best = max(best, 1 - curve.keys[look][0])
        last = look + 1 == len(curve.epochs)
        if last or not go_on(number, curve.epochs[look], curve.keys[look]):
            spent += curve.epochs[look] * TRAIN
            start(now)
            continue
        length = (curve.epochs[look + 1] - curve.epochs[look]) * curve.seconds
        heapq.heappush(running, (now + length, number, look + 1))
    return spent, best


def ours(folder: str, grace: float) -> Scheduler:
    """As cnn.train.fit.fit asks: at each rung, and after each epoch again about the last."""
    rungs = rung_epochs(EPOCHS, grace, ETA)
    board = Rungs(Directory(folder), "search", ETA)
    told: dict[int, tuple[int, Key]] = {}

    def go_on(number: int, epoch: float, key: Key) -> bool:
        for rung, due in enumerate(rungs):
            if abs(due - epoch) < 1e-9:
                told[number] = rung, key
        if number not in told:
            return True
        rung, then = told[number]
        return board.report(rung, number, then)

    return go_on


def optunas() -> Scheduler:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=ETA, min_early_stopping_rate=0
        ),
    )
    trials: dict[int, Any] = {}

    def go_on(number: int, epoch: float, key: Key) -> bool:
        if epoch < 1:
            return True
        trial = trials.setdefault(number, None) or study.ask()
        trials[number] = trial
        trial.report(1 - key[0], step=int(epoch))
        if trial.should_prune():
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return False
        return True

    return go_on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=8)
    default = Path(tempfile.gettempdir()) / "cnn-benchmarks"
    parser.add_argument("--cache", type=Path, default=default)
    args = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for seed in range(args.seeds):
        known = curves(seed, args.cache)
        ends = sorted(1 - curve.keys[-1][0] for curve in known)
        print(f"seed {seed}: accuracies {ends[0]:.3f} to {ends[-1]:.3f}, median {ends[16]:.3f}")
        with tempfile.TemporaryDirectory() as folder:
            schedulers: dict[str, Scheduler] = {
                "none": lambda number, epoch, key: True,
                "ours": ours(f"{folder}/1", 1.0),
                "ours, grace_epochs = 1/3": ours(f"{folder}/2", EARLY),
                "Optuna's SuccessiveHalvingPruner": optunas(),
            }
            for name, go_on in schedulers.items():
                rows.setdefault(name, []).append(replay(known, args.slots, go_on))
    print(
        f"\n{CONFIGURATIONS} configurations, {EPOCHS} epochs, {args.slots} at a time, mean of "
        f"{args.seeds} seeds"
    )
    print(f"{'early stopping':34}{'image-epochs':>14}{'saved':>8}{'best accuracy':>15}")
    base_spent = statistics.mean(spent for spent, _ in rows["none"])
    for name, found in rows.items():
        spent, best = (statistics.mean(values) for values in zip(*found, strict=True))
        print(f"{name:34}{spent:14,.0f}{base_spent / spent:7.1f}x{best:15.4f}")


if __name__ == "__main__":
    main()
