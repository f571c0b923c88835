"""What a search learns from earlier runs, whose data may have been others.

Their best configurations are tried first. Where an earlier run had the same search space, the
strategy also learns from all its trials. Scores of different runs cannot be compared, but it uses
only their order: each trial counts by its place among the trials of its own run. So does each trial
of this run, once it has one.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperopt import STATUS_OK, base

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.rundir.earlier_runs import NOTHING, EarlierRuns, EarlierTrial
from cnn.rundir.trials import TrialResult, best_trial, read_trials, trial_key
from cnn.search.hyperopt_documents import Vals, document_of
from cnn.search.space import SearchSpace
from cnn.search.two_objectives import places
from cnn.settings.objective import Cost, Objective, cost_name, has_own_field
from cnn.settings.schema import Settings
from cnn.settings.toml import read_settings, settings_text

WARM_START = Option("warm_start")
# How many of the best configurations of a run with another search space are tried first.
_POINTS = 3


class WarmStart(NamedTuple):
    """Settings whose first phase begins with the best of earlier runs; what is known; remarks."""

    settings: Settings
    earlier: EarlierRuns
    remarks: tuple[str, ...]


class _Inside(NamedTuple):
    """A trial of an earlier run that is in the new space."""

    # Among the trials of its run, from 0.
    rank: int
    trial: TrialResult
    # What the new space varies, and the same as Hyperopt has it.
    point: dict[str, Any]
    vals: Vals


def warm_start(settings: Settings, runs: Sequence[Directory]) -> WarmStart:
    """Takes from earlier runs what the first phase of a search can use.

    Args:
        settings: The new search's settings.
        runs: The earlier runs' directories.

    Returns:
        The changed settings, and what is known. Only the parameters that the search varies are
        taken; a configuration outside the search space is left out, and a remark says so.

    Raises:
        InputError: An earlier run has no finished trial.
    """
    if not runs:
        return WarmStart(settings, NOTHING, ())
    first, *others = settings.phases
    space = SearchSpace(first, kind=settings.model.params_kind)
    points, known, remarks = list(first.points), [], []
    for run in runs:
        same, trials, objective = _trials_of(run, settings)
        cost = first.cost if _all_have(trials, first.cost) else None
        ranked = _ranked(trials, objective, cost)
        if not ranked:
            raise InputError(
                "{} must name a run with a finished trial, but {} has none", WARM_START, run.uri
            )
        inside, outside = list[_Inside](), []
        for rank, trial in enumerate(ranked):
            point = {name: trial.params[name] for name in space.varying if name in trial.params}
            try:
                inside.append(_Inside(rank, trial, point, space.encode(point)))
            except InputError as error:
                outside.append((trial, error))
        if same:
            known += [
                EarlierTrial(params=one.point, place=(one.rank + 0.5) / len(ranked))
                for one in inside
            ]
        tried = _distinct(inside)[: 1 if same else _POINTS]
        there = [space.encode(point) for point in points]
        points += [one.point for one in tried if one.vals not in there]
        remark = _remark(run, [one.trial for one in tried], len(inside), same, outside)
        if objective != first.objective:
            remark += f"; they are ranked by {objective}, as {first.objective} is not known of them"
        if first.cost is not None and cost is None:
            unknown = cost_name(first.cost)
            remark += f"; they are ranked without {unknown}, which is not known of all of them"
        remarks.append(remark)
    first = first.model_copy(update={"points": tuple(points)})
    changed = settings.model_copy(update={"phases": (first, *others)})
    return WarmStart(changed, EarlierRuns(trials=tuple(known)), tuple(remarks))


def _trials_of(run: Directory, settings: Settings) -> tuple[bool, list[TrialResult], Objective]:
    """Whether phases of a run had the search space of the new first phase, and their trials.

    If none had, the trials are those of the run's last phase. Also returns what they are ranked by.
    """
    trials, objectives = read_trials(run), dict[str, Objective]()
    try:
        earlier = read_settings(settings_text(run))
    except InputError:
        # Settings of an earlier version say nothing, but trials are still trials.
        same = set()
    else:
        space = settings.phases[0].space
        alike = earlier.model.params_kind is settings.model.params_kind
        same = {phase.name for phase in earlier.phases if alike and phase.space == space}
        same &= {trial.phase for trial in trials}
        objectives = {phase.name: phase.objective for phase in earlier.phases}
    wanted = same or {trial.phase for trial in trials[-1:]}
    ranked_by = _known(settings.phases[0].objective, [objectives.get(name) for name in wanted])
    return bool(same), [trial for trial in trials if trial.phase in wanted], ranked_by


def _known(objective: Objective, before: Sequence[Objective | None]) -> Objective:
    """The new search's objective if trials that were ranked by those `before` have its value.

    Otherwise they are ranked by their own objective, or by accuracy if there are several.
    """
    if has_own_field(objective):
        return objective
    first = next(iter(before), None)
    return first if first is not None and {*before} == {first} else "val_accuracy"


def _scored(trials: Sequence[TrialResult]) -> list[TrialResult]:
    return [t for t in trials if t.status in {"ok", "pruned"} and t.repeats is None]


def _all_have(trials: Sequence[TrialResult], cost: Cost | None) -> bool:
    return cost is not None and all(getattr(t, cost) is not None for t in _scored(trials))


def _ranked(
    trials: Sequence[TrialResult], objective: Objective, cost: Cost | None
) -> list[TrialResult]:
    """The trials with a score, the best first; those that were stopped early come last.

    With a cost they are ranked by both.
    """
    if best_trial(trials, objective) is None:
        return []
    scored = sorted(_scored(trials), key=lambda t: (trial_key(objective, t), t.number))
    if cost is not None:
        points = [(trial_key(objective, t)[0], float(getattr(t, cost))) for t in scored]
        order = places(points, [trial_key(objective, t)[1] for t in scored])
        scored = [scored[index] for index in sorted(range(len(scored)), key=order.__getitem__)]
    return sorted(scored, key=lambda trial: trial.status)


def _distinct(inside: Sequence[_Inside]) -> list[_Inside]:
    """The first trial at each point; trials may differ in what the new space does not vary."""
    found = list[_Inside]()
    for one in inside:
        if one.point and all(one.vals != other.vals for other in found):
            found.append(one)
    return found


def _remark(
    run: Directory,
    tried: Sequence[TrialResult],
    inside: int,
    same: bool,
    outside: Sequence[tuple[TrialResult, InputError]],
) -> str:
    numbers = ", ".join(str(trial.number) for trial in tried)
    parts = [f"its trials tried first: {numbers}" if tried else "nothing of it is tried first"]
    if same:
        parts.append(f"the strategy knows {inside} of its trials")
    if outside:
        trial, error = outside[0]
        parts.append(
            f"{len(outside)} are outside the search space and left out (trial {trial.number}: "
            f"{error})"
        )
    return f"warm start from {run.uri}: {'; '.join(parts)}"


def inside(earlier: EarlierRuns, space: SearchSpace) -> EarlierRuns:
    """The trials of earlier runs that are points of a space, which has changed since."""

    def is_inside(trial: EarlierTrial) -> bool:
        try:
            space.encode(trial.params)
        except InputError:
            return False
        return True

    return EarlierRuns(trials=tuple(filter(is_inside, earlier.trials)))


def documents_of(earlier: EarlierRuns, space: SearchSpace) -> list[dict[str, Any]]:
    """Hyperopt's documents of the trials of earlier runs with this space, with places as losses."""
    return [
        document_of(
            -1 - number,
            space.encode(trial.params),
            {"status": STATUS_OK, "loss": trial.place},
            base.JOB_STATE_DONE,
        )
        for number, trial in enumerate(earlier.trials)
    ]


def with_earlier(trials: base.Trials, earlier: Sequence[dict[str, Any]]) -> base.Trials:
    """This search's trials, each with its place as its loss, and those of `documents_of`."""
    own = trials.trials
    scored = [d for d in own if d["result"].get("status") == STATUS_OK and "loss" in d["result"]]
    order = sorted(scored, key=lambda document: (document["result"]["loss"], document["tid"]))
    place = {document["tid"]: (i + 0.5) / len(order) for i, document in enumerate(order)}

    def placed(document: dict[str, Any]) -> dict[str, Any]:
        if document["tid"] not in place:
            return document
        return {**document, "result": {**document["result"], "loss": place[document["tid"]]}}

    found = base.Trials()
    found.insert_trial_docs([*earlier, *map(placed, own)])
    found.refresh()
    return found
