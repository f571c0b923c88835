"""All phases of a search, in order."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from cnn.core.clock import now
from cnn.core.directory import Directory
from cnn.core.errors import Error
from cnn.rundir.result import PhaseResult
from cnn.rundir.trials import TRIALS, TrialResult, count_by_status, counts
from cnn.search.backbones import backbone_remarks
from cnn.search.context import Search
from cnn.search.continued import winner_after
from cnn.search.limits import unknown_costs
from cnn.search.phase import run_phase
from cnn.search.preflight import remarks
from cnn.search.progress import numbering
from cnn.search.simplest import has_equals, simplest
from cnn.search.space import SearchSpace
from cnn.search.trials_table import in_order, short
from cnn.search.winner import choose, confirmation
from cnn.settings.final import FinalSettings
from cnn.settings.objective import has_own_field, metric_words
from cnn.settings.schema import PhaseSettings
from cnn.spark.session import shortcomings
from cnn.train.job import Origin


@dataclass
class History:
    """The results of the phases so far."""

    trials: list[TrialResult] = field(default_factory=list)
    # By phase: its best trial. Then the phases' entries and notes for result.json.
    best: dict[str, TrialResult] = field(default_factory=dict)
    entries: list[PhaseResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # By phase: what its networks started from.
    origins: dict[str, Origin] = field(default_factory=dict)
    # By phase: the trial that wins once the phase is over.
    winners: dict[str, TrialResult] = field(default_factory=dict)

    @property
    def winner(self) -> TrialResult:
        """The best trial of the search so far."""
        return list(self.winners.values())[-1]


def run_phases(search: Search) -> History:
    """Runs the phases in order.

    If the timeout ends a phase before one of its trials is done, the best trial of the phase before
    it wins.

    Raises:
        Error: Every trial of a phase failed. The run directory keeps its files.
    """
    history = History()
    started = now()

    def note(text: str) -> None:
        history.notes.append(text)
        search.say(text)

    for shortcoming in shortcomings(search.spark.sparkContext):
        note(shortcoming)
    for text in backbone_remarks(search.pretrained.backbones, search.manifest):
        note(text)
    for phase in search.settings.phases:
        for text in remarks(phase, search.manifest, search.settings.few_images):
            note(text)
        found = history.best[phase.origin].params if phase.origin else None
        space = SearchSpace(phase, found, kind=search.settings.model.params_kind)
        if space.is_grid and space.grid_size() > phase.max_trials:
            note(
                f"phase {phase.name} tries only the first {phase.max_trials} of the grid's "
                f"{space.grid_size()} points (search.max_trials)"
            )
        if phase.start is not None:
            history.origins[phase.name] = _origin(search, history.best[phase.start])
            search = dataclasses.replace(search, origins=history.origins)
        first_number = history.trials[-1].number + 1 if history.trials else 0
        trials, ended = run_phase(search, phase, space, first_number, _time_left(phase, started))
        history.trials += trials
        for text in unknown_costs(phase, trials):
            note(text)
        if ended is not None:
            note(f"phase {phase.name} ended early: {ended}")
        best = choose(phase, trials)
        if best is None:
            if history.best and any(trial.status == "cancelled" for trial in trials):
                note(f"the timeout was reached in phase {phase.name} before a trial was done")
                return history
            raise without_best(search.run, phase, trials)
        history.best[phase.name] = best
        winner = winner_after(search, phase, best, history.winners)
        history.winners[phase.name] = winner
        entry = _phase_entry(phase, search.settings.final, best, trials)
        if phase.start is not None:
            entry = entry.model_copy(update={"improved": winner is best})
        history.entries.append(entry)
        which = f"{best.number}{_numbering(trials)}"
        search.say(f"phase {phase.name}: best is trial {which}, {_describe(space, best)}")
        if winner is not best:
            note(
                f"phase {phase.name} did not improve on trial {winner.number} of phase "
                f"{winner.phase} by more than chance: trial {winner.number} wins so far"
            )
    return history


def choose_winner(search: Search, history: History) -> TrialResult:
    """The trial that is trained in the end, as `final.choose` says."""
    settings = search.settings
    best, final = history.winner, settings.final
    phase = settings.phase(best.phase)
    if final.choose == "best" or not has_equals(phase, final):
        return best
    found = simplest(phase, final, best, history.trials)
    if found is None or found.number == best.number:
        return best
    winner = next(trial for trial in history.trials if trial.number == found.number)
    search.say(
        f"trial {winner.number} is about as good as trial {best.number}, validation accuracy "
        f"{winner.accuracy:.4f} and {best.accuracy:.4f}, and simpler: it is the winner "
        "(final.choose)"
    )
    return winner


def _origin(search: Search, best: TrialResult) -> Origin:
    """What a phase starts from: the best trial of the phase that it names."""
    assert best.seed is not None
    return Origin(
        job=search.job(search.settings.phase(best.phase)),
        number=best.number,
        params=search.settings.model.params_kind.model_validate(best.params),
        seed=best.seed,
        epochs=best.best_epoch or len(best.epochs),
        head_epochs=best.head.best_epoch if best.head else None,
    )


def _time_left(phase: PhaseSettings, started: datetime) -> float | None:
    if phase.timeout is None:
        return None
    return max(0.1, phase.timeout - (now() - started).total_seconds())


def without_best(run: Directory, phase: PhaseSettings, trials: Sequence[TrialResult]) -> Error:
    """Why no trial of a phase can win: all failed, or none was done when the timeout came."""
    where = f"see {run.uri}/{TRIALS}"
    ended = [trial for trial in trials if trial.status != "cancelled"]
    failed = [trial for trial in ended if trial.error and trial.status != "invalid"]
    if not failed and (len(ended) < len(trials) or not ended):
        return Error(f"no trial of phase {phase.name!r} finished before the timeout; {where}")
    first = next(iter(failed or ended))
    return Error(
        f"all {len(ended)} trials of phase {phase.name!r} failed; "
        f"the first, trial {first.number} ({first.status}): {first.cause()}; {where}"
    )


def _phase_entry(
    phase: PhaseSettings,
    final: FinalSettings,
    best: TrialResult,
    trials: Sequence[TrialResult],
) -> PhaseResult:
    return PhaseResult(
        name=phase.name,
        strategy=phase.strategy,
        objective=phase.objective,
        best=best.number,
        params=best.params,
        trials=count_by_status(trials),
        train_images=best.train_images,
        epochs=phase.epochs,
        confirmation=confirmation(phase, trials),
        simplest=simplest(phase, final, best, trials) if has_equals(phase, final) else None,
    )


def _numbering(trials: Sequence[TrialResult]) -> str:
    """Explains why a trial's number exceeds the number of trials; empty if it does not."""
    own = [trial for trial in trials if trial.repeats is None]
    reasons = numbering(sum(trial.status == "invalid" for trial in own), own[0].number)
    return f" ({sum(map(counts, own))} done, {', '.join(reasons)})" if reasons else ""


def _describe(space: SearchSpace, trial: TrialResult) -> str:
    """A trial's score and parameters, those that the search varied first."""
    names = in_order([name for name in trial.params if name in space.varying])
    names += [name for name in trial.params if name not in names]
    values = ", ".join(f"{name} {short(trial.params[name])}" for name in names)
    objective = space.phase.objective
    score = f"validation accuracy {trial.accuracy:.4f}"
    if not has_own_field(objective) and trial.objective is not None:
        score = f"validation {metric_words(objective)} {trial.objective:.4g}, {score}"
    return f"{score} with {values}"
