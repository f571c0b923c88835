"""Which trials a phase repeats with other seeds before its winner is chosen: `search.confirm`."""

from collections.abc import Sequence
from dataclasses import dataclass

from cnn.rundir.trials import TrialResult, counts
from cnn.search.simplest import possible_winners
from cnn.search.winner import best_trials
from cnn.settings.final import FinalSettings
from cnn.settings.schema import PhaseSettings


@dataclass(frozen=True)
class Confirmation:
    """Trials, the best first, and how often each is repeated."""

    trials: tuple[TrialResult, ...]
    seeds: int


def plan_confirmation(
    phase: PhaseSettings, final: FinalSettings, trials: Sequence[TrialResult], *, saturated: bool
) -> Confirmation | None:
    """What a phase whose search is over repeats; None if it repeats nothing.

    With `only_saturated` these are the best of the trials that may still win a phase that is
    saturated, because they are close, and no more trainings than ending it has saved.

    Args:
        phase: The phase's settings.
        final: The settings of the final training, which say how the winner is chosen.
        trials: The finished trials of the phase; their repetitions do not count.
        saturated: Whether the phase has ended because it was saturated.
    """
    confirm = phase.confirm
    if confirm is None or (confirm.only_saturated and not saturated):
        return None
    if not confirm.only_saturated:
        best = best_trials(trials, phase.objective, confirm.top)
        return Confirmation(tuple(best), confirm.seeds)
    searched = [trial for trial in trials if trial.repeats is None]
    numbers = possible_winners(phase, final, searched)
    best = [t for t in best_trials(trials, phase.objective, len(trials)) if t.number in numbers]
    # Of those that may win, a worse one costs less: with the best one, the cheapest are compared.
    best = [*best[:1], *best[max(1, len(best) - confirm.top + 1) :]]
    saved = phase.max_trials - sum(map(counts, searched))
    seeds = min(confirm.seeds, saved // len(best))
    return Confirmation(tuple(best), seeds) if seeds > 0 and len(best) > 1 else None
