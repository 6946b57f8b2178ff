"""Haystack's filters, ``{"field": "meta.year", "operator": ">=", "value": 2020}``, to Qdrant's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.common.validation import short_repr
from embplug.engines.filter_depth import MAX_DEPTH
from embplug.errors import FilterError
from embplug.frameworks import conditions
from embplug.frameworks.conditions import Condition, field_path, negated
from embplug.frameworks.ids import DocumentIds
from embplug.frameworks.operators import Operator
from haystack_embplug.documents import BLOB_KEY, CONTENT_KEY, META_KEY
from haystack_embplug.errors import DocumentFilterError

Filters: TypeAlias = models.Filter | Mapping[str, Any]
"""A filter of Qdrant, or a mapping; see :func:`to_filter`."""

_ID = "id"
_UNSTORED = ("score", "embedding", "sparse_embedding")
_SIDES = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def to_filter(
    filters: Filters | None, *, content_key: str = CONTENT_KEY, ids: DocumentIds | None = None
) -> models.Filter | None:
    """Translate filters of Haystack; Qdrant's own stay as they are.

    ``!=``, ``not in`` and ``NOT`` also hold where the field is absent. ``==`` and ``in`` hold for a list if
    they hold for an item of it. A field without a prefix is one of the metadata.

    Parameters
    ----------
    filters : mapping, qdrant_client.models.Filter or None
        A comparison with ``field``, ``operator`` and ``value``, or a logical filter with ``operator`` and
        ``conditions``.
    content_key : str, default="content"
        Payload field of the text.
    ids : DocumentIds, default=None
        Translates ids, for filters on the field ``id``.

    Returns
    -------
    qdrant_client.models.Filter or None
        None if the filter is None or an empty mapping.

    Raises
    ------
    DocumentFilterError
        A part is missing or wrong; the error names its place. It is Haystack's ``FilterError`` too.
    """
    if filters is None or isinstance(filters, models.Filter):
        return filters
    if not isinstance(filters, Mapping):
        expected = "a mapping or a qdrant_client.models.Filter"
        raise DocumentFilterError("filters", expected, type(filters).__name__)
    if not filters:
        return None
    try:
        translation = _Translation(content_key, ids or DocumentIds(is_plain=False))
        condition = translation.condition(filters, "filters")
    except RecursionError:
        expected = f"at most {MAX_DEPTH} filters inside each other"
        raise DocumentFilterError("filters", expected, "more") from None
    return condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])


@dataclass(frozen=True)
class _Translation:
    content_key: str
    ids: DocumentIds

    def condition(self, item: Any, place: str) -> Condition:
        if not isinstance(item, Mapping):
            raise DocumentFilterError(place, "a mapping", short_repr(item))
        if "operator" not in item:
            raise DocumentFilterError(place, "an operator", f"the keys {[*item]}")
        operator = item["operator"]
        if operator in ("AND", "OR", "NOT"):
            return self._logical(operator, item, place)
        if not isinstance(operator, str) or operator not in _OPERATORS:
            expected = f"one of {['AND', 'OR', 'NOT', *_OPERATORS]}"
            raise DocumentFilterError(f"{place}['operator']", expected, short_repr(operator))
        for key in ("field", "value"):
            if key not in item:
                raise DocumentFilterError(place, f"a {key}", f"the keys {[*item]}")
        try:
            return self._comparison(item["field"], operator, item["value"], place)
        except FilterError as error:
            raise DocumentFilterError(error.argument, error.expected, error.got) from None

    def _logical(self, operator: str, item: Mapping[str, Any], place: str) -> models.Filter:
        place = f"{place}['conditions']"
        parts = item.get("conditions")
        if not isinstance(parts, (list, tuple)) or not parts:
            raise DocumentFilterError(place, "a list of filters", short_repr(parts))
        translated = [self.condition(part, f"{place}[{i}]") for i, part in enumerate(parts)]
        if operator == "OR":
            return models.Filter(should=translated)
        every = models.Filter(must=translated)
        return models.Filter(must_not=[every]) if operator == "NOT" else every

    def _comparison(self, field: Any, operator: str, value: Any, place: str) -> Condition:
        if not isinstance(field, str) or not field:
            raise FilterError(f"{place}['field']", "the name of a field", short_repr(field))
        if field in _UNSTORED:
            raise FilterError(f"{place}['field']", "id, content, blob or a field of meta", repr(field))
        place = f"{place}['value']"
        if field == _ID:
            return self._of_ids(operator, value, place)
        return _OPERATORS[operator](field_path(self._path(field)), value, place)

    def _path(self, field: str) -> str:
        if field == CONTENT_KEY:
            return self.content_key
        is_stored = field.split(".")[0] in (META_KEY, BLOB_KEY)
        return field if is_stored else f"{META_KEY}.{field}"

    def _of_ids(self, operator: str, value: Any, place: str) -> Condition:
        if operator not in ("==", "!=", "in", "not in"):
            raise FilterError(place, "==, !=, in or not in, for ids", operator)
        listed = _listed(value, place) if operator.endswith("in") else [value]
        condition = self.ids.condition(listed, place)
        return negated(condition) if operator in ("!=", "not in") else condition


def _listed(value: Any, place: str) -> list[Any]:
    if not isinstance(value, list):
        raise FilterError(place, "a list of values", short_repr(value))
    return value


def _equal(field: str, value: Any, place: str) -> Condition:
    """Hold where the field has the value; for None also where it is absent, which Haystack makes None."""
    if value is not None:
        return conditions.equal(field, value, place)
    null = models.IsNullCondition(is_null=models.PayloadField(key=field))
    return models.Filter(should=[negated(conditions.present(field)), null])


def _not_equal(field: str, value: Any, place: str) -> Condition:
    return negated(_equal(field, value, place))


def _in(field: str, value: Any, place: str) -> Condition:
    return conditions.any_of(field, _listed(value, place), place)


def _not_in(field: str, value: Any, place: str) -> Condition:
    return negated(_in(field, value, place))


def _bound(side: str) -> Operator:
    def condition(field: str, value: Any, place: str) -> Condition:
        if value is None:
            # Nothing is greater or less than nothing.
            return conditions.any_of(field, [], place)
        if isinstance(value, str) and not _is_date(value):
            raise FilterError(place, "a number or a date in ISO 8601", short_repr(value))
        return conditions.bound(field, side, value, place)

    return condition


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return False
    return True


_OPERATORS: dict[str, Operator] = {
    "==": _equal,
    "!=": _not_equal,
    **{operator: _bound(side) for operator, side in _SIDES.items()},
    "in": _in,
    "not in": _not_in,
}
