"""Trials by two objectives: which no other is better than in both."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from cnn.rundir.trials import TrialResult, objective_value, trial_key
from cnn.settings.objective import Cost, Objective
from cnn.settings.schema import PhaseSettings

# The folder of a run with a folder for each network of the front that was trained too, by trial.
PARETO = "pareto"


def ranks(points: Sequence[tuple[float, float]]) -> list[int]:
    """Sorts points into fronts (Deb et al., 2002, NSGA-II: non-dominated sorting).

    A point dominates another if it is not larger in either value and smaller in one.

    Args:
        points: Pairs of values of which smaller is better.

    Returns:
        The front of each point, from 0: that of points that no other dominates. Without these,
        front 1 would be front 0, and so on.

    >>> ranks([(0.1, 5.0), (0.3, 2.0), (0.2, 5.0), (0.4, 9.0)])
    [0, 0, 1, 2]
    """
    # Of each front, the lowest second value so far. It never falls from one front to the next.
    lowest: list[float] = []
    found: dict[tuple[float, float], int] = {}
    for point in sorted(set(points)):
        # Points before it have no larger first value.
        rank = bisect_right(lowest, point[1])
        lowest[rank : rank + 1] = [point[1]]
        found[point] = rank
    return [found[point] for point in points]


def cost_of(phase: PhaseSettings) -> Cost:
    """What the networks of a phase cost: its second objective, or else their operations."""
    return phase.cost or "operations"


def priced(trials: Iterable[TrialResult], objective: Objective, cost: Cost) -> list[TrialResult]:
    """The trials that ran to their end and have a value of the objective and a cost.

    Repetitions of trials are left out.
    """
    return [
        trial
        for trial in trials
        if trial.status == "ok"
        and trial.repeats is None
        and objective_value(objective, trial) is not None
        and getattr(trial, cost) is not None
    ]


def front(trials: Iterable[TrialResult], objective: Objective, cost: Cost) -> list[TrialResult]:
    """The Pareto front: trials than which none is better and costs no more, the cheapest first.

    Of several with the same value and cost the first one is taken.
    """
    known = priced(trials, objective, cost)
    points = [(trial_key(objective, trial)[0], float(getattr(trial, cost))) for trial in known]
    first: dict[tuple[float, float], TrialResult] = {}
    for trial, point, rank in zip(known, points, ranks(points), strict=True):
        if rank == 0:
            first.setdefault(point, trial)
    return sorted(first.values(), key=lambda trial: getattr(trial, cost))
