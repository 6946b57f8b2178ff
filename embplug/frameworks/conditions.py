"""Conditions on payload fields, as the filters of frameworks are made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.errors import FilterError

Condition: TypeAlias = Any
"""One of Qdrant's conditions, or a ``models.Filter``."""

BOUNDS = ("gt", "gte", "lt", "lte")

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+(\[\d*\])*")
_VALUE = "a string, a number, a boolean, a date or None"
_BOUND = "a number, a date or its ISO 8601 form"


def field_path(key: str) -> str:
    """Key as Qdrant's path: segments with other characters than letters and digits in quotes."""
    return ".".join(part if _PLAIN_SEGMENT.fullmatch(part) else f'"{part}"' for part in key.split("."))


def negated(condition: Condition) -> Condition:
    """Hold where ``condition`` does not, also where its field is absent."""
    return models.Filter(must_not=[condition])


def equal(field: str, value: Any, place: str) -> Condition:
    """Hold where the field, or an item of its list, is ``value``; ``place`` names it in errors."""
    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=field))
    if isinstance(value, (bool, int, str)):
        return models.FieldCondition(key=field, match=models.MatchValue(value=value))
    if isinstance(value, float):
        return models.FieldCondition(key=field, range=models.Range(gte=value, lte=value))
    if isinstance(value, date):
        return models.FieldCondition(key=field, range=models.DatetimeRange(gte=value, lte=value))
    raise FilterError(place, _VALUE, repr(value))


def one_of(field: str, values: Any, place: str) -> Condition:
    """Hold where the field, or an item of its list, is one of ``values``."""
    listed = _listed(values, place)
    if not listed:
        # No document's value is one of none.
        return models.HasIdCondition(has_id=[])
    if {type(value) for value in listed} in ({str}, {int}):
        return models.FieldCondition(key=field, match=models.MatchAny(any=listed))
    return models.Filter(should=[equal(field, value, f"{place}[{i}]") for i, value in enumerate(listed)])


def all_of(field: str, values: Any, place: str) -> Condition:
    """Hold where the field's list has all of ``values``."""
    listed = _listed(values, place)
    return models.Filter(must=[equal(field, value, f"{place}[{i}]") for i, value in enumerate(listed)])


def bound(field: str, side: str, value: Any, place: str) -> Condition:
    """Hold where the field is on the ``side`` (``gt``, ``gte``, ``lt`` or ``lte``) of ``value``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return models.FieldCondition(key=field, range=models.Range(**{side: value}))
    if not isinstance(value, (str, date)):
        raise FilterError(place, _BOUND, repr(value))
    try:
        between: Any = models.DatetimeRange(**{side: value})
    except ValueError:
        raise FilterError(place, _BOUND, repr(value)) from None
    return models.FieldCondition(key=field, range=between)


def empty(field: str) -> Condition:
    """Hold where the field is absent, null or an empty list."""
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=field))


def present(field: str) -> Condition:
    """Hold where the field is there, even if it is null."""
    null = models.IsNullCondition(is_null=models.PayloadField(key=field))
    # For Qdrant a field that is null is empty.
    return models.Filter(should=[negated(empty(field)), null])


def text(field: str, value: Any, place: str) -> Condition:
    """Hold where the field has the words of ``value``; as Qdrant matches text, with or without an index."""
    if not isinstance(value, str):
        raise FilterError(place, "a text", repr(value))
    return models.FieldCondition(key=field, match=models.MatchText(text=value))


def all_hold(conditions: Sequence[Condition]) -> models.Filter | None:
    """Hold where all do; ``None`` for none of them."""
    given = [one for one in conditions if one is not None]
    if len(given) == 1 and isinstance(given[0], models.Filter):
        return given[0]
    return models.Filter(must=given) if given else None


def _listed(values: Any, place: str) -> list[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise FilterError(place, "a list of values", repr(values))
    return list(values)
