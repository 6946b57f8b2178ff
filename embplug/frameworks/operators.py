"""The operators of filters by name; a framework's filter maps its own operators to these."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from embplug.frameworks import conditions
from embplug.frameworks.conditions import Condition

Operator: TypeAlias = Callable[[str, Any, str], Condition]
"""Makes a condition of a field, the value and its place; see :mod:`embplug.frameworks.conditions`."""


def _bound(side: str, field: str, value: Any, place: str) -> Condition:
    return conditions.bound(field, side, value, place)


def _not_equal(field: str, value: Any, place: str) -> Condition:
    return conditions.negated(conditions.equal(field, value, place))


def _none_of(field: str, values: Any, place: str) -> Condition:
    return conditions.negated(conditions.any_of(field, values, place))


def _empty(field: str, value: Any, place: str) -> Condition:
    return conditions.empty(field)


OPERATORS: dict[str, Operator] = {
    "eq": conditions.equal,
    "ne": _not_equal,
    "gt": partial(_bound, "gt"),
    "gte": partial(_bound, "gte"),
    "lt": partial(_bound, "lt"),
    "lte": partial(_bound, "lte"),
    "between": conditions.between,
    "in": conditions.any_of,
    "nin": _none_of,
    "all": conditions.all_of,
    # Qdrant's match holds for a list if it holds for an item.
    "contains": conditions.equal,
    "exists": conditions.exists,
    "empty": _empty,
    "text": conditions.text,
}
