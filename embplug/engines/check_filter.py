"""Refuses filters that Qdrant cannot read, or that contradict the payload indexes.

Engines fail in different ways for paths that they cannot read, conditions without a test and broken text.

For most contradictions Qdrant reads the payload and returns nothing. Some are worse on server 1.16.3 and Edge
0.9: a UUID that is matched on an integer index is read as a number, a phrase on a text index without
``phrase_matching`` finds nothing, and a server ignores conditions that it is too old for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from qdrant_client import models

from embplug.common.json_types import MAX_INTEGER
from embplug.common.payload_paths import check_readable_path
from embplug.common.unicode_text import check_text
from embplug.engines.capabilities import Capabilities
from embplug.engines.filter_depth import check_filter_depth, conditions_of
from embplug.errors import FilterError, InvalidArgumentError

_RANGES = {"integer": (models.Range,), "float": (models.Range,), "datetime": (models.DatetimeRange,)}
_GEO = ("geo_bounding_box", "geo_radius", "geo_polygon")
_MATCHED_TYPES: dict[str, tuple[type, ...]] = {
    "keyword": (str,),
    "text": (str,),
    "uuid": (str,),
    "datetime": (str,),
    "integer": (int,),
    "bool": (bool,),
}
_TEXT_MATCHES = (
    models.MatchText,
    models.MatchTextAny,
    models.MatchPhrase,
    models.MatchPrefix,
    models.MatchSubstring,
)
_NEEDED: dict[type[Any], str] = {models.MatchPrefix: "match_prefix", models.MatchSubstring: "match_substring"}


def check_filter(
    condition_filter: Any,
    indexes: Mapping[str, Any],
    argument: str = "filter",
    capabilities: Capabilities | None = None,
) -> None:
    """Check a filter against the payload indexes of a recipe and the capabilities of an engine.

    Parameters
    ----------
    condition_filter : models.Filter
        Filter as the user passes it.
    indexes : mapping of str to schema
        Payload indexes of the recipe.
    argument : str, default="filter"
        Name of the argument, for the errors.
    capabilities : Capabilities, default=None
        What the engine can do. None does not check it.

    Raises
    ------
    FilterError
        The argument is not a ``models.Filter``, filters are nested too deep, a key is no path, a condition
        tests nothing, a text is none that UTF-8 can encode, a number is one that Qdrant does not have, or
        values of the type of a field's index can never meet a condition; the error names the place of the
        condition, such as ``filter.must[0]``.
    CapabilityError
        The engine is too old for a condition; the error names its place.

    References
    ----------
    .. [1] Qdrant documentation, "Indexing: Payload Index",
       https://qdrant.tech/documentation/manage-data/indexing/#payload-index
    """
    if not isinstance(condition_filter, models.Filter):
        raise FilterError(argument, "a qdrant_client.models.Filter", type(condition_filter).__name__)
    check_filter_depth(condition_filter, argument)
    _check_conditions(condition_filter, indexes, argument, capabilities)


def _check_conditions(
    condition_filter: models.Filter,
    indexes: Mapping[str, Any],
    argument: str,
    capabilities: Capabilities | None,
) -> None:
    for place, condition in conditions_of(condition_filter, argument):
        if isinstance(condition, models.Filter):
            _check_conditions(condition, indexes, place, capabilities)
        elif isinstance(condition, models.NestedCondition):
            _check(check_readable_path, condition.nested.key, f"{place}.nested.key")
            prefix = f"{condition.nested.key.removesuffix('[]')}[]."
            inner = {
                key.removeprefix(prefix): kind for key, kind in indexes.items() if key.startswith(prefix)
            }
            _check_conditions(condition.nested.filter, inner, f"{place}.nested.filter", capabilities)
        elif isinstance(condition, models.SliceCondition) and capabilities is not None:
            capabilities.require("slice_condition", place)
        elif isinstance(condition, models.IsEmptyCondition):
            _check(check_readable_path, condition.is_empty.key, f"{place}.is_empty.key")
        elif isinstance(condition, models.IsNullCondition):
            _check(check_readable_path, condition.is_null.key, f"{place}.is_null.key")
        elif isinstance(condition, models.HasVectorCondition):
            _check(check_text, condition.has_vector, f"{place}.has_vector")
        elif isinstance(condition, models.FieldCondition):
            _check(check_readable_path, condition.key, f"{place}.key")
            if all(test is None for name, test in condition if name != "key"):
                raise FilterError(place, "a test of the field, such as match or range", "none")
            needed = _NEEDED.get(type(condition.match))
            if needed is not None and capabilities is not None:
                capabilities.require(needed, place)
            _check_numbers(condition, place)
            _check_texts(condition.match, f"{place}.match")
            if condition.key in indexes:
                _check_field(condition, indexes[condition.key], place)


def _check_texts(match: Any, place: str) -> None:
    """Refuse texts with half of a surrogate pair, for which gRPC has no bytes."""
    for name, value in match or ():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                _check(check_text, text, f"{place}.{name.removesuffix('_')}")


def _check(check: Callable[[str, str], None], value: str, place: str) -> None:
    """Check a key or a text, whose error becomes one of the filter."""
    try:
        check(value, place)
    except InvalidArgumentError as error:
        raise FilterError(place, error.expected, error.got) from None


def _check_numbers(condition: models.FieldCondition, place: str) -> None:
    """Refuse bounds that JSON drops, so that the condition would hold everywhere, and too large integers."""
    if isinstance(condition.range, models.Range):
        for side, value in condition.range:
            if value is not None and not math.isfinite(value):
                raise FilterError(f"{place}.range.{side}", "a finite number", value)
    if isinstance(condition.match, (models.MatchValue, models.MatchAny, models.MatchExcept)):
        for value in _values(condition.match):
            if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
                raise FilterError(f"{place}.match", "an integer of at most 64 bits", "a larger one")


def _check_field(condition: models.FieldCondition, schema: Any, place: str) -> None:
    kind = schema if isinstance(schema, str) else schema.type
    kind = str(getattr(kind, "value", kind))
    expected = f"a condition for {condition.key!r}, which is indexed as {kind}"
    if condition.range is not None and not isinstance(condition.range, _RANGES.get(kind, ())):
        raise FilterError(place, expected, type(condition.range).__name__)
    for geo in _GEO:
        if getattr(condition, geo) is not None and kind != "geo":
            raise FilterError(place, expected, geo)
    match = condition.match
    if isinstance(match, _TEXT_MATCHES):
        if kind not in ("text", "keyword"):
            raise FilterError(place, expected, type(match).__name__)
        phrases = kind != "text" or bool(getattr(schema, "phrase_matching", None))
        if isinstance(match, models.MatchPhrase) and not phrases:
            raise FilterError(place, f"{expected} without phrase_matching", "MatchPhrase")
    elif match is not None:
        for value in _values(match):
            allowed = _MATCHED_TYPES.get(kind, ())
            if not isinstance(value, allowed) or (isinstance(value, bool) and kind != "bool"):
                raise FilterError(place, expected, f"a match with {value!r}")


def _values(match: models.MatchValue | models.MatchAny | models.MatchExcept) -> list[Any]:
    if isinstance(match, models.MatchValue):
        return [match.value]
    return list(match.any if isinstance(match, models.MatchAny) else match.except_)
