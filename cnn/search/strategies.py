"""Strategies: which configuration to propose next, as Hyperopt algorithms.

A proposal depends only on (seed, phase, number) and, with a strategy that learns, on the known
results. It never depends on the state of a random generator, so that a resumed search proposes the
same. `optuna_strategies` has the strategies of Optuna.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

from hyperopt import base, rand, tpe

from cnn.core.seeds import derive_seed
from cnn.rundir.earlier_runs import NOTHING, EarlierRuns
from cnn.search import optuna_strategies
from cnn.search.grid import GRID
from cnn.search.hyperopt_documents import Vals, document_of
from cnn.search.space import SearchSpace
from cnn.search.two_objectives import with_costs
from cnn.search.warm_start import documents_of, with_earlier

# Hyperopt's interface: (new ids, domain, trials, seed) -> trial documents, none when exhausted.
Suggest = Callable[[list[int], base.Domain, base.Trials, int], list[dict[str, Any]]]

# After this many draws that repeat earlier points, the next draw is random.
_DRAWS = 10
# After this many points that could not be built a strategy proposes even before it has results: it
# learns at least where networks are impossible.
_REFUSED = 100


def strategy(
    space: SearchSpace,
    first_number: int,
    points: Mapping[int, Vals] | None = None,
    earlier: EarlierRuns = NOTHING,
    others: Collection[int] = (),
) -> Suggest:
    """The phase's strategy as a Hyperopt algorithm.

    Asked again for the same number, it proposes another configuration, because the first one
    repeated an earlier trial.

    Args:
        space: The phase's search space.
        first_number: The number of the phase's first trial.
        points: Points to propose at the given places, counted from 0, instead.
        earlier: Trials of earlier runs with the same search space, for a strategy that learns.
        others: Numbers in between that other trials have; they are no places.
    """
    phase, points = space.phase, points or {}
    before = documents_of(earlier, space)
    asked: Counter[int] = Counter()

    def suggest(
        new_ids: list[int], domain: base.Domain, trials: base.Trials, seed: int
    ) -> list[dict[str, Any]]:
        (number,) = new_ids
        place = number - first_number - sum(other < number for other in others)
        attempt = asked[number]
        asked[number] += 1
        if place in points and attempt == 0:
            return [document_of(number, points[place], domain.new_result(), base.JOB_STATE_NEW)]
        if space.is_grid:
            index = _grid_index(place, points)
            if attempt or index >= space.grid_size():
                return []
            vals = {GRID: [index]}
            return [document_of(number, vals, domain.new_result(), base.JOB_STATE_NEW)]
        own = derive_seed(phase.seed, "proposal", phase.name, place, attempt)
        if phase.strategy == "random" or attempt >= _DRAWS:
            documents: list[dict[str, Any]] = rand.suggest(new_ids, domain, trials, own)
            return documents
        known = with_costs(trials) if phase.cost else trials
        known = with_earlier(known, before) if before else known
        startup, strategy = phase.startup_trials, phase.strategy
        return propose(new_ids, domain, known, own, startup=startup, strategy=strategy)

    return suggest


def propose(
    new_ids: list[int],
    domain: base.Domain,
    trials: base.Trials,
    seed: int,
    *,
    startup: int,
    strategy: str = "tpe",
) -> list[dict[str, Any]]:
    """Proposes at random until `startup` trials have ended, then with a strategy that learns.

    Points that were refused are no trials. Hyperopt's own start-up phase would count them, and
    running trials as well. Its TPE takes a running trial for an infinitely bad one.
    """
    ended = [document for document in trials.trials if document["state"] == base.JOB_STATE_DONE]
    refused = sum("refused" in document["result"] for document in ended)
    if len(ended) - refused < startup and refused < _REFUSED:
        documents: list[dict[str, Any]] = rand.suggest(new_ids, domain, trials, seed)
    elif strategy == "tpe":
        documents = tpe.suggest(new_ids, domain, trials, seed, n_startup_jobs=0, verbose=False)
    else:
        documents = optuna_strategies.suggest(new_ids, domain, trials, seed, strategy=strategy)
    return documents


def _grid_index(place: int, points: Mapping[int, Vals]) -> int:
    """The index of the next grid point, skipping the points that were given."""
    index = place - len(points)
    for tried in sorted(vals[GRID][0] for vals in points.values()):
        if tried <= index:
            index += 1
    return index
