"""Refuses filters that cannot mean what they say: on an indexed field Qdrant would silently find nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qdrant_client import models

from embplug.errors import FilterError

_RANGES = {"integer": (models.Range,), "float": (models.Range,), "datetime": (models.DatetimeRange,)}
_GEO = ("geo_bounding_box", "geo_radius", "geo_polygon")
_MATCHED_TYPES: dict[str, tuple[type, ...]] = {
    "keyword": (str,),
    "text": (str,),
    "uuid": (str,),
    "integer": (int,),
    "bool": (bool,),
}


def check_filter(given: Any, indexes: Mapping[str, Any], argument: str = "filter") -> None:
    """Check a filter against the payload indexes of the recipe.

    Raises
    ------
    FilterError
        Something other than a ``models.Filter``, or a condition that the type of the field's index
        can never meet, by its place: ``filter.must[0]``.
    """
    if not isinstance(given, models.Filter):
        raise FilterError(argument, "a qdrant_client.models.Filter", type(given).__name__)
    for place, condition in _conditions(given, argument):
        if isinstance(condition, models.Filter):
            check_filter(condition, indexes, place)
        elif isinstance(condition, models.NestedCondition):
            prefix = f"{condition.nested.key.removesuffix('[]')}[]."
            inner = {
                key.removeprefix(prefix): kind for key, kind in indexes.items() if key.startswith(prefix)
            }
            check_filter(condition.nested.filter, inner, place)
        elif isinstance(condition, models.FieldCondition) and condition.key in indexes:
            _check_field(condition, _kind(indexes[condition.key]), place)


def _conditions(given: models.Filter, argument: str) -> Iterator[tuple[str, Any]]:
    for clause in ("must", "should", "must_not"):
        conditions = getattr(given, clause)
        if conditions is not None:
            listed = conditions if isinstance(conditions, list) else [conditions]
            yield from ((f"{argument}.{clause}[{i}]", condition) for i, condition in enumerate(listed))
    if given.min_should is not None:
        for i, condition in enumerate(given.min_should.conditions):
            yield f"{argument}.min_should[{i}]", condition


def _kind(schema: Any) -> str:
    kind = schema if isinstance(schema, str) else schema.type
    return str(getattr(kind, "value", kind))


def _check_field(condition: models.FieldCondition, kind: str, place: str) -> None:
    field = f"a condition for {condition.key!r}, which is indexed as {kind}"
    if condition.range is not None and not isinstance(condition.range, _RANGES.get(kind, ())):
        raise FilterError(place, field, type(condition.range).__name__)
    for geo in _GEO:
        if getattr(condition, geo) is not None and kind != "geo":
            raise FilterError(place, field, geo)
    match = condition.match
    if match is None:
        return
    if isinstance(match, (models.MatchText, models.MatchPhrase, models.MatchTextAny)):
        if kind not in ("text", "keyword"):
            raise FilterError(place, field, type(match).__name__)
        return
    for value in _values(match):
        allowed = _MATCHED_TYPES.get(kind, ())
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
            raise FilterError(place, field, f"a match with {value!r}")


def _values(match: Any) -> list[Any]:
    if isinstance(match, models.MatchValue):
        return [match.value]
    return list(match.any if isinstance(match, models.MatchAny) else match.except_)
