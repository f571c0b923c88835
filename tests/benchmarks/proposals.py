"""Which strategy proposes best, and what it is best told of trials that still run.

    python tests/benchmarks/proposals.py                                   # hours on one core
    python tests/benchmarks/proposals.py --strategies tpe optuna-tpe       # some minutes
    python tests/benchmarks/proposals.py --strategies optuna-gp --slots 8 --seeds 5
    python tests/benchmarks/proposals.py --table tests/benchmarks/data/rings.parquet

Two synthetic objectives with random delays, on simulated slots: the Hartmann function of six
dimensions, and one of the mixed and partly idle parameters that networks have. The best after N
trials (--after, by default 20, as many as searches have, and 100) is scaled so that random search's
median is 1 and the optimum 0: smaller is better. In brackets: after how many trials the best so
far, in the mean of the seeds, is as good as random search's after N. Optuna's strategies need the
extra `bench`, and optuna-gp torch.

With --table, trainings are searched instead: a model of recorded ones (surrogate.py) answers what a
training of any configuration of the default space comes to, and how long it takes. The figures are
means over the seeds of the best validation accuracy after N trials, and of the accuracy on the test
set that a training of that configuration has in the middle. First it says how far to trust it.
With --noiseless each configuration has one answer, that in the middle.
"""

import argparse
import heapq
import itertools
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hyperopt import base, rand, tpe
from made_up_objectives import OBJECTIVES, Objective
from surrogate import Surrogate
from tables import default_phase, read_table

from cnn.search import optuna_strategies
from cnn.search.hyperopt_documents import point_of
from cnn.search.space import SearchSpace
from cnn.search.strategies import propose

TRIALS, STARTUP = 100, 8


@cache
def objective(name: str, noiseless: bool) -> Objective:
    """One of OBJECTIVES, or trainings like those of the table with this path."""
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    model = Surrogate(read_table(Path(name)).with_patience())
    space = SearchSpace(default_phase())

    def evaluate(point: Any, noise: int) -> tuple[float, float]:
        answer = model.answer(space.params(point), None if noiseless else noise)
        return answer.loss, answer.seconds

    return Objective(
        space.expression(),
        evaluate,
        lambda points: model.test_accuracies([space.params(point) for point in points]),
    )


def _lied(lie: Callable[[list[float]], float] | None, trials: base.Trials) -> base.Trials:
    """The trials with `lie(losses)` as the result of those that run, or without them."""
    losses = [d["result"]["loss"] for d in trials.trials if d["result"].get("loss") is not None]
    documents = []
    for document in trials.trials:
        if document["result"].get("loss") is None:
            if lie is None:
                continue
            document = {**document, "result": {"status": "ok", "loss": lie(losses)}}
        documents.append(document)
    return base.trials_from_docs(documents, validate=False)


def liar(
    lie: Callable[[list[float]], float] | None,
    ids: list[int],
    domain: Any,
    trials: Any,
    seed: int,
) -> Any:
    """TPE after so many finished trials, with a lie about those that run."""
    if sum(d["result"].get("loss") is not None for d in trials.trials) < STARTUP:
        return rand.suggest(ids, domain, trials, seed)
    # What it returns is made by the trials that it is given, and fits any.
    told = _lied(lie, trials)
    return tpe.suggest(ids, domain, told, seed, n_startup_jobs=0, verbose=False)


def stock(ids: list[int], domain: Any, trials: Any, seed: int) -> Any:
    return tpe.suggest(ids, domain, trials, seed, n_startup_jobs=STARTUP, verbose=False)


def ours(strategy: str, ids: list[int], domain: Any, trials: Any, seed: int) -> Any:
    return propose(ids, domain, trials, seed, startup=STARTUP, strategy=strategy)


STRATEGIES: dict[str, Any] = {
    "random": rand.suggest,
    # Hyperopt's TPE as it comes, and told this of running trials; ours is `tpe`.
    "stock-tpe": stock,
    "told-nothing": partial(liar, None),
    "told-best": partial(liar, min),
    "told-median": partial(liar, statistics.median),
    "told-worst": partial(liar, max),
    **{name: partial(ours, name) for name in ("tpe", *optuna_strategies.STRATEGIES)},
}


class Task(NamedTuple):
    """One search."""

    objective: str
    strategy: str
    slots: int
    seed: int
    noiseless: bool = False


def best_so_far(task: Task) -> np.ndarray:
    """The best loss after each of TRIALS trials, in the order in which they end: (1, TRIALS).

    With a test set, the accuracies of these trials on it are a second row.
    """
    space, evaluate, test = objective(task.objective, task.noiseless)
    domain = base.Domain(lambda point: 0.0, space)
    trials = base.Trials()
    rng = np.random.default_rng(task.seed)
    delays = 0.5 + rng.exponential(1.0, TRIALS)
    seeds = rng.integers(0, 2**31 - 1, TRIALS)
    running: list[tuple[float, int, float]] = []
    now = 0.0
    points: list[Any] = []
    # In the order in which trials end.
    losses: list[tuple[float, int]] = []

    def finish() -> float:
        done, number, loss = heapq.heappop(running)
        document = next(d for d in trials._dynamic_trials if d["tid"] == number)
        document["result"] = {"status": "ok", "loss": loss}
        document["state"] = base.JOB_STATE_DONE
        trials.refresh()
        losses.append((loss, number))
        return done

    for number in range(TRIALS):
        if len(running) == task.slots:
            now = finish()
        (document,) = STRATEGIES[task.strategy]([number], domain, trials, int(seeds[number]))
        document["state"] = base.JOB_STATE_RUNNING
        trials.insert_trial_docs([document])
        trials.refresh()
        points.append(point_of(domain, document))
        loss, length = evaluate(points[number], int(seeds[number]))
        heapq.heappush(running, (now + (length or delays[number]), number, loss))
    while running:
        finish()
    best = list(itertools.accumulate(losses, min))
    rows = [[loss for loss, _ in best]]
    if test is not None:
        rows.append([*test([points[number] for _, number in best])])
    return np.array(rows)


def compared(curves: np.ndarray, random: np.ndarray) -> list[str]:
    """A cell for each kind of curve, as (kinds, seeds, trials).

    Without a test set it is the median best, else the mean accuracy. In brackets is after how many
    trials the mean best is what random search's is in the end.
    """
    if len(curves) == 1:
        return [
            f"{np.median(curves[0, :, -1]) / np.median(random[0, :, -1]):.2f}"
            + _after(curves[0], random[0])
        ]
    losses, tested = curves
    return [
        f"{1 - losses[:, -1].mean():.4f}" + _after(losses, random[0]),
        f"{tested[:, -1].mean():.4f}" + _after(-tested, -random[1]),
    ]


def _after(losses: np.ndarray, random: np.ndarray) -> str:
    reached = np.flatnonzero(losses.mean(axis=0) <= random.mean(axis=0)[-1])
    return f" ({reached[0] + 1})" if len(reached) else f" (> {random.shape[1]})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--after",
        type=int,
        nargs="+",
        default=[20, TRIALS],
        choices=range(1, TRIALS + 1),
        metavar="N",
    )
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--table", type=Path, help="recorded trainings (trainings.py)")
    parser.add_argument("--noiseless", action="store_true", help="the mean answer to each point")
    args = parser.parse_args()
    # Random search is what the others are compared with.
    strategies = dict.fromkeys(["random", *args.strategies])
    os.environ["OMP_NUM_THREADS"] = "1"  # each process of the pool has one core
    if args.table:
        squared, ranks = Surrogate(read_table(args.table).with_patience()).trust()
        print(f"cross-validated on the table: R² {squared:.2f}, Spearman's correlation {ranks:.2f}")
    with ProcessPoolExecutor() as pool:
        for name in [str(args.table)] if args.table else OBJECTIVES:
            what = "mean" if args.table else "median"
            print(f"{name}: the best of a search, {what} of {args.seeds} seeds (and after how")
            print("many trials the mean is as good as random search's in the end)")
            print(f"  {'':25}" + "".join(f"{slots:10} slots" for slots in args.slots))
            random: dict[int, np.ndarray] = {}
            for strategy in strategies:
                found = {}
                for slots in args.slots:
                    tasks = [
                        Task(name, strategy, slots, seed, args.noiseless)
                        for seed in range(args.seeds)
                    ]
                    found[slots] = np.stack(list(pool.map(best_so_far, tasks)), axis=1)
                random = random or found
                for number in args.after:
                    cells = [
                        compared(found[slots][..., :number], random[slots][..., :number])
                        for slots in args.slots
                    ]
                    names = (f"{strategy:13} {number:3} trials", "on the test set")
                    for title, row in zip(names, zip(*cells, strict=True), strict=False):
                        print(f"  {title:25}" + "".join(f"{c:>16}" for c in row), flush=True)


if __name__ == "__main__":
    main()
