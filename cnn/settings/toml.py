"""Reads settings from TOML: the default file, overlays in order, then single assignments."""

import copy
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import tomli_w

from cnn.core.directory import Directory
from cnn.core.documents import MOST_TOML_BYTES, Malformed, parse_toml, read_document
from cnn.core.errors import InputError, Option
from cnn.core.near_misses import unknown_key
from cnn.settings.final import FinalSettings
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import (
    DEFAULT_BUILDER,
    SETTINGS,
    CacheSettings,
    FeatureSettings,
    ModelSettings,
    SearchSettings,
    Settings,
)
from cnn.settings.validation import Frozen, validate

# The settings that come with the program: in a source tree conf/, to which cnn/conf is a link; in a
# wheel or a zip file a folder of the package.
CONF: Traversable = files("cnn").joinpath("conf")

CONFIG = Option("config")
ASSIGNMENT = Option("set")
# The parameters that only the built-in network has.
_OF_BUILT_IN = frozenset(ModelParams.model_fields) - frozenset(TrainingParams.model_fields)
# The tables, and what each contains, except [[phases]].
_TABLES: dict[str, type[Frozen]] = {
    "search": SearchSettings,
    "space": ModelParams,
    "final": FinalSettings,
    "model": ModelSettings,
    "features": FeatureSettings,
    "cache": CacheSettings,
}


def load_settings(
    overlays: Sequence[Traversable] = (),
    *,
    tables: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Settings:
    """Reads conf/default.toml and applies overlays, tables, flags and assignments, in this order.

    If the result names a builder other than the built-in one, the spaces in conf/ contribute only
    the parameters of training: the others belong to the network that it replaces.

    Args:
        overlays: TOML files; a later one takes precedence.
        tables: Further settings, in the form of a parsed TOML file.
        flags: Keys of [search], which apply to every phase; None for a flag that was not given.
        assignments: Single settings, such as `search.max_trials=20` or `phases.0.epochs=1`.

    Raises:
        InputError: A setting is unknown or invalid; the message names the key, rule and value.
    """
    layers = (tables or {}, _given_flags(flags))
    given = [(path, _read_toml(path)) for path in (CONF / "default.toml", *overlays)]
    tree = _merged([table for _, table in given], *layers, assignments)
    if _names_own_network(tree):
        tree = _merged([_of_training(path, table) for path, table in given], *layers, assignments)
    return validate(Settings, _resolve(tree))


def _given_flags(flags: Mapping[str, Any] | None) -> dict[str, Any]:
    """The flags that were given; a number of trials that is asked for by a flag is used in full."""
    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return {"saturation": False, **given} if "max_trials" in given else given


def _merged(
    files: Sequence[Mapping[str, Any]],
    tables: Mapping[str, Any],
    flags: Mapping[str, Any],
    assignments: Sequence[str],
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for table in (*files, tables, {"search": flags}):
        # Assignments change the merged tables in place, and must not change their sources.
        tree = overlay(tree, copy.deepcopy(dict(table)))
    for phase in phase_tables(tree):
        # A flag takes precedence over a phase's own table.
        phase.update({key: value for key, value in flags.items() if key in phase})
    for assignment in assignments:
        assign(tree, assignment)
    return tree


def _names_own_network(tree: Mapping[str, Any]) -> bool:
    model = tree.get("model")
    builder = model.get("builder", DEFAULT_BUILDER) if isinstance(model, dict) else DEFAULT_BUILDER
    return bool(builder != DEFAULT_BUILDER)


def _is_in_conf(path: Traversable) -> bool:
    """Whether a file is one of those in conf/, whatever path leads to it."""
    return not isinstance(path, Path) or path.resolve().parent == Path(str(CONF)).resolve()


def _of_training(path: Traversable, table: dict[str, Any]) -> dict[str, Any]:
    """A table without the parameters of the built-in network, if it comes from conf/."""
    if not _is_in_conf(path) or _names_own_network(table):
        return table
    # Without augmentation, as by default, a space need not mention it.
    left_out = _OF_BUILT_IN | {"augment"} if path.name == "default.toml" else _OF_BUILT_IN
    found = _without(table, left_out)
    if "phases" in table:
        found["phases"] = [_without(phase, left_out) for phase in table["phases"]]
    return found


def _without(table: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    """A table without some parameters in its space, if it has a space."""
    found = dict(table)
    if "space" in table:
        found["space"] = {k: v for k, v in table["space"].items() if k not in left_out}
    return found


def dump_settings(settings: Settings) -> str:
    """Settings as TOML, from which `read_settings` restores them; None is left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def settings_text(run: Directory) -> str:
    """The text of a run's settings.toml. Raises InputError if it cannot be read."""
    try:
        return read_document(run, SETTINGS, MOST_TOML_BYTES).decode()
    except FileNotFoundError:
        raise InputError(f"a run must have its settings, but {run.uri} has no {SETTINGS}") from None
    except (Malformed, UnicodeDecodeError) as error:
        raise InputError(f"{run.uri}/{SETTINGS} must be a TOML file, but: {error}") from None


def read_settings(text: str) -> Settings:
    """Reads settings that `dump_settings` has written. Raises InputError."""
    return validate(Settings, parse(text))


def _read_toml(path: Traversable) -> dict[str, Any]:
    try:
        if isinstance(path, Path):
            content = read_document(Directory(path.parent), path.name, MOST_TOML_BYTES)
        else:
            content = path.read_bytes()
        return parse_toml(content.decode())
    except OSError as error:
        raise InputError(
            "{} must name a readable file, but got {}: {}", CONFIG, path, error.strerror
        ) from None
    except (Malformed, UnicodeDecodeError) as error:
        raise InputError(
            "{} must name a TOML file, but {} is not: {}", CONFIG, path, error
        ) from None


def read_tables(paths: Sequence[Traversable]) -> dict[str, Any]:
    """The tables of TOML files, each laid over those before. Raises InputError."""
    tables: dict[str, Any] = {}
    for path in paths:
        tables = overlay(tables, _read_toml(path))
    return tables


def parse(text: str) -> dict[str, Any]:
    """The tables of a settings.toml. Raises InputError."""
    try:
        return parse_toml(text)
    except Malformed as error:
        raise InputError(f"{SETTINGS} must be a TOML file, but is not: {error}") from None


def overlay(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Merges `top` into `base`, recursively; a parameter of a space is replaced as a whole."""
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merged[key] | value if key == "space" else overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def assign(tree: dict[str, Any], assignment: str) -> None:
    """Applies an assignment such as `search.max_trials=20`; the value is TOML, or a bare string."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise InputError("{} must be KEY=VALUE, but got {}", ASSIGNMENT, repr(assignment))
    try:
        value = parse_toml(f"value = {text}")["value"]
    except Malformed:
        value = text
    *parents, last = path.strip().split(".")
    node: Any = tree
    for part in parents:
        if isinstance(node, list):
            node = node[_index(node, part, path)]
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise InputError(
                "{} must name a setting, but a part of {} is not a table", ASSIGNMENT, repr(path)
            )
    if isinstance(node, list):
        node[_index(node, last, path)] = value
    else:
        node[last] = value


def _index(node: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise InputError(
            "{} {} must have an index from 0 to {}, but got {}",
            ASSIGNMENT,
            path,
            len(node) - 1,
            repr(part),
        )
    return int(part)


def phase_tables(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables [[phases]], which may be none. Raises InputError if they are not tables."""
    phases = tree.get("phases", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise InputError(f"phases must be a list of tables, but got {phases!r}")
    return phases


def _resolve(tree: dict[str, Any]) -> dict[str, Any]:
    """Gives each phase the settings in [search] and [space], which all phases share."""
    resolved = dict(tree)
    search = resolved.pop("search", {})
    space = resolved.pop("space", {})
    phases = phase_tables(resolved) or [{"name": "search"}]
    # Checked separately, so that a message names search.epochs and not phases.0.epochs.
    validate(SearchSettings, search, lambda key: f"search.{key}")
    for key in resolved:
        if key not in Settings.model_fields:
            inside = [
                f"{table}.{key}" for table, kind in _TABLES.items() if key in kind.model_fields
            ]
            known = [*dict.fromkeys((*_TABLES, *Settings.model_fields))]
            raise InputError(unknown_key(key, key, known, inside))
    if not isinstance(space, dict):
        raise InputError(f"space must be a table of parameters, but got {space!r}")
    resolved["phases"] = [
        {**_shared(search, number), **phase, "space": _space(space, phase)}
        for number, phase in enumerate(phases)
    ]
    return resolved


def _shared(search: dict[str, Any], number: int) -> dict[str, Any]:
    """What phase `number` takes from [search]; `points` apply only to the first phase."""
    return {key: value for key, value in search.items() if number == 0 or key != "points"}


def _space(shared: dict[str, Any], phase: dict[str, Any]) -> Any:
    """The shared space with the phase's own parameters; with `fix` or `start` only these."""
    own = phase.get("space", {})
    alone = {"fix", "start"} & phase.keys() or not isinstance(own, dict)
    return own if alone else {**shared, **own}
