"""What a strategy is told of trials that have two objectives: their order."""

import math
from collections.abc import Sequence
from typing import Any

from hyperopt import STATUS_OK, base

from cnn.rundir.front import ranks


def with_costs(trials: base.Trials) -> base.Trials:
    """The trials with losses that rank them by their loss and their cost together.

    Every strategy uses only the order of losses. A TPE with the order of `places` is that of Ozaki
    et al. (2020, GECCO) but for the order within a front.

    Args:
        trials: Hyperopt's trials. The `result` of those with a score has what
            `cnn.train.hyperopt_result.document` gives it.
    """
    documents = trials.trials
    scored = [d for d in documents if d["result"].get("status") == STATUS_OK]
    results = [document["result"] for document in scored]
    found = places([(one["value"], one["cost"]) for one in results], [r["loss"] for r in results])
    order = {document["tid"]: place for document, place in zip(scored, found, strict=True)}

    def told(document: dict[str, Any]) -> dict[str, Any]:
        if document["tid"] not in order:
            return document
        return {**document, "result": {**document["result"], "loss": order[document["tid"]]}}

    ordered = base.Trials()
    ordered.insert_trial_docs([told(document) for document in documents])
    ordered.refresh()
    return ordered


def places(points: Sequence[tuple[float, float]], losses: Sequence[float]) -> list[float]:
    """The places of trials in their order, from 0 to 1.

    Trials of an earlier front come first, and within a front those whose neighbours on it are
    farther away (Deb et al., 2002, NSGA-II), so that all of the front is searched.

    Args:
        points: The two objectives of each, of which smaller is better.
        losses: By which trials are ordered that these do not tell apart.

    >>> places([(0.1, 5.0), (0.1, 7.0), (0.3, 2.0), (0.1, 5.0)], losses=[0.2, 0.3, 0.4, 0.1])
    [0.375, 0.875, 0.625, 0.125]
    """
    fronts = ranks(points)
    room = [0.0] * len(points)
    for one in set(fronts):
        members = [index for index, own in enumerate(fronts) if own == one]
        for index, distance in _crowding(points, members).items():
            room[index] = distance
    order = sorted(range(len(points)), key=lambda i: (fronts[i], -room[i], losses[i], i))
    found = [0.0] * len(points)
    for place, index in enumerate(order):
        found[index] = (place + 0.5) / len(points)
    return found


def _crowding(points: Sequence[tuple[float, float]], members: Sequence[int]) -> dict[int, float]:
    """How far the neighbours of each point of a front are apart; infinite at its ends."""
    found = dict.fromkeys(members, 0.0)
    for axis in (0, 1):
        line = sorted(members, key=lambda index: points[index][axis])
        length = points[line[-1]][axis] - points[line[0]][axis]
        found[line[0]] = found[line[-1]] = math.inf
        for before, own, after in zip(line, line[1:], line[2:], strict=False):
            if 0 < length < math.inf:
                found[own] += (points[after][axis] - points[before][axis]) / length
    return found
