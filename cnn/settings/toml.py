"""Settings read from TOML: the default file, overlays in order, then single assignments."""

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
from cnn.settings.params import ModelParams, TrainingParams
from cnn.settings.schema import (
    OUR_BUILDER,
    SETTINGS,
    CacheSettings,
    FinalSettings,
    ModelSettings,
    SearchSettings,
    Settings,
)
from cnn.settings.validation import Frozen, validate

# The settings that come with the program: conf/ of a source tree, to which cnn/conf is a link; in a
# wheel or a zip a folder of the package.
CONF: Traversable = files("cnn").joinpath("conf")

CONFIG = Option("config")
# The parameters that mean nothing to another network than ours.
_OF_OURS = frozenset(ModelParams.model_fields) - frozenset(TrainingParams.model_fields)
# What stands in which table, beside [space] and [[phases]].
_TABLES: dict[str, type[Frozen]] = {
    "search": SearchSettings,
    "space": ModelParams,
    "final": FinalSettings,
    "model": ModelSettings,
    "cache": CacheSettings,
}


def load_settings(
    overlays: Sequence[Traversable] = (),
    *,
    tables: Mapping[str, Any] | None = None,
    flags: Mapping[str, Any] | None = None,
    assignments: Sequence[str] = (),
) -> Settings:
    """Reads conf/default.toml, lays the files over it in order, tables, flags, then assignments.

    `tables` are what a file would hold. Where all of it together names another builder than ours,
    the spaces in conf/ give what concerns its training alone: the rest are parameters of the
    network that it replaces. `flags` are keys of [search] with None for what was not given; they
    hold for every phase, as `assignments` like `search.max_trials=20` or `phases.0.epochs=1` hold
    for what they name.
    Raises InputError with a line that names the key, the rule and the value.
    """
    layers = (tables or {}, {key: v for key, v in (flags or {}).items() if v is not None})
    given = [(path, _read_toml(path)) for path in (CONF / "default.toml", *overlays)]
    tree = _merged([table for _, table in given], *layers, assignments)
    if _names_own_network(tree):
        tree = _merged([_of_training(path, table) for path, table in given], *layers, assignments)
    return validate(Settings, _resolve(tree))


def _merged(
    files: Sequence[Mapping[str, Any]],
    tables: Mapping[str, Any],
    flags: Mapping[str, Any],
    assignments: Sequence[str],
) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for table in (*files, tables, {"search": flags}):
        # Assignments reach into what is merged, and must not change what it is merged from.
        tree = overlay(tree, copy.deepcopy(dict(table)))
    for phase in phase_tables(tree):
        # A flag is the user's last word: what a phase's own table says gives way to it.
        phase.update({key: value for key, value in flags.items() if key in phase})
    for assignment in assignments:
        assign(tree, assignment)
    return tree


def _names_own_network(tree: Mapping[str, Any]) -> bool:
    model = tree.get("model")
    builder = model.get("builder", OUR_BUILDER) if isinstance(model, dict) else OUR_BUILDER
    return bool(builder != OUR_BUILDER)


def _comes_with_us(path: Traversable) -> bool:
    """Whether a file is one of conf/, however it is named."""
    return not isinstance(path, Path) or path.resolve().parent == Path(str(CONF)).resolve()


def _of_training(path: Traversable, table: dict[str, Any]) -> dict[str, Any]:
    """What of a file holds for a network that is not ours: of the user's own files all."""
    if not _comes_with_us(path) or _names_own_network(table):
        return table
    # By default nothing is augmented: there is nothing to say of it.
    left_out = _OF_OURS | {"augment"} if path.name == "default.toml" else _OF_OURS
    found = _without(table, left_out)
    if "phases" in table:
        found["phases"] = [_without(phase, left_out) for phase in table["phases"]]
    return found


def _without(table: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    """A table whose space, where it has one, lacks some parameters."""
    found = dict(table)
    if "space" in table:
        found["space"] = {k: v for k, v in table["space"].items() if k not in left_out}
    return found


def dump_settings(settings: Settings) -> str:
    """TOML from which `read_settings` makes equal settings; what is None is left out."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def settings_text(run: Directory) -> str:
    """What a run's settings.toml holds. Raises InputError where that cannot be read."""
    try:
        return read_document(run, SETTINGS, MOST_TOML_BYTES).decode()
    except FileNotFoundError:
        raise InputError(f"a run must have its settings, but {run.uri} has no {SETTINGS}") from None
    except (Malformed, UnicodeDecodeError) as error:
        raise InputError(f"{run.uri}/{SETTINGS} must be TOML, but {error}") from None


def read_settings(text: str) -> Settings:
    """Settings as `dump_settings` wrote them."""
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
            "{} must name a TOML file, but {} is none: {}", CONFIG, path, error
        ) from None


def parse(text: str) -> dict[str, Any]:
    try:
        return parse_toml(text)
    except Malformed as error:
        raise InputError(f"settings.toml must be TOML, but is not: {error}") from None


def overlay(base: dict[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` laid over `base`: tables merge, but a parameter of a space is replaced whole."""
    merged = dict(base)
    for key, value in top.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merged[key] | value if key == "space" else overlay(merged[key], value)
        else:
            merged[key] = value
    return merged


def assign(tree: dict[str, Any], assignment: str) -> None:
    """Applies one `search.max_trials=20`; the value is TOML, or a bare string."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--set must be KEY=VALUE, but got {assignment!r}")
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
            raise InputError(f"--set must name a setting, but {path!r} goes below a single value")
    if isinstance(node, list):
        node[_index(node, last, path)] = value
    else:
        node[last] = value


def _index(node: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise InputError(
            f"--set {path} must use an index from 0 to {len(node) - 1}, but got {part!r}"
        )
    return int(part)


def phase_tables(tree: dict[str, Any]) -> list[dict[str, Any]]:
    phases = tree.get("phases", [])
    if not isinstance(phases, list) or not all(isinstance(phase, dict) for phase in phases):
        raise InputError(f"phases must be a list of tables, but got {phases!r}")
    return phases


def _resolve(tree: dict[str, Any]) -> dict[str, Any]:
    """Gives each phase what [search] and [space] hold for all of them."""
    resolved = dict(tree)
    search = resolved.pop("search", {})
    space = resolved.pop("space", {})
    phases = phase_tables(resolved) or [{"name": "search"}]
    # Checked apart so that a message says search.epochs, not phases.0.epochs.
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
    """What [search] says for phase `number`: points to try first are the first one's."""
    return {key: value for key, value in search.items() if number == 0 or key != "points"}


def _space(shared: dict[str, Any], phase: dict[str, Any]) -> Any:
    """A phase's own table over the shared one, or alone where the rest is as an earlier found."""
    own = phase.get("space", {})
    return own if "fix" in phase or not isinstance(own, dict) else {**shared, **own}
