"""What it saves and costs to end a search that is saturated, on recorded trainings.

    python tests/benchmarks/saturation.py --table tests/benchmarks/data/rings.parquet   # a minute

Each of --draws searches gets a table's trainings (trainings.py) in a random order, as random search
would, without early stopping but with the program's patience. It ends where `search.saturation`
ends it (cnn/search/saturation.py), with its defaults. Lost is accuracy of the trial that wins, the
one with the best validation accuracy, next to the winner of all trials.
"""

import argparse
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tables import Table, Training, default_phase, read_table

from cnn.rundir.trials import TrialResult
from cnn.search.saturation import saturated
from cnn.search.winner import best_trials
from cnn.settings.schema import PhaseSettings

_START = datetime(2026, 1, 1, tzinfo=UTC)


class Ending(NamedTuple):
    """Where a search ends, and what is lost and saved in comparison with its last trial."""

    trials: float
    seconds_saved: float
    accuracy_lost: float
    test_accuracy_lost: float


def as_trial(number: int, training: Training, validation_images: int) -> TrialResult:
    """A recorded training as the result of a trial."""
    known = {
        "number": number,
        "phase": "search",
        "params": training.params,
        "started": _START,
        "ended": _START + timedelta(seconds=training.seconds * max(training.epochs, default=1)),
        "validation_images": validation_images,
        "parameters": training.parameters,
        "operations": training.operations,
    }
    if training.status == "ok":
        look = training.best(len(training.epochs) - 1)
        known |= {"accuracy": training.val_accuracy[look], "loss": training.val_loss[look]}
    return TrialResult.model_validate({**known, "status": training.status})


def ending(phase: PhaseSettings, table: Table) -> Ending:
    """Where a search that makes the trainings of a table, in this order, ends."""
    trials = [as_trial(n, one, table.validation) for n, one in enumerate(table.trainings)]
    count = next(
        (n for n in range(1, len(trials)) if saturated(phase, trials[:n]) is not None), len(trials)
    )
    seconds = [(trial.ended - trial.started).total_seconds() for trial in trials]

    def scores(made: Sequence[TrialResult]) -> tuple[float, float]:
        (best,) = best_trials(made, phase.objective, 1)
        training = table.trainings[best.number]
        look = training.best(len(training.epochs) - 1)
        return training.val_accuracy[look], training.test_accuracy[look]

    (accuracy, tested), (early, early_tested) = scores(trials), scores(trials[:count])
    saved = 1 - sum(seconds[:count]) / sum(seconds)
    return Ending(count, saved, accuracy - early, tested - early_tested)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--trials", type=int, nargs="+", default=[60, 100], help="of a search")
    parser.add_argument("--draws", type=int, default=200)
    args = parser.parse_args()
    table = read_table(args.table).with_patience()
    if max(args.trials) > len(table.trainings):
        parser.error(f"--trials must be at most {len(table.trainings)}, the table's trainings")
    print(f"{args.table}: means of {args.draws} searches with random search")
    print(
        f"{'of':>6}{'ended early':>13}{'trials made':>13}{'trials saved':>14}{'time saved':>12}"
        f"{'validation lost':>17}{'test lost':>23}{'at most':>9}"
    )
    for most in args.trials:
        phase = default_phase(max_trials=most, saturation=True)
        endings = [ending(phase, table.drawn(draw, most)) for draw in range(args.draws)]
        mean = Ending(*map(statistics.fmean, zip(*endings, strict=True)))
        lost = [one.test_accuracy_lost for one in endings]
        error = statistics.stdev(lost) / len(lost) ** 0.5
        print(
            f"{most:6}{sum(one.trials < most for one in endings) / len(endings):13.0%}"
            f"{mean.trials:13.1f}{1 - mean.trials / most:14.0%}{mean.seconds_saved:12.0%}"
            f"{mean.accuracy_lost:17.4f}{mean.test_accuracy_lost:13.4f} +- {error:.4f}"
            f"{max(lost):9.4f}"
        )


if __name__ == "__main__":
    main()
