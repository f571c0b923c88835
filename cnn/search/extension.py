"""How a finished run goes on (`--extend`): which settings may change, and what stays in its space.

Its last phase gets more trials. Its space may become wider, as long as it holds every trial that
the phase has: the strategy is told of all of them, so each must be a point of the new space.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.rundir.data_of_run import START
from cnn.rundir.extension import read_extension
from cnn.rundir.result import RESULT, read_result
from cnn.rundir.trials import TrialResult, counts
from cnn.search.conditions import has
from cnn.search.resume import CHANGEABLE, changes_between, changes_of, check_shape, shown
from cnn.search.space import SearchSpace
from cnn.search.winner import choose
from cnn.settings.schema import PhaseSettings, SearchSettings, Settings
from cnn.settings.toml import overlay, parse, phase_tables, read_settings
from cnn.settings.validation import validate

EXTEND, RESUME, MAX_TRIALS = Option("extend"), Option("resume"), Option("max_trials")


class Plan(NamedTuple):
    """An extended search: its settings, the trials of the phase that goes on, and how many more."""

    settings: Settings
    trials: int
    more: int

    def text(self) -> str:
        """What there is and what comes."""
        phases = self.settings.phases
        where = f"phase {phases[-1].name}: " if len(phases) > 1 else ""
        are = "trial is" if self.trials == 1 else "trials are"
        return f"{where}{self.trials} {are} there, {self.more} more"


def check_finished(run: Directory) -> None:
    """Raises InputError unless `run` is a finished run that nothing is extending."""
    unfinished = "is in the middle of an extension" if read_extension(run) else None
    if not run.exists(RESULT) and run.exists(START):
        unfinished = "has not finished"
    if unfinished is not None:
        raise InputError(
            "{} must name a finished run, but {} {}: use {} first",
            *(EXTEND, run.uri, unfinished, RESUME),
        )
    read_result(run)


def plan_extension(
    text: str,
    trials: Sequence[TrialResult],
    *,
    tables: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Plan:
    """The settings of an extended search.

    Args:
        text: The run's own settings.
        trials: All trials of the run.
        tables: New settings from files. A space in them is that of the last phase.
        flags: New values of search settings from flags; None is no change. `max_trials` is how
            many more trials the last phase gets.
        assignments: New values as `table.name=value`.

    Raises:
        InputError: It would be another search, a trial would be outside of its space, or nothing is
            left to try; the error names the setting, or the trial.
    """
    before, tree = read_settings(text), parse(text)
    validate(SearchSettings, (tables or {}).get("search", {}), lambda key: f"search.{key}")
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    asked = overlay(dict(tables or {}), {"search": given})
    changes = changes_of(len(before.phases), asked, None, assignments)
    check_shape(changes, len(before.phases), EXTEND)
    _check_earlier_phases(changes, tree)
    last, change = tree["phases"][-1], changes["phases"][-1]
    search = dict(changes["search"])
    more = _more(search, change)
    own = [t for t in trials if t.phase == before.phases[-1].name and t.repeats is None]
    count = sum(map(counts, own))
    for table in tree["phases"]:
        table |= search
    space = {**last["space"], **changes.get("space", {}), **change.get("space", {})}
    # All of the further trials are asked for.
    last |= {"saturation": search.get("saturation", False)} | change
    last |= {"max_trials": count + more, "space": space}
    rest = {k: v for k, v in changes.items() if k not in {"search", "space", "phases"}}
    after = validate(Settings, overlay(tree, rest))
    _check_same_search(before, after)
    after = _with_whole_points(before, after)
    _check_inside(after, trials)
    return Plan(after, count, more)


def _check_earlier_phases(changes: Mapping[str, Any], tree: Mapping[str, Any]) -> None:
    """Raises InputError if the tables change a phase before the last."""
    asked = phase_tables(dict(changes))
    for number, (own, phase) in enumerate(zip(tree["phases"][:-1], asked, strict=False)):
        for key, value in phase.items():
            if (own["space"] | value if key == "space" else value) != own.get(key):
                raise InputError(
                    "{} must leave all phases but the last as they are, but got phases.{}.{}",
                    *(EXTEND, number, key),
                )


def _more(search: dict[str, Any], change: dict[str, Any]) -> int:
    """Takes out of the tables how many more trials are asked for."""
    found = [table.pop("max_trials") for table in (search, change) if "max_trials" in table]
    if not found:
        raise InputError(
            "{} must be used with {}, the number of further trials", *(EXTEND, MAX_TRIALS)
        )
    return validate(
        SearchSettings, {"max_trials": found[-1]}, lambda key: f"search.{key}"
    ).max_trials


def _check_same_search(before: Settings, after: Settings) -> None:
    for name, old, new in changes_between(before, after):
        if name not in CHANGEABLE and not name.startswith("space."):
            raise InputError(
                "{} must keep the run's {}, {}, but got {}", EXTEND, name, shown(old), shown(new)
            )
    if set(before.backbones) != set(after.backbones):
        raise InputError(
            "{} must keep the run's backbones, {}, but got {}; a new search can begin with its "
            "trials ({})",
            EXTEND,
            ", ".join(before.backbones) or "none",
            ", ".join(after.backbones) or "none",
            Option("warm_start"),
        )


def _with_whole_points(before: Settings, after: Settings) -> Settings:
    """The settings with points that say what a parameter was that has come to vary."""
    (old, *_), (first, *others) = before.phases, after.phases
    if old.space == first.space or not old.points:
        return after
    whole = [
        params.model_dump(mode="json")
        for params in SearchSpace(old, kind=before.model.params_kind).first(len(old.points))
    ]
    points = tuple({name: one[name] for name in first.space if name in one} for one in whole)
    first = first.model_copy(update={"points": points})
    return after.model_copy(update={"phases": (first, *others)})


def _check_inside(settings: Settings, trials: Sequence[TrialResult]) -> None:
    """Raises InputError if a trial of the last phase is outside its space, or no point is left."""
    *earlier, last = settings.phases
    best = {phase.name: _best(phase, trials).params for phase in earlier}
    kind = settings.model.params_kind
    space = SearchSpace(last, best[last.origin] if last.origin else None, kind=kind)
    tried = []
    for trial in trials:
        if trial.phase != last.name or trial.repeats is not None:
            continue
        try:
            vals = space.encode(trial.params)
            for name in last.space:
                if name not in trial.params and has(kind, name, trial.params):
                    raise InputError(f"{name} must be known of each trial")
        except InputError as error:
            raise InputError(
                "{} must be given a space in which all trials of the run are, but trial {} is not: "
                "{}",
                *(EXTEND, trial.number, error),
            ) from None
        if trial.status != "cancelled":
            # Cancelled trials run again.
            tried.append(vals)
    if space.is_grid and len({str(vals) for vals in tried}) >= space.grid_size():
        raise InputError(
            "{} must have something left to try, but all {} points of the grid have been tried",
            *(EXTEND, space.grid_size()),
        )


def _best(phase: PhaseSettings, trials: Sequence[TrialResult]) -> TrialResult:
    best = choose(phase, [trial for trial in trials if trial.phase == phase.name])
    if best is None:
        raise InputError(
            "{} must name a run of which only the last phase may be unfinished, but phase {} has "
            "no finished trial",
            *(EXTEND, phase.name),
        )
    return best
