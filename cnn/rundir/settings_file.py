"""RUN/settings.toml as the report reads it: of any age, also where it is no longer valid.

`cnn.settings.toml.read_settings` refuses what this version does not know. A report wants what can
be read: each part by itself, and nothing where there is none.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from cnn.core.documents import Malformed, parse_toml
from cnn.settings.dimension import Dimension
from cnn.settings.params import params_of_own_network
from cnn.settings.schema import DEFAULT_BUILDER

Space = dict[str, Dimension]


@dataclass(frozen=True)
class RunSettings:
    """What is known of a run's settings."""

    builder: str = DEFAULT_BUILDER
    class_weights: str | None = None
    # By phase.
    spaces: dict[str, Space] = field(default_factory=dict)

    @property
    def foreign_builder(self) -> str | None:
        """The function that made the network, where that is not this program's own."""
        return None if self.builder == DEFAULT_BUILDER else self.builder

    def known(self, params: dict[str, Any]) -> dict[str, Any]:
        """What of a trial's parameters its network has (`params_of_own_network`)."""
        named = {name for space in self.spaces.values() for name in space}
        if self.foreign_builder is None or not named:
            return params
        return params_of_own_network(params, named)


def parse_settings(text: str) -> RunSettings:
    """What can be read of a settings.toml."""
    try:
        table = parse_toml(text)
    except Malformed:
        return RunSettings()
    model = _table(table.get("model"))
    builder, weights = model.get("builder"), model.get("class_weights")
    phases = table.get("phases")
    tables = [_table(phase) for phase in phases] if isinstance(phases, list) else []
    return RunSettings(
        builder=builder if isinstance(builder, str) else DEFAULT_BUILDER,
        class_weights=weights if isinstance(weights, str) else None,
        spaces={str(phase.get("name")): _space(_table(phase.get("space"))) for phase in tables},
    )


def _space(table: dict[str, Any]) -> Space:
    space = {}
    for name, value in table.items():
        try:
            space[name] = Dimension.model_validate(
                value if isinstance(value, dict) else {"choices": [value]}
            )
        except ValidationError:
            continue
    return space


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
