"""Which trial of a phase wins, and how large the selection bias of its score is.

The best of many noisy scores is partly luck: trained again with other seeds, the trial is worse on
average. The mean over those seeds has no selection bias.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cnn.rundir.result import CandidateResult, ConfirmationResult
from cnn.rundir.trials import Key, TrialResult, best_trial, objective_value, trial_key
from cnn.settings.objective import Objective
from cnn.settings.schema import PhaseSettings


@dataclass(frozen=True)
class Candidate:
    """A trial, and its repetitions with other seeds that have a score."""

    trial: TrialResult
    repeats: tuple[TrialResult, ...] = ()

    def scores(self, objective: Objective) -> list[float]:
        """The repetitions' values of the objective."""
        return [_score(objective, trial) for trial in self.repeats]

    def mean_key(self, objective: Objective) -> Key:
        """The mean key of the repetitions; it ranks last if none has a score."""
        keys = [trial_key(objective, trial) for trial in self.repeats]
        if not keys:
            return math.inf, math.inf
        first, second = (statistics.fmean(values) for values in zip(*keys, strict=True))
        return first, second


def best_trials(trials: Sequence[TrialResult], objective: Objective, top: int) -> list[TrialResult]:
    """The `top` best trials that ran to their end, the best first."""
    done = [trial for trial in trials if trial.status == "ok" and trial.repeats is None]
    return sorted(done, key=lambda trial: (trial_key(objective, trial), trial.number))[:top]


def candidates(phase: PhaseSettings, trials: Sequence[TrialResult]) -> list[Candidate]:
    """The trials that are repeated, the best of the search first, with their repetitions."""
    if phase.confirm is None:
        return []
    found = best_trials(trials, phase.objective, phase.confirm.top)
    if phase.confirm.only_saturated:
        repeated = {trial.repeats for trial in trials}
        every = best_trials(trials, phase.objective, len(trials))
        # A better trial of a search that was extended has no repetitions to be compared by.
        comparable = bool(every) and every[0].number in repeated
        found = [trial for trial in every if comparable and trial.number in repeated]
    scored = [trial for trial in trials if trial.status in {"ok", "pruned"}]
    return [
        Candidate(best, tuple(trial for trial in scored if trial.repeats == best.number))
        for best in found
    ]


def choose(phase: PhaseSettings, trials: Sequence[TrialResult]) -> TrialResult | None:
    """The winner: by the mean of the repetitions if all candidates have some, else by its score."""
    found = candidates(phase, trials)
    if not found or not all(candidate.repeats for candidate in found):
        return best_trial(trials, phase.objective)
    return min(found, key=lambda c: (c.mean_key(phase.objective), c.trial.number)).trial


def confirmation(phase: PhaseSettings, trials: Sequence[TrialResult]) -> ConfirmationResult | None:
    """What the repetitions with other seeds found; None if there are none."""
    found = candidates(phase, trials)
    if not any(candidate.repeats for candidate in found):
        return None
    objective = phase.objective
    entries = []
    for candidate in found:
        scores = candidate.scores(objective)
        entries.append(
            CandidateResult(
                number=candidate.trial.number,
                score=_score(objective, candidate.trial),
                repeats=tuple(trial.number for trial in candidate.repeats),
                scores=tuple(scores),
                mean=statistics.fmean(scores) if scores else None,
                spread=_spread(scores),
            )
        )
    first, selection_bias = entries[0], None
    if first.score is not None and first.mean is not None:
        selection_bias = first.score - first.mean
        selection_bias = -selection_bias if objective == "val_loss" else selection_bias
    return ConfirmationResult(
        objective=objective, candidates=tuple(entries), selection_bias=selection_bias
    )


def expected_accuracy(winner: TrialResult, trials: Sequence[TrialResult]) -> float:
    """The validation accuracy that another training of the winner is expected to reach."""
    again = [t.accuracy for t in trials if t.repeats == winner.number and t.accuracy is not None]
    assert winner.accuracy is not None
    return statistics.fmean(again) if again else winner.accuracy


def _spread(scores: Sequence[float]) -> float | None:
    """The standard deviation; None if it is unknown."""
    known = len(scores) > 1 and all(map(math.isfinite, scores))
    return statistics.stdev(scores) if known else None


def _score(objective: Objective, trial: TrialResult) -> float:
    value = objective_value(objective, trial)
    return math.nan if value is None else value
