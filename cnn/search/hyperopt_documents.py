"""Hyperopt's trial documents: how it stores points, and how a document becomes a point again."""

from collections.abc import Mapping
from typing import Any

from hyperopt import base

# A configuration as an objective gets it: parameter -> value.
Point = Mapping[str, Any]
# Hyperopt's encoding of a point (`misc.vals`): each variable has one value, or none if unused.
Vals = dict[str, list[Any]]


def point_of(domain: base.Domain, document: dict[str, Any]) -> Point:
    """The point of a trial document, with the indices of choices replaced by the choices."""
    memo = domain.memo_from_config(base.spec_from_misc(document["misc"]))
    point: Point = base.pyll.rec_eval(domain.expr, memo=memo)
    return point


def document_of(
    number: int, vals: Mapping[str, list[Any]], result: Mapping[str, Any], state: int
) -> dict[str, Any]:
    """The trial document of an encoded point.

    Args:
        number: The trial's number.
        vals: The point in Hyperopt's encoding.
        result: What the objective returned, or Hyperopt's new result.
        state: One of `hyperopt.base.JOB_STATES`.
    """
    idxs = {name: [number] if values else [] for name, values in vals.items()}
    return {
        "state": state,
        "tid": number,
        "spec": None,
        "result": dict(result),
        "misc": {"tid": number, "cmd": None, "workdir": None, "idxs": idxs, "vals": dict(vals)},
        "exp_key": None,
        "owner": None,
        "version": 0,
        "book_time": None,
        "refresh_time": None,
    }
