"""LlamaIndex's metadata filters to Qdrant's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import models

from embplug.errors import FilterError
from embplug.frameworks import conditions


def to_filter(
    given: MetadataFilters | None, *, ignores_case: Callable[[str], bool] = lambda field: True
) -> models.Filter | None:
    """Translate filters on metadata, nested ones included.

    ``NE``, ``NIN`` and ``NOT`` also hold where the field is absent. ``EQ``, ``IN`` and ``CONTAINS`` hold
    for a list when they hold for an item.

    Parameters
    ----------
    given
        Empty lists of filters say nothing.
    ignores_case
        Whether the engine compares the text of a field without its case.

    Raises
    ------
    FilterError
        A ``ValueError`` that names the filter that is wrong, or the index that it needs.
    """
    if given is None:
        return None
    if not isinstance(given, MetadataFilters):
        raise FilterError("filters", "a MetadataFilters", type(given).__name__)
    return _all(given, ignores_case, "filters")


def _all(given: MetadataFilters, ignores_case: Callable[[str], bool], place: str) -> models.Filter | None:
    made = []
    for i, one in enumerate(given.filters):
        here = f"{place}.filters[{i}]"
        if isinstance(one, MetadataFilters):
            nested = _all(one, ignores_case, here)
            made += [] if nested is None else [nested]
        else:
            made.append(_one(one, ignores_case, here))
    if not made:
        return None
    if given.condition == FilterCondition.OR:
        return models.Filter(should=made)
    if given.condition == FilterCondition.NOT:
        return models.Filter(must_not=made)
    return models.Filter(must=made)


def _one(given: MetadataFilter, ignores_case: Callable[[str], bool], place: str) -> Any:
    if not given.key:
        raise FilterError(f"{place}.key", "the name of a field", repr(given.key))
    if given.operator == FilterOperator.TEXT_MATCH_INSENSITIVE and not ignores_case(given.key):
        index = f"Recipe(payload_indexes={{{given.key!r}: 'text'}})"
        raise FilterError(place, f"a text index on {given.key!r}, to compare without case: {index}", "none")
    if given.operator not in _OPERATORS:
        raise FilterError(f"{place}.operator", f"one of {[*_OPERATORS]}", given.operator)
    return _OPERATORS[given.operator](conditions.field_path(given.key), given.value, f"{place}.value")


def _bound(side: str, field: str, value: Any, place: str) -> Any:
    return conditions.bound(field, side, value, place)


def _empty(field: str, value: Any, place: str) -> Any:
    return conditions.empty(field)


_OPERATORS: dict[FilterOperator, Callable[[str, Any, str], Any]] = {
    FilterOperator.EQ: conditions.equal,
    FilterOperator.NE: lambda field, value, place: conditions.negated(conditions.equal(field, value, place)),
    FilterOperator.GT: partial(_bound, "gt"),
    FilterOperator.GTE: partial(_bound, "gte"),
    FilterOperator.LT: partial(_bound, "lt"),
    FilterOperator.LTE: partial(_bound, "lte"),
    FilterOperator.IN: conditions.one_of,
    FilterOperator.NIN: lambda field, values, place: conditions.negated(
        conditions.one_of(field, values, place)
    ),
    FilterOperator.ANY: conditions.one_of,
    FilterOperator.ALL: conditions.all_of,
    FilterOperator.CONTAINS: conditions.equal,
    FilterOperator.TEXT_MATCH: conditions.text,
    FilterOperator.TEXT_MATCH_INSENSITIVE: conditions.text,
    FilterOperator.IS_EMPTY: _empty,
}
