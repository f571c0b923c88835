"""What networks achieve and what they cost: the Pareto front of a phase, as a plot and a table."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl

from cnn.report.plots import SOFT, STYLE, TRAIN, VALIDATION, as_logarithm, as_share, new_figure, svg
from cnn.rundir.front import cost_of, front, priced
from cnn.rundir.result import RunResult
from cnn.rundir.trials import TrialResult, objective_value
from cnn.settings.objective import Cost, is_share, metric_words
from cnn.settings.schema import PhaseSettings

# What a cost is called in a plot and in a table, and what it is divided by.
COSTS: Mapping[Cost, tuple[str, str, float]] = {
    "operations": ("million operations for an image", "million operations", 1e6),
    "latency_ms": ("milliseconds for an image", "ms", 1.0),
    "parameters": ("thousand parameters", "thousand parameters", 1e3),
}


def front_view(
    name: str, trials: Sequence[TrialResult], phase: PhaseSettings, result: RunResult
) -> dict[str, Any] | None:
    """The front of a phase; None if its networks do not differ in cost.

    Args:
        name: What is unique on the page.
        trials: The trials of the phase.
        phase: Its settings.
        result: The result of the run.
    """
    cost = cost_of(phase)
    known = priced(trials, phase.objective, cost)
    if len({getattr(trial, cost) for trial in known}) < 2:
        return None
    members = front(known, phase.objective, cost)
    words, brief, unit = COSTS[cost]
    trained = {network.number: network for network in result.pareto}
    rows = [
        {
            "trial": trial,
            "value": objective_value(phase.objective, trial),
            "cost": getattr(trial, cost) / unit,
            "trained": trained.get(trial.number),
        }
        for trial in members
    ]
    return {
        "plot": _plot(name, known, members, phase, result.winner.number),
        "rows": rows,
        "value": metric_words(phase.objective),
        "cost": words,
        "unit": brief,
        "plain": not is_share(phase.objective),
        "any_trained": any(row["trained"] for row in rows),
    }


def _plot(
    name: str,
    trials: Sequence[TrialResult],
    members: Sequence[TrialResult],
    phase: PhaseSettings,
    winner: int,
) -> str:
    """Each trial as a point, the front as a line."""
    cost, objective = cost_of(phase), phase.objective
    words, _, unit = COSTS[cost]

    def line(own: Sequence[TrialResult]) -> tuple[list[float], list[float]]:
        values = [float(objective_value(objective, trial) or 0.0) for trial in own]
        return [getattr(trial, cost) / unit for trial in own], values

    with mpl.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure, axes = new_figure(words, whole=False)
        axes.plot(*line(trials), "o", color=SOFT, alpha=0.8, label="a trial")
        axes.step(*line(members), where="post", color=TRAIN, lw=1.2)
        axes.plot(*line(members), "o", color=TRAIN, ms=5, label="none is better and costs no more")
        won = [trial for trial in trials if trial.number == winner]
        if won:
            x, y = line(won)
            axes.scatter(x, y, 90, "none", edgecolors=VALIDATION, lw=1.8, label="the winner")
        costs, _ = line(trials)
        if max(costs) > 10 * min(costs) > 0:
            as_logarithm(axes)
        if is_share(objective):
            as_share(axes)
        return svg(name, figure, "what each network achieves, by what it costs")
