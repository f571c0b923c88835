"""Which strategy proposes best, and what it is best told of trials that still run.

    python tests/benchmarks/proposals.py                                   # hours on one core
    python tests/benchmarks/proposals.py --strategies tpe optuna-tpe       # some minutes
    python tests/benchmarks/proposals.py --strategies optuna-gp --slots 8 --seeds 5

Two synthetic objectives with random delays, on simulated slots: the Hartmann function of six
dimensions, and one of the mixed and partly idle parameters that networks have. The best after N
trials is scaled so that random search's median is 1 and the optimum 0: smaller is better. In
brackets: after how many trials the best so far, in the mean of the seeds, is as good as random
search's after N. Optuna's strategies need the extra `bench`, and optuna-gp torch.
"""

import argparse
import heapq
import itertools
import math
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from hyperopt import base, hp, rand, tpe

from cnn.search import optuna_strategies
from cnn.search.hyperopt_documents import point_of
from cnn.search.strategies import propose

TRIALS, STARTUP = 100, 8
# Hartmann's constants (Dixon and Szegö, 1978).
_A = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])


def hartmann(point: Any) -> float:
    x = np.array([point[f"x{i}"] for i in range(6)])
    return float(3.32237 - _ALPHA @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))


def network(point: Any) -> float:
    """Like a validation error: a rate that matters most, a depth, widths that depend on it."""
    rate = (math.log10(point["rate"]) + 2.7) ** 2
    depth, widths = point["layers"]["depth"], point["layers"]["widths"]
    width = sum((math.log2(w) - 5) ** 2 for w in widths) / depth
    return 0.4 * rate + 0.05 * abs(depth - 3) + 0.03 * width + 0.2 * abs(point["dropout"] - 0.25)


_WIDTHS = [hp.choice(f"width{i}", [8, 16, 32, 64]) for i in range(5)]
OBJECTIVES: dict[str, tuple[Callable[[Any], float], Any]] = {
    "Hartmann 6": (hartmann, {f"x{i}": hp.uniform(f"x{i}", 0, 1) for i in range(6)}),
    "network": (
        network,
        {
            "rate": hp.loguniform("rate", math.log(1e-5), math.log(1)),
            "dropout": hp.uniform("dropout", 0, 0.8),
            "layers": hp.choice(
                "depth", [{"depth": n, "widths": _WIDTHS[:n]} for n in range(1, 6)]
            ),
        },
    ),
}


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


def best_so_far(task: tuple[str, str, int, int]) -> list[float]:
    """The best value after each of TRIALS trials, in the order in which they end."""
    objective_name, strategy, slots, seed = task
    function, space = OBJECTIVES[objective_name]
    domain = base.Domain(function, space)
    trials = base.Trials()
    rng = np.random.default_rng(seed)
    delays = 0.5 + rng.exponential(1.0, TRIALS)
    seeds = rng.integers(0, 2**31 - 1, TRIALS)
    running: list[tuple[float, int]] = []
    now = 0.0
    losses: list[float] = []

    def finish() -> float:
        done, number = heapq.heappop(running)
        document = next(d for d in trials._dynamic_trials if d["tid"] == number)
        loss = function(point_of(domain, document))
        document["result"] = {"status": "ok", "loss": loss}
        document["state"] = base.JOB_STATE_DONE
        trials.refresh()
        losses.append(loss)
        return done

    for number in range(TRIALS):
        if len(running) == slots:
            now = finish()
        documents = STRATEGIES[strategy]([number], domain, trials, int(seeds[number]))
        for document in documents:
            document["state"] = base.JOB_STATE_RUNNING
        trials.insert_trial_docs(documents)
        trials.refresh()
        heapq.heappush(running, (now + delays[number], number))
    while running:
        finish()
    return list(itertools.accumulate(losses, min))


def compared(curves: np.ndarray, random: np.ndarray) -> str:
    """The median best, and after how many trials the mean best is random search's in the end.

    Both arrays have the best so far, by seed and number of trials.
    """
    reached = np.flatnonzero(curves.mean(axis=0) <= random.mean(axis=0)[-1])
    after = str(reached[0] + 1) if len(reached) else f"> {TRIALS}"
    return f"{np.median(curves[:, -1]) / np.median(random[:, -1]):.2f} ({after})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    args = parser.parse_args()
    # Random search is what the others are compared with.
    strategies = dict.fromkeys(["random", *args.strategies])
    os.environ["OMP_NUM_THREADS"] = "1"  # each process of the pool has one core
    with ProcessPoolExecutor() as pool:
        for objective in OBJECTIVES:
            print(f"{objective}: best after {TRIALS} trials, median of {args.seeds} seeds (and")
            print("after how many trials the mean is as good as random search's in the end)")
            print(f"  {'':14}" + "".join(f"{slots:8} slots" for slots in args.slots))
            random: dict[int, np.ndarray] = {}
            for name in strategies:
                print(f"  {name:14}", end="", flush=True)
                for slots in args.slots:
                    tasks = [(objective, name, slots, seed) for seed in range(args.seeds)]
                    curves = np.array(list(pool.map(best_so_far, tasks)))
                    random.setdefault(slots, curves)
                    print(f"{compared(curves, random[slots]):>14}", end="", flush=True)
                print()


if __name__ == "__main__":
    main()
