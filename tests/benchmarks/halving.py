"""What early stopping across trials saves and costs, next to none and to its peers.

    python tests/benchmarks/halving.py --table tests/benchmarks/data/rings.parquet    # some minutes
    python tests/benchmarks/halving.py             # an hour on two cores, once; then seconds
    python tests/benchmarks/halving.py --seeds 1

A training follows from its seed, so that a scheduler that stops it early would have seen the same
as one that does not. So every configuration is trained to its end once, and the schedulers
(schedulers.py) see its results as `--slots` trials at a time would show them, in the order of the
epochs' measured lengths. With --table (trainings.py), each seed draws `--draws` of the table's
trainings; without, it trains as many configurations of small networks on drawn discs, and keeps
them in --cache.

Saved are image-epochs, and time until the search ends. Lost is accuracy of the trial that wins,
that of the best validation accuracy among those trained to their end, next to the winner without
early stopping. Where trials may be paused, they go on from their own snapshots. Trainings have no
patience unless --patience is given. Needs the extra `bench`.
"""

import argparse
import heapq
import statistics
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from schedulers import Asha, KeepBest, Optunas, Ours, Pasha, PowerLaw, Scheduler, Seen
from tables import Table, Training, default_phase, read_table
from trainings import CACHE, EARLY, configurations, drawn_images, record

from cnn.settings.dimension import Dimension
from cnn.settings.schema import PhaseSettings
from cnn.train.halving import rung_epochs

TRAIN, VALIDATION, EPOCHS = 2000, 2000, 9
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


class Outcome(NamedTuple):
    """What a search under a scheduler took, and the trial that it chose."""

    image_epochs: float
    seconds: float
    accuracy: float
    test_accuracy: float


def replay(table: Table, slots: int, scheduler: Scheduler) -> Outcome:
    """Shows the trainings of a table to a scheduler, as a search would.

    A training that diverged before the first look takes no time here, and one that diverged later
    cannot win.
    """
    known = table.trainings
    waiting = deque(number for number, training in enumerate(known) if training.epochs)
    # When the next look at a trial is due, which trial, which look.
    running: list[tuple[float, int, int]] = []
    # The last look at each trial so far.
    at: dict[int, int] = {}
    now = 0.0

    def advance(number: int) -> None:
        training, look = known[number], at.get(number, -1) + 1
        before = training.epochs[look - 1] if look else 0.0
        due = now + (training.epochs[look] - before) * training.seconds
        heapq.heappush(running, (due, number, look))

    while True:
        while len(running) < slots:
            number = scheduler.promote(idle=not (waiting or running))
            if number is None:
                if not waiting:
                    break
                number = waiting.popleft()
            advance(number)
        if not running:
            break
        now, number, look = heapq.heappop(running)
        at[number] = look
        training = known[number]
        seen = Seen(
            number, training.epochs[look], training.key(look), training.key(training.best(look))
        )
        if look + 1 < len(training.epochs) and scheduler.go_on(seen):
            advance(number)
    best = _winner(known, at)
    look = best.best(len(best.epochs) - 1)
    spent = sum(known[number].epochs[look] for number, look in at.items())
    return Outcome(spent * table.train, now, best.val_accuracy[look], best.test_accuracy[look])


def _winner(known: Sequence[Training], at: dict[int, int]) -> Training:
    """The best of the trials that were trained to their end, or of all if none was."""
    far = {number: known[number].until(look) for number, look in at.items()}
    ended = [
        number
        for number, look in at.items()
        if look + 1 == len(known[number].epochs) and known[number].status == "ok"
    ]
    return min(
        (far[number] for number in sorted(ended or far)),
        key=lambda training: training.key(training.best(len(training.epochs) - 1)),
    )


def peers(eta: int, epochs: float, first_rung: float) -> dict[str, Scheduler]:
    """The schedulers by name, new ones at each call.

    Args:
        eta: Of all that have rungs.
        epochs: Of the longest training.
        first_rung: That of the program, with its `min_steps`.
    """
    from optuna.pruners import HyperbandPruner, SuccessiveHalvingPruner

    found: dict[str, Scheduler] = {
        "none": Scheduler(),
        "ours, first rung by min_steps": Ours(rung_epochs(epochs, first_rung, eta), eta),
    }
    for first, words in ((1.0, "1"), (EARLY, "1/3")):
        rungs = rung_epochs(epochs, first, eta)
        halving = SuccessiveHalvingPruner(min_resource=1, reduction_factor=eta)
        most = round(epochs / first)
        hyperband = HyperbandPruner(min_resource=1, max_resource=most, reduction_factor=eta)
        found |= {
            f"ours, first rung {words}": Ours(rungs, eta),
            f"Optuna's SuccessiveHalving, first {words}": Optunas(halving, first),
            f"Optuna's Hyperband, first {words}": Optunas(hyperband, first),
            f"promotion (ASHA), first rung {words}": Asha(rungs, eta),
            f"promotion (PASHA), first rung {words}": Pasha(rungs, eta),
        }
    return found | {
        "promotion (ASHA), first rung 2, eta 4": Asha(rung_epochs(epochs, 2.0, 4), 4),
        "1 epoch, then the best": KeepBest((1.0, 1)),
        "1 epoch, then the best 3": KeepBest((1.0, 3)),
        "1 epoch, best 10; 2, best 4; 4, the best": KeepBest((1.0, 10), (2.0, 4), (4.0, 1)),
        "1/3 epoch, then the best 3": KeepBest((EARLY, 3)),
        "power law": PowerLaw(epochs),
    }


def small_networks(seed: int, count: int, cache: Path) -> Table:
    """Trainings of small networks on discs that are drawn for the seed."""
    space = {name: Dimension(**dimension) for name, dimension in SPACE.items()}
    phase = PhaseSettings(name="search", epochs=EPOCHS, seed=seed, space=space)
    images = drawn_images("discs", seed, train=TRAIN, validation=VALIDATION)
    folder = cache / f"halving-{TRAIN}-{EPOCHS}-{seed}"
    trainings = record(images, phase, configurations(phase, count), folder)
    return Table("discs", images.train, images.validation, images.test, trainings)


def report(rows: dict[str, list[Outcome]]) -> None:
    """Prints the means of each scheduler, next to no early stopping."""
    means = {
        name: Outcome(*map(statistics.fmean, zip(*found, strict=True)))
        for name, found in rows.items()
    }
    none = means["none"]
    print(f"{'':42}{'image-epochs':>13}{'time':>8}{'validation':>24}{'test':>19}")
    print(
        f"{'none':42}{none.image_epochs:13,.0f}{none.seconds:7.0f}s"
        f"{none.accuracy:24.4f}{none.test_accuracy:19.4f}"
    )
    print(f"{'':42}{'saved':>13}{'saved':>8}{'lost':>24}{'lost':>19}")
    for name, mean in means.items():
        if name != "none":
            pairs = list(zip(rows["none"], rows[name], strict=True))
            validation = _lost([whole.accuracy - own.accuracy for whole, own in pairs])
            test = _lost([whole.test_accuracy - own.test_accuracy for whole, own in pairs])
            print(
                f"{name:42}{none.image_epochs / mean.image_epochs:12.1f}x"
                f"{none.seconds / mean.seconds:7.1f}x{validation:>24}{test:>19}"
            )


def _lost(differences: Sequence[float]) -> str:
    """The mean over the seeds and, of several, its standard error."""
    mean = f"{statistics.fmean(differences):.4f}"
    if len(differences) == 1:
        return mean
    return f"{mean} +- {statistics.stdev(differences) / len(differences) ** 0.5:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, help="recorded trainings (trainings.py)")
    parser.add_argument("--seeds", type=int, help="default: 10 with --table, else 3")
    parser.add_argument("--draws", type=int, default=32, help="trials of a search")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--eta", type=int, default=3)
    parser.add_argument("--patience", action="store_true", help="as trials have it by default")
    parser.add_argument("--cache", type=Path, default=CACHE)
    args = parser.parse_args()
    seeds = args.seeds or (10 if args.table else 3)
    recorded = read_table(args.table) if args.table else None
    if recorded and args.draws > len(recorded.trainings):
        parser.error(f"--draws must be at most {len(recorded.trainings)}, the table's trainings")
    rows: dict[str, list[Outcome]] = {}
    for seed in range(seeds):
        if recorded is None:
            table = small_networks(seed, args.draws, args.cache)
        else:
            table = recorded.drawn(seed, args.draws)
        if args.patience:
            table = table.with_patience()
        epochs = max(training.epochs[-1] for training in table.trainings if training.epochs)
        first_rung = default_phase().first_rung(table.train, 1)
        for name, scheduler in peers(args.eta, epochs, first_rung).items():
            rows.setdefault(name, []).append(replay(table, args.slots, scheduler))
    print(
        f"{args.draws} configurations on {args.table or 'drawn discs'}, {args.slots} at a time, "
        f"means of {seeds} seeds"
    )
    report(rows)


if __name__ == "__main__":
    main()
