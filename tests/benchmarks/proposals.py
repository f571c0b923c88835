"""What TPE should be told of trials that are still running: best after N, next to random search.

    python tests/benchmarks/proposals.py             # some minutes on one core
    python tests/benchmarks/proposals.py --seeds 5

Two synthetic objectives with random delays, on simulated slots: the Hartmann function of six
dimensions, and one of the mixed and partly idle parameters that networks have. Both are scaled so
that random search's median after N trials is 1 and the optimum 0: smaller is better.
"""

import argparse
import heapq
import math
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from hyperopt import base, hp, rand, tpe

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


def ours(ids: list[int], domain: Any, trials: Any, seed: int) -> Any:
    return propose(ids, domain, trials, seed, startup=STARTUP)


STRATEGIES: dict[str, Any] = {
    "random": rand.suggest,
    "TPE, stock": stock,
    "told nothing": partial(liar, None),
    "told the best": partial(liar, min),
    "told the median": partial(liar, statistics.median),
    "told the worst": partial(liar, max),
    "ours": ours,
}


def best_after(task: tuple[str, str, int, int]) -> float:
    """The best value of TRIALS trials on simulated slots."""
    objective_name, strategy, slots, seed = task
    function, space = OBJECTIVES[objective_name]
    domain = base.Domain(function, space)
    trials = base.Trials()
    rng = np.random.default_rng(seed)
    delays = 0.5 + rng.exponential(1.0, TRIALS)
    seeds = rng.integers(0, 2**31 - 1, TRIALS)
    running: list[tuple[float, int]] = []
    now, best = 0.0, math.inf

    def finish() -> float:
        done, number = heapq.heappop(running)
        document = next(d for d in trials._dynamic_trials if d["tid"] == number)
        loss = function(point_of(domain, document))
        document["result"] = {"status": "ok", "loss": loss}
        document["state"] = base.JOB_STATE_DONE
        trials.refresh()
        nonlocal best
        best = min(best, loss)
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
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=15)
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 8, 32])
    args = parser.parse_args()
    with ProcessPoolExecutor() as pool:
        for name in OBJECTIVES:
            print(f"{name}: best after {TRIALS}, median of {args.seeds} seeds, random search = 1")
            print(f"  {'':18}" + "".join(f"{slots:4} slots" for slots in args.slots))
            reference: dict[int, float] = {}
            for strategy in STRATEGIES:
                row = []
                for slots in args.slots:
                    tasks = [(name, strategy, slots, seed) for seed in range(args.seeds)]
                    median = statistics.median(pool.map(best_after, tasks))
                    reference.setdefault(slots, median)
                    row.append(median / reference[slots])
                print(f"  {strategy:18}" + "".join(f"{value:10.2f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
