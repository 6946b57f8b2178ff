"""Filters as LangChain's users write them, ``{"year": {"$gte": 2020}}``, to Qdrant's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.errors import FilterError

FilterGiven: TypeAlias = models.Filter | Mapping[str, Any]

_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9_-]+(\[\d*\])*")
_BOUNDS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def to_filter(given: FilterGiven | None, metadata_payload_key: str = "metadata") -> models.Filter | None:
    """Translate a filter on metadata; Qdrant's own stays as it is.

    Parameters
    ----------
    given
        Fields of the metadata with values, lists of values, or operators: ``$eq``, ``$ne``, ``$gt``,
        ``$gte``, ``$lt``, ``$lte``, ``$between``, ``$in``, ``$nin``, ``$contains``, ``$exists``,
        ``$text``. All fields, and all operators of a field, have to hold; ``$and``, ``$or`` and
        ``$not`` combine filters. Dots reach into nested fields.
    metadata_payload_key
        Payload field with the metadata.

    Raises
    ------
    FilterError
        A ``ValueError`` that names the field or operator that is wrong.
    """
    if given is None or isinstance(given, models.Filter):
        return given
    if not isinstance(given, Mapping):
        raise FilterError("filter", "a mapping or a qdrant_client.models.Filter", type(given).__name__)
    return _all_of(given, metadata_payload_key, "filter") if given else None


def _all_of(given: Any, root: str, place: str) -> models.Filter:
    if isinstance(given, models.Filter):
        return given
    if not isinstance(given, Mapping) or not given:
        raise FilterError(place, "a filter", repr(given))
    return models.Filter(
        must=[one for key, value in given.items() for one in _conditions(key, value, root, place)]
    )


def _conditions(key: Any, value: Any, root: str, place: str) -> list[Any]:
    if not isinstance(key, str) or not key:
        raise FilterError(place, "the name of a field", repr(key))
    place = f"{place}[{key!r}]"
    if key in ("$and", "$or"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise FilterError(place, "a list of filters", repr(value))
        parts = [_all_of(part, root, f"{place}[{i}]") for i, part in enumerate(value)]
        return [models.Filter(must=parts) if key == "$and" else models.Filter(should=parts)]
    if key == "$not":
        return [_not(_all_of(value, root, place))]
    if key.startswith("$"):
        raise FilterError(place, "$and, $or, $not or the name of a field", repr(key))
    field = f"{root}.{_path(key)}"
    if isinstance(value, list):
        return [_one_of(field, value, place)]
    if not isinstance(value, Mapping):
        return [_equal(field, value, place)]
    if not value:
        raise FilterError(place, f"one of {[*_OPERATORS]}", "an empty mapping")
    made = []
    for operator, operand in value.items():
        if operator not in _OPERATORS:
            raise FilterError(place, f"one of {[*_OPERATORS]}", repr(operator))
        made.append(_OPERATORS[operator](field, operand, f"{place}[{operator!r}]"))
    return made


def _path(key: str) -> str:
    """Key as Qdrant's path: segments with other characters than letters and digits in quotes."""
    return ".".join(part if _PLAIN_SEGMENT.fullmatch(part) else f'"{part}"' for part in key.split("."))


def _not(condition: Any) -> models.Filter:
    return models.Filter(must_not=[condition])


def _equal(field: str, value: Any, place: str) -> Any:
    if value is None:
        return models.IsNullCondition(is_null=models.PayloadField(key=field))
    if isinstance(value, (bool, int, str)):
        return models.FieldCondition(key=field, match=models.MatchValue(value=value))
    if isinstance(value, float):
        return models.FieldCondition(key=field, range=models.Range(gte=value, lte=value))
    if isinstance(value, date):
        return models.FieldCondition(key=field, range=models.DatetimeRange(gte=value, lte=value))
    raise FilterError(place, "a string, a number, a boolean, a date or None", repr(value))


def _one_of(field: str, values: Any, place: str) -> Any:
    if not isinstance(values, (list, tuple, set, frozenset)):
        raise FilterError(place, "a list of values", repr(values))
    listed = list(values)
    if not listed:
        # No document's value is one of none.
        return models.HasIdCondition(has_id=[])
    if {type(value) for value in listed} in ({str}, {int}):
        return models.FieldCondition(key=field, match=models.MatchAny(any=listed))
    return models.Filter(should=[_equal(field, value, f"{place}[{i}]") for i, value in enumerate(listed)])


def _bound(field: str, operator: str, value: Any, place: str) -> Any:
    expected = "a number, a date or its ISO 8601 form"
    bound = {_BOUNDS[operator]: value}
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return models.FieldCondition(key=field, range=models.Range(**bound))
    if not isinstance(value, (str, date)):
        raise FilterError(place, expected, repr(value))
    try:
        return models.FieldCondition(key=field, range=models.DatetimeRange(**bound))
    except ValueError:
        raise FilterError(place, expected, repr(value)) from None


def _between(field: str, value: Any, place: str) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise FilterError(place, "two values, the lowest and the highest", repr(value))
    lowest, highest = value
    return models.Filter(
        must=[_bound(field, "$gte", lowest, f"{place}[0]"), _bound(field, "$lte", highest, f"{place}[1]")]
    )


def _exists(field: str, value: Any, place: str) -> Any:
    if not isinstance(value, bool):
        raise FilterError(place, "True or False", repr(value))
    empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field))
    null = models.IsNullCondition(is_null=models.PayloadField(key=field))
    # For Qdrant a field that is null is empty; here it is there.
    exists = models.Filter(should=[_not(empty), null])
    return exists if value else _not(exists)


def _text(field: str, value: Any, place: str) -> Any:
    if not isinstance(value, str):
        raise FilterError(place, "a text", repr(value))
    return models.FieldCondition(key=field, match=models.MatchText(text=value))


_OPERATORS: dict[str, Callable[[str, Any, str], Any]] = {
    "$eq": _equal,
    "$ne": lambda field, value, place: _not(_equal(field, value, place)),
    "$gt": lambda field, value, place: _bound(field, "$gt", value, place),
    "$gte": lambda field, value, place: _bound(field, "$gte", value, place),
    "$lt": lambda field, value, place: _bound(field, "$lt", value, place),
    "$lte": lambda field, value, place: _bound(field, "$lte", value, place),
    "$between": _between,
    "$in": _one_of,
    "$nin": lambda field, values, place: _not(_one_of(field, values, place)),
    # Qdrant's match holds for a list when it holds for an item.
    "$contains": _equal,
    "$exists": _exists,
    "$text": _text,
}
