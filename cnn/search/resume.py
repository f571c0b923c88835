"""Which settings a resumed run may change, and which would make it another search."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel

from cnn.core.directory import Directory
from cnn.core.errors import InputError, Option
from cnn.settings.final import FinalSettings
from cnn.settings.schema import CacheSettings, SearchSettings, Settings
from cnn.settings.toml import assign, overlay, parse, phase_tables, read_settings
from cnn.settings.validation import validate

# Settings that a resumed run may change: they affect neither finished nor later trials' results.
CHANGEABLE = {
    "search.checkpoint_seconds",
    "search.gpus",
    "search.max_consecutive_failures",
    "search.max_lost",
    "search.max_stalled",
    "search.max_trials",
    "search.parallelism",
    "search.process",
    "search.resource_profile",
    "search.saturation",
    "search.target",
    "search.timeout",
    "search.trial_timeout",
    "search.trials_per_gpu",
    *(f"final.{name}" for name in FinalSettings.model_fields),
    *(f"cache.{name}" for name in CacheSettings.model_fields),
}


class Change(NamedTuple):
    """A setting that differs between two searches: its name, and its values before and after."""

    name: str
    old: Any
    new: Any


def resume_settings(
    text: str,
    *,
    tables: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> tuple[Settings, list[Change]]:
    """The settings of a resumed run, and how they differ from the run's own.

    Args:
        text: The run's own settings.
        tables: New settings from files.
        flags: New values of search settings from flags; None is no change.
        assignments: New values as `table.name=value`.

    Raises:
        InputError: A change would make it another search; the error names the setting.
    """
    before, tree = read_settings(text), parse(text)
    changes = changes_of(len(before.phases), tables, flags, assignments)
    check_shape(changes, len(before.phases), Option("resume"))
    space = changes.pop("space", {})
    for table, change in zip(tree["phases"], phase_tables(changes), strict=True):
        own = {**table["space"], **space, **change.get("space", {})}
        asked = changes["search"] | change
        if (flags or {}).get("max_trials") not in {None, table["max_trials"]}:
            # Another number of trials that is asked for is made, as in a new run.
            asked = {"saturation": False, **asked}
        table |= asked | {"space": own}
    rest = {k: v for k, v in changes.items() if k not in {"search", "phases"}}
    after = validate(Settings, overlay(tree, rest))
    found = list(changes_between(before, after))
    for name, old, new in found:
        if name not in CHANGEABLE:
            raise InputError(
                "{} must keep the run's {}, {}, but got {}",
                Option("resume"),
                name,
                shown(old),
                shown(new),
            )
    return after, found


def changes_of(
    phases: int,
    tables: Mapping[str, Any] | None,
    flags: Mapping[str, Any] | None,
    assignments: Sequence[str],
) -> dict[str, Any]:
    """What is asked of a run with so many phases, as one tree of tables; `search` is one of them.

    Raises InputError if an assignment cannot be understood.
    """
    changes: dict[str, Any] = {"search": {k: v for k, v in (flags or {}).items() if v is not None}}
    changes["phases"] = [{} for _ in range(phases)]
    changes = overlay(changes, tables or {})
    for assignment in assignments:
        assign(changes, assignment)
    for table in (changes["search"], *phase_tables(changes)):
        if isinstance(table, dict) and isinstance(table.get("objective"), str):
            # One objective in place of two that the run may have.
            table.setdefault("cost", None)
    return changes


def check_shape(changes: Mapping[str, Any], phases: int, option: Option) -> None:
    """Raises InputError unless tables can be laid over those of a run with so many phases."""
    validate(SearchSettings, changes["search"], lambda key: f"search.{key}")
    asked = phase_tables(dict(changes))
    if len(asked) != phases:
        raise InputError("{} must keep the run's {} phases, but got {}", option, phases, len(asked))
    for space in (changes.get("space", {}), *(phase.get("space", {}) for phase in asked)):
        if not isinstance(space, dict):
            raise InputError(f"space must be a table of parameters, but got {shown(space)}")


def check_unchanged(changes: Sequence[Change], run: Directory) -> None:
    """Raises InputError if a finished run is to be resumed with other settings."""
    for name, old, new in changes:
        raise InputError(
            "{} cannot change {} of a finished run, but {} was to get {} instead of {}; "
            "the run goes on with more trials: {} {} {} N; or "
            "a new search can begin with this run's best trial: {} {}",
            Option("resume"),
            name,
            run.uri,
            shown(new),
            shown(old),
            Option("extend"),
            shlex.quote(run.uri),
            Option("max_trials"),
            Option("warm_start"),
            shlex.quote(run.uri),
        )


def changes_between(before: Settings, after: Settings) -> Iterator[Change]:
    """The settings that differ between two searches with as many phases."""
    for old_phase, new_phase in zip(before.phases, after.phases, strict=True):
        for key in {**old_phase.space, **new_phase.space}:
            old, new = (phase.space.get(key) for phase in (old_phase, new_phase))
            if old != new:
                values = [None if side is None else side.model_dump() for side in (old, new)]
                yield Change(f"space.{key}", *values)
        yield from _different("search", old_phase, new_phase)
    for table in ("model", "final", "features", "cache"):
        yield from _different(table, getattr(before, table), getattr(after, table))


def _different(table: str, before: BaseModel, after: BaseModel) -> Iterator[Change]:
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old != new and name != "space":
            yield Change(f"{table}.{name}", old, new)


def shown(value: Any) -> str:
    """A setting's value as a message has it."""
    return value if isinstance(value, str) else repr(value)
