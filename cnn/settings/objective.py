"""What trials, rungs and epochs are ranked by: the values that `search.objective` may have."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from cnn.core.near_misses import did_you_mean

# What a metric is called in words. Higher values are better, except those of the loss.
_WORDS = {
    "val_accuracy": "accuracy",
    "val_balanced_accuracy": "balanced accuracy",
    "val_f1": "F1",
    "val_auc": "AUC",
    "val_loss": "loss",
}
# The metrics that every result has, in a field of their own. The value of any other objective is in
# the field `objective`.
_FIELDS = {
    "val_accuracy": "accuracy",
    "val_balanced_accuracy": "balanced_accuracy",
    "val_loss": "loss",
}
# Another name for the same number: the mean cross-entropy.
_SAME = {"val_log_loss": "val_loss"}
_FUNCTION = re.compile(r"[\w.]+:\w+")


def _known(value: str) -> str:
    """The objective by its first name. Raises ValueError."""
    value = _SAME.get(value, value)
    if value in _WORDS or _FUNCTION.fullmatch(value):
        return value
    if ":" in value or "." in value:
        raise ValueError(f"a function must be package.module:function, but got {value!r}")
    names = [*_WORDS, *_SAME]
    raise ValueError(
        f"an objective must be one of {', '.join(names)}, or a function, "
        f"package.module:function, but got {value!r}{did_you_mean(value, names)}"
    )


Objective = Annotated[str, AfterValidator(_known)]

# What a network may cost, by the field of a trial's result that has it; lower is better.
Cost = Literal["latency_ms", "operations", "parameters"]
# What a second objective is called, and its field.
_COSTS: dict[str, Cost] = {
    "latency": "latency_ms",
    "operations": "operations",
    "parameters": "parameters",
}


def with_cost(search: dict[str, Any]) -> dict[str, Any]:
    """Settings of a search in which a second objective has become `cost`.

    Rungs compare trials by the first objective alone and would stop the cheap networks, so a search
    with two has none.

    >>> with_cost({"objective": ["val_accuracy", "latency"], "halving": True})
    {'objective': 'val_accuracy', 'halving': False, 'cost': 'latency_ms'}

    Raises:
        ValueError: The list is not an objective and a cost.
    """
    objective = search.get("objective")
    if isinstance(objective, list | tuple):
        if [*objective[1:]] not in [[name] for name in _COSTS]:
            *others, last = _COSTS
            raise ValueError(
                "objective must be a single objective, or a list of one and a cost "
                f"({', '.join(others)} or {last}), but got {list(objective)}"
            )
        search = {**search, "objective": objective[0], "cost": _COSTS[objective[1]]}
    return {**search, "halving": False} if search.get("cost") is not None else search


def cost_name(cost: Cost) -> str:
    """What `search.objective` calls a cost.

    >>> cost_name("latency_ms")
    'latency'
    """
    return next(name for name, field in _COSTS.items() if field == cost)


def first_objective(value: Any) -> Any:
    """The first of two objectives; what is no list unchanged.

    >>> first_objective(["val_f1", "latency"]), first_objective("val_f1")
    ('val_f1', 'val_f1')
    """
    return value[0] if isinstance(value, list | tuple) and value else value


def is_function(objective: Objective) -> bool:
    """Whether an objective is a user's own function."""
    return ":" in objective


def field_of(objective: Objective) -> str:
    """The field of a trial's result that has the objective's value.

    >>> field_of("val_loss"), field_of("val_f1"), field_of("package.module:function")
    ('loss', 'objective', 'objective')
    """
    return _FIELDS.get(objective, "objective")


def has_own_field(objective: Objective) -> bool:
    """Whether every result has the objective's value, whatever it was ranked by."""
    return objective in _FIELDS


def is_share(objective: Objective) -> bool:
    """Whether its values are shown as percentages."""
    return objective in {"val_accuracy", "val_balanced_accuracy"}


def metric_words(objective: Objective) -> str:
    """What the objective measures, in words; of a function its name.

    >>> metric_words("val_balanced_accuracy"), metric_words("package.module:cost")
    ('balanced accuracy', 'cost')
    """
    return _WORDS.get(objective) or objective.rpartition(":")[2]
