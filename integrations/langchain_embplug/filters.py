"""Filters as LangChain's users write them, ``{"year": {"$gte": 2020}}``, to Qdrant's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from qdrant_client import models

from embplug.errors import FilterError
from embplug.frameworks import conditions

FilterGiven: TypeAlias = models.Filter | Mapping[str, Any]


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
        return [conditions.negated(_all_of(value, root, place))]
    if key.startswith("$"):
        raise FilterError(place, "$and, $or, $not or the name of a field", repr(key))
    field = f"{root}.{conditions.field_path(key)}"
    if isinstance(value, list):
        return [conditions.one_of(field, value, place)]
    if not isinstance(value, Mapping):
        return [conditions.equal(field, value, place)]
    if not value:
        raise FilterError(place, f"one of {[*_OPERATORS]}", "an empty mapping")
    made = []
    for operator, operand in value.items():
        if operator not in _OPERATORS:
            raise FilterError(place, f"one of {[*_OPERATORS]}", repr(operator))
        made.append(_OPERATORS[operator](field, operand, f"{place}[{operator!r}]"))
    return made


def _bound(side: str, field: str, value: Any, place: str) -> Any:
    return conditions.bound(field, side, value, place)


def _between(field: str, value: Any, place: str) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise FilterError(place, "two values, the lowest and the highest", repr(value))
    sides = zip(("gte", "lte"), value, strict=True)
    return models.Filter(
        must=[conditions.bound(field, side, one, f"{place}[{i}]") for i, (side, one) in enumerate(sides)]
    )


def _exists(field: str, value: Any, place: str) -> Any:
    if not isinstance(value, bool):
        raise FilterError(place, "True or False", repr(value))
    present = conditions.present(field)
    return present if value else conditions.negated(present)


_OPERATORS: dict[str, Callable[[str, Any, str], Any]] = {
    "$eq": conditions.equal,
    "$ne": lambda field, value, place: conditions.negated(conditions.equal(field, value, place)),
    **{f"${side}": partial(_bound, side) for side in conditions.BOUNDS},
    "$between": _between,
    "$in": conditions.one_of,
    "$nin": lambda field, values, place: conditions.negated(conditions.one_of(field, values, place)),
    # Qdrant's match holds for a list when it holds for an item.
    "$contains": conditions.equal,
    "$exists": _exists,
    "$text": conditions.text,
}
