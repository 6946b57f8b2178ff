"""Conditions on payload fields, of which the filters of frameworks are made.

Parameters that all functions share:

field : str
    Path of the payload field, from :func:`field_path`.
place : str
    Place of the value in the user's filter, such as ``filter['year']``, for errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import date
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.common.json_types import MAX_INTEGER
from embplug.common.validation import short_repr
from embplug.errors import FilterError

Condition: TypeAlias = Any
"""One of Qdrant's conditions, or a ``models.Filter``."""

MAX_EXACT = 1 << 53
"""Up to this integer ranges, whose bounds are floats, tell all integers apart."""

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+(\[\d*\])*")
_VALUE = "a string, a number, a boolean, a date or None"
_BOUND = "a number, a date or its ISO 8601 form"


def field_path(key: str) -> str:
    """Return Qdrant's path of a key: segments with other characters than letters and digits in quotes."""
    return ".".join(part if _PLAIN_SEGMENT.fullmatch(part) else f'"{part}"' for part in key.split("."))


def negated(condition: Condition) -> Condition:
    """Hold where ``condition`` does not, also where its field is absent."""
    return models.Filter(must_not=[condition])


def equal(field: str, value: Any, place: str) -> Condition:
    """Hold where the field, or an item of its list, is ``value``."""
    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=field))
    if isinstance(value, (bool, str)):
        return models.FieldCondition(key=field, match=models.MatchValue(value=value))
    if isinstance(value, (int, float)):
        return _equal_number(field, value, place)
    if isinstance(value, date):
        return models.FieldCondition(key=field, range=models.DatetimeRange(gte=value, lte=value))
    raise FilterError(place, _VALUE, short_repr(value))


def _equal_number(field: str, value: float, place: str) -> Condition:
    """Hold for 10 and for 10.0 alike, which Qdrant's match tells apart and its range does not."""
    if isinstance(value, int) and not -MAX_EXACT <= value <= MAX_EXACT:
        if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            raise FilterError(place, "an integer of at most 64 bits", "a larger one")
        return models.FieldCondition(key=field, match=models.MatchValue(value=value))
    _check_finite(value, place)
    return models.FieldCondition(key=field, range=models.Range(gte=value, lte=value))


def _check_finite(value: float, place: str) -> None:
    """Refuse bounds that JSON drops, so that the condition would hold everywhere."""
    if isinstance(value, float) and not math.isfinite(value):
        raise FilterError(place, "a finite number", value)


def any_of(field: str, values: Any, place: str) -> Condition:
    """Hold where the field, or an item of its list, is one of ``values``."""
    listed = _listed(values, place)
    if not listed:
        # No document has a value among none.
        return models.HasIdCondition(has_id=[])
    if all(type(value) is str for value in listed):
        return models.FieldCondition(key=field, match=models.MatchAny(any=listed))
    return models.Filter(should=[equal(field, value, f"{place}[{i}]") for i, value in enumerate(listed)])


def all_of(field: str, values: Any, place: str) -> Condition:
    """Hold where the field's list has all of ``values``."""
    listed = _listed(values, place)
    return models.Filter(must=[equal(field, value, f"{place}[{i}]") for i, value in enumerate(listed)])


def bound(field: str, side: str, value: Any, place: str) -> Condition:
    """Hold where the field is on the ``side`` (``gt``, ``gte``, ``lt`` or ``lte``) of ``value``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_finite(value, place)
        return models.FieldCondition(key=field, range=models.Range(**{side: value}))
    if not isinstance(value, (str, date)):
        raise FilterError(place, _BOUND, short_repr(value))
    try:
        dates: Any = models.DatetimeRange(**{side: value})
    except ValueError:
        raise FilterError(place, _BOUND, short_repr(value)) from None
    return models.FieldCondition(key=field, range=dates)


def between(field: str, value: Any, place: str) -> Condition:
    """Hold where the field is between two values, both included."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise FilterError(place, "two values, the lowest and the highest", short_repr(value))
    lowest, highest = value
    return models.Filter(
        must=[bound(field, "gte", lowest, f"{place}[0]"), bound(field, "lte", highest, f"{place}[1]")]
    )


def empty(field: str) -> Condition:
    """Hold where the field is absent, null or an empty list."""
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=field))


def present(field: str) -> Condition:
    """Hold where the field is there, even if it is null."""
    null = models.IsNullCondition(is_null=models.PayloadField(key=field))
    # Qdrant calls a field that is null empty.
    return models.Filter(should=[negated(empty(field)), null])


def exists(field: str, value: Any, place: str) -> Condition:
    """Hold where the field is there, or with ``value=False`` where it is not."""
    if not isinstance(value, bool):
        raise FilterError(place, "True or False", short_repr(value))
    return present(field) if value else negated(present(field))


def text(field: str, value: Any, place: str) -> Condition:
    """Hold where the field has the words of ``value``; as Qdrant matches text, with or without an index."""
    if not isinstance(value, str):
        raise FilterError(place, "a text", short_repr(value))
    return models.FieldCondition(key=field, match=models.MatchText(text=value))


def all_hold(conditions: Sequence[Condition | None]) -> models.Filter | None:
    """Hold where all conditions do; return None if all are None."""
    set_conditions = [condition for condition in conditions if condition is not None]
    if len(set_conditions) == 1 and isinstance(set_conditions[0], models.Filter):
        return set_conditions[0]
    return models.Filter(must=set_conditions) if set_conditions else None


def _listed(values: Any, place: str) -> list[Any]:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise FilterError(place, "a list of values", short_repr(values))
    return list(values)
