"""Among trials that cannot be told apart, the one whose network costs least to apply.

It is the rule of one standard error (Breiman et al., Classification and Regression Trees, 1984,
section 3.4.3): choose the simplest model within one standard error of the best one.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

from cnn.rundir.front import cost_of
from cnn.rundir.result import Simplest
from cnn.rundir.trials import TrialResult, standard_error, trial_key
from cnn.search.winner import best_trials
from cnn.settings.final import FinalSettings
from cnn.settings.objective import Cost
from cnn.settings.schema import PhaseSettings

# A network is simpler if its cost is below this fraction of another's. What two networks on the
# same backbone differ by is no gain, and a measured time varies.
_SIMPLER = 0.98
_FASTER = 0.9


def has_equals(phase: PhaseSettings, final: FinalSettings) -> bool:
    """Whether it is known which trials of a phase are equally good.

    The standard error is that of a proportion of images, so other objectives than accuracy need a
    stated margin.
    """
    return phase.objective == "val_accuracy" or final.margin is not None


def simplest(
    phase: PhaseSettings,
    final: FinalSettings,
    winner: TrialResult,
    trials: Sequence[TrialResult],
) -> Simplest | None:
    """The network that costs least among those about as good as the winner.

    As good is a trial of the same phase that ran to its end and whose objective is within
    `final.margin` of the winner's or, without a margin, whose accuracy is within one standard error
    of it, that of a proportion of the validation images. If the winner was repeated with other
    seeds, the means over those count, and only trials that were repeated as well.

    The cost is the second objective if there is one, else the number of operations for an image; or
    that of parameters if it is unknown of one of these trials.

    Args:
        phase: The phase of the winner.
        final: The final training's settings.
        winner: The phase's best trial.
        trials: The trials of the phase, or of all phases, with their repetitions.

    Returns:
        The trial's entry in result.json, the winner's own if no simpler network is as good; None
        if the sizes are unknown.
    """
    if not _is_sized(winner):
        return None
    equals = as_good(phase, final, winner, trials)
    name = _compared(phase, equals)
    costs = _costs(phase, equals)
    best = min(equals, key=lambda trial: costs[trial.number])
    less = _FASTER if name == "latency_ms" else _SIMPLER
    if costs[best.number] >= less * costs[winner.number]:
        best = winner
    assert best.accuracy is not None
    assert best.parameters is not None
    return Simplest(
        number=best.number,
        params=best.params,
        accuracy=best.accuracy,
        parameters=best.parameters,
        cost=name,
        operations=best.operations,
        operations_of_best=winner.operations,
        latency_ms=best.latency_ms,
        latency_ms_of_best=winner.latency_ms,
        standard_error=None if final.margin is not None else error_of(winner),
        margin=final.margin,
    )


def possible_winners(
    phase: PhaseSettings, final: FinalSettings, trials: Sequence[TrialResult]
) -> set[int]:
    """The trials of a phase that can still be the winner, by number, whatever later trials do.

    These are the best ones, of which `search.confirm` may repeat some, and with `final.choose =
    "simplest"` each trial that is as good as the best and costs less than all better ones.
    """
    confirm = phase.confirms_always
    if confirm is None:
        # Those of which some are being repeated were found by their own scores.
        trials = [trial for trial in trials if trial.repeats is None]
    top = best_trials(trials, phase.objective, confirm.top if confirm else 1)
    numbers = {trial.number for trial in top}
    if not top or final.choose == "best" or not has_equals(phase, final) or not _is_sized(top[0]):
        return numbers
    lowest = math.inf
    for number, cost in _costs(phase, as_good(phase, final, top[0], trials)).items():
        if cost < lowest:
            numbers.add(number)
            lowest = cost
    return numbers


def as_good(
    phase: PhaseSettings,
    final: FinalSettings,
    winner: TrialResult,
    trials: Sequence[TrialResult],
) -> list[TrialResult]:
    """The trials that are as good as the winner of their phase, itself first, then the best."""
    again: dict[int, list[TrialResult]] = defaultdict(list)
    for trial in trials:
        if trial.repeats is not None:
            again[trial.repeats].append(trial)

    def score(trial: TrialResult) -> float:
        """Of a trial or its repetitions; smaller is better."""
        own = [t for t in again.get(trial.number, []) if t.status in {"ok", "pruned"}]
        return statistics.fmean(
            trial_key(phase.objective, t)[0] if final.margin is not None else 1 - (t.accuracy or 0)
            for t in own or [trial]
        )

    margin = error_of(winner) if final.margin is None else final.margin
    most = score(winner) + margin
    found = [
        trial
        for trial in trials
        if trial.phase == winner.phase
        and trial.number != winner.number
        and trial.repeats is None
        and trial.status == "ok"
        and trial.parameters is not None
        and (winner.number not in again or trial.number in again)
        and score(trial) <= most
    ]
    return [winner, *sorted(found, key=lambda trial: (score(trial), trial.number))]


def _is_sized(trial: TrialResult) -> bool:
    """Whether it is known what others are to be compared with."""
    scored = bool(trial.validation_images) and trial.accuracy is not None
    return scored and trial.parameters is not None


def error_of(trial: TrialResult) -> float:
    """The standard error of the trial's accuracy on the validation images."""
    assert trial.accuracy is not None
    assert trial.validation_images
    return standard_error(trial.accuracy, trial.validation_images)


def _compared(phase: PhaseSettings, trials: Sequence[TrialResult]) -> Cost:
    """Which cost is known of all these trials."""
    wanted = cost_of(phase)
    return wanted if all(getattr(t, wanted) is not None for t in trials) else "parameters"


def _costs(phase: PhaseSettings, trials: Sequence[TrialResult]) -> dict[int, float]:
    """The cost of each by number, in the same order."""
    name = _compared(phase, trials)
    return {trial.number: getattr(trial, name) or 0 for trial in trials}
