"""Filters as dicts, ``{"year": {"$gte": 2020}}``, to Qdrant's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError
from qdrant_client import models

from embplug.common.validation import short_repr
from embplug.engines.filter_depth import MAX_DEPTH
from embplug.errors import FilterError
from embplug.frameworks.conditions import Condition, any_of, equal, field_path, negated
from embplug.frameworks.operators import OPERATORS

DictFilter: TypeAlias = models.Filter | Mapping[str, Any]
"""A filter of Qdrant, or a mapping of fields to values or operators."""

_NAMES = ("eq", "ne", "gt", "gte", "lt", "lte", "between", "in", "nin", "contains", "exists", "text")
_OPERATORS = {f"${name}": OPERATORS[name] for name in _NAMES}


def filter_from_dict(filter: DictFilter | None, root: str = "") -> models.Filter | None:
    """Translate a filter that is written as a dict; Qdrant's own stays as it is.

    Parameters
    ----------
    filter : mapping, qdrant_client.models.Filter or None
        Fields with values, lists of values, or operators: ``$eq``, ``$ne``, ``$gt``, ``$gte``, ``$lt``,
        ``$lte``, ``$between``, ``$in``, ``$nin``, ``$contains``, ``$exists``, ``$text``. All fields, and
        all operators of a field, have to hold. ``$and``, ``$or`` and ``$not`` combine filters. Dots
        reach into nested fields. A mapping may also be a filter of Qdrant, such as ``{"must": [...]}``,
        with whole paths into the payload.
    root : str, default=""
        Payload field that holds the fields; the empty string stands for the payload itself.

    Returns
    -------
    qdrant_client.models.Filter or None
        None if the filter is None or an empty mapping.

    Raises
    ------
    FilterError
        A field or operator is wrong; the error names its place. It is a ``ValueError``.
    """
    if filter is None or isinstance(filter, models.Filter):
        return filter
    if not isinstance(filter, Mapping):
        raise FilterError("filter", "a mapping or a qdrant_client.models.Filter", type(filter).__name__)
    if _is_of_qdrant(filter):
        return _filter_of_qdrant(filter)
    try:
        return _all_fields(filter, root, "filter") if filter else None
    except RecursionError:
        raise FilterError("filter", f"at most {MAX_DEPTH} filters inside each other", "more") from None


def _is_of_qdrant(filter: Mapping[str, Any]) -> bool:
    """Tell Qdrant's own form from fields of these names: its parts are conditions, or lists of them."""
    parts = [value if isinstance(value, list) else [value] for value in filter.values()]
    return (
        bool(filter)
        and filter.keys() <= models.Filter.model_fields.keys()
        and all(_may_be_condition(condition) for part in parts for condition in part)
        and any(parts)
    )


def _may_be_condition(condition: Any) -> bool:
    """Tell a condition of Qdrant from the operators of a field, such as ``{"$gte": 2020}``."""
    if isinstance(condition, Mapping):
        return not any(str(key).startswith("$") for key in condition)
    return isinstance(condition, BaseModel)


def _filter_of_qdrant(filter: Mapping[str, Any]) -> models.Filter:
    try:
        return models.Filter.model_validate(dict(filter))
    except ValidationError as error:
        complaint = error.errors()[0]
        place = f"filter[{complaint['loc'][0]!r}]" if complaint["loc"] else "filter"
        raise FilterError(place, "conditions of Qdrant", short_repr(complaint["input"])) from None


def _all_fields(filter: Any, root: str, place: str) -> models.Filter:
    if isinstance(filter, models.Filter):
        return filter
    if not isinstance(filter, Mapping) or not filter:
        raise FilterError(place, "a filter", short_repr(filter))
    return models.Filter(
        must=[
            condition for key, value in filter.items() for condition in _conditions(key, value, root, place)
        ]
    )


def _conditions(key: Any, value: Any, root: str, place: str) -> list[Condition]:
    if not isinstance(key, str) or not key:
        raise FilterError(place, "the name of a field", short_repr(key))
    place = f"{place}[{key!r}]"
    if key in ("$and", "$or"):
        if not isinstance(value, Sequence) or isinstance(value, str) or not value:
            raise FilterError(place, "a list of filters", short_repr(value))
        parts = [_all_fields(part, root, f"{place}[{i}]") for i, part in enumerate(value)]
        return [models.Filter(must=parts) if key == "$and" else models.Filter(should=parts)]
    if key == "$not":
        return [negated(_all_fields(value, root, place))]
    if key.startswith("$"):
        raise FilterError(place, "$and, $or, $not or the name of a field", short_repr(key))
    field = f"{root}.{field_path(key)}" if root else field_path(key)
    if isinstance(value, list):
        return [any_of(field, value, place)]
    if not isinstance(value, Mapping):
        return [equal(field, value, place)]
    return _field_conditions(field, value, place)


def _field_conditions(field: str, operators: Mapping[Any, Any], place: str) -> list[Condition]:
    if not operators:
        raise FilterError(place, f"one of {[*_OPERATORS]}", "an empty mapping")
    conditions = []
    for operator, operand in operators.items():
        if operator not in _OPERATORS:
            raise FilterError(place, f"one of {[*_OPERATORS]}", short_repr(operator))
        conditions.append(_OPERATORS[operator](field, operand, f"{place}[{operator!r}]"))
    return conditions
