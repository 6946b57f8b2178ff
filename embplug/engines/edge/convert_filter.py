"""Conversion of filters, with every condition of ``qdrant_client.models``, to ``qdrant_edge``."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from embplug.engines.edge.convert_ids import to_edge_ids
from embplug.engines.filter_depth import check_filter_depth
from embplug.errors import FilterError

MAX_DEPTH = 48
"""Largest number of filters inside each other; Edge 0.9 does not open again what more than 62 deleted."""


def to_edge_filter(value: Any, argument: str = "filter") -> edge.Filter | None:
    """Convert a filter with those inside it.

    Parameters
    ----------
    value : models.Filter or None
        The filter.
    argument : str, default="filter"
        Name of the argument, for errors.

    Returns
    -------
    qdrant_edge.Filter or None
        The filter for Edge.

    Raises
    ------
    FilterError
        Edge cannot evaluate a condition; the error names it, as in ``filter.must[2].range``. Or filters are
        nested deeper than Edge can read again from its log.
    """
    if value is None:
        return None
    if not isinstance(value, models.Filter):
        raise FilterError(argument, "a models.Filter", type(value).__name__)
    check_filter_depth(value, argument, MAX_DEPTH)
    return _filter(value, argument)


def _filter(value: models.Filter, argument: str) -> edge.Filter:
    min_should = None
    if value.min_should is not None:
        conditions = _conditions(value.min_should.conditions, f"{argument}.min_should") or []
        min_should = edge.MinShould(conditions, value.min_should.min_count)
    return edge.Filter(
        must=_conditions(value.must, f"{argument}.must"),
        should=_conditions(value.should, f"{argument}.should"),
        must_not=_conditions(value.must_not, f"{argument}.must_not"),
        min_should=min_should,
    )


def _conditions(value: Any, argument: str) -> list[Any] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        return [_checked_condition(value, argument)]
    return [_checked_condition(condition, f"{argument}[{i}]") for i, condition in enumerate(value)]


def _checked_condition(condition: Any, argument: str) -> Any:
    try:
        return _condition(condition, argument)
    except FilterError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise FilterError(argument, "a condition that Edge accepts", error) from None


def _condition(condition: Any, argument: str) -> Any:
    if isinstance(condition, models.FieldCondition):
        return _field(condition, argument)
    if isinstance(condition, models.Filter):
        return _filter(condition, argument)
    if isinstance(condition, models.IsEmptyCondition):
        return edge.IsEmptyCondition(condition.is_empty.key)
    if isinstance(condition, models.IsNullCondition):
        return edge.IsNullCondition(condition.is_null.key)
    if isinstance(condition, models.HasIdCondition):
        return edge.HasIdCondition(set(to_edge_ids(condition.has_id, f"{argument}.has_id")))
    if isinstance(condition, models.HasVectorCondition):
        return edge.HasVectorCondition(condition.has_vector)
    if isinstance(condition, models.NestedCondition):
        nested = _filter(condition.nested.filter, f"{argument}.nested.filter")
        return edge.NestedCondition(condition.nested.key, nested)
    if isinstance(condition, models.SliceCondition):
        # Missing from the stub of qdrant-edge-py, not from the module.
        return edge.SliceCondition(condition.slice.total, condition.slice.index)  # type: ignore[attr-defined]
    raise FilterError(argument, "a condition of qdrant_client.models", type(condition).__name__)


def _field(condition: models.FieldCondition, argument: str) -> edge.FieldCondition:
    parts = condition.model_dump(exclude={"key"}, exclude_none=True)
    if not parts:
        raise FilterError(argument, "a match, range, geo, values_count, is_empty or is_null", "none of them")
    return edge.FieldCondition(
        condition.key,
        match=_match(condition.match, f"{argument}.match"),
        range=_range(condition.range, f"{argument}.range"),
        geo_bounding_box=_geo_bounding_box(condition.geo_bounding_box),
        geo_radius=_geo_radius(condition.geo_radius),
        geo_polygon=_geo_polygon(condition.geo_polygon),
        values_count=_values_count(condition.values_count),
        is_empty=condition.is_empty,
        is_null=condition.is_null,
    )


def _match(match: Any, argument: str) -> Any:
    if match is None:
        return None
    if isinstance(match, models.MatchValue):
        # The binding mistakes a Python bool for the integer 0 or 1, but not a bool of numpy.
        value: Any = np.bool_(match.value) if isinstance(match.value, bool) else match.value
        return edge.MatchValue(value)
    if isinstance(match, models.MatchAny):
        return edge.MatchAny(match.any)
    if isinstance(match, models.MatchExcept):
        return edge.MatchExcept(match.except_)
    if isinstance(match, models.MatchText):
        return edge.MatchText(match.text)
    if isinstance(match, models.MatchTextAny):
        return edge.MatchTextAny(match.text_any)
    if isinstance(match, models.MatchPhrase):
        return edge.MatchPhrase(match.phrase)
    if isinstance(match, models.MatchPrefix):
        return edge.MatchPrefix(match.prefix)
    if isinstance(match, models.MatchSubstring):
        return edge.MatchSubstring(match.substring)
    raise FilterError(argument, "a match of qdrant_client.models", type(match).__name__)


def _range(value: Any, argument: str) -> Any:
    if value is None:
        return None
    if isinstance(value, models.Range):
        return edge.RangeFloat(gte=value.gte, gt=value.gt, lte=value.lte, lt=value.lt)
    if isinstance(value, models.DatetimeRange):
        return edge.RangeDateTime(
            gte=timestamp(value.gte), gt=timestamp(value.gt), lte=timestamp(value.lte), lt=timestamp(value.lt)
        )
    raise FilterError(argument, "a Range or a DatetimeRange", type(value).__name__)


def timestamp(moment: datetime | date | None) -> str | None:
    """Format a time as ISO 8601, as QdrantClient does; engines take a time without a zone as UTC."""
    return None if moment is None else moment.isoformat()


def _geo_point(point: models.GeoPoint) -> edge.GeoPoint:
    return edge.GeoPoint(point.lon, point.lat)


def _geo_bounding_box(box: models.GeoBoundingBox | None) -> edge.GeoBoundingBox | None:
    if box is None:
        return None
    return edge.GeoBoundingBox(_geo_point(box.top_left), _geo_point(box.bottom_right))


def _geo_radius(circle: models.GeoRadius | None) -> edge.GeoRadius | None:
    return None if circle is None else edge.GeoRadius(_geo_point(circle.center), circle.radius)


def _geo_polygon(polygon: models.GeoPolygon | None) -> edge.GeoPolygon | None:
    if polygon is None:
        return None
    rings = [[_geo_point(point) for point in ring.points] for ring in polygon.interiors or []]
    return edge.GeoPolygon([_geo_point(point) for point in polygon.exterior.points], rings or None)


def _values_count(count: models.ValuesCount | None) -> edge.ValuesCount | None:
    if count is None:
        return None
    return edge.ValuesCount(lt=count.lt, gt=count.gt, lte=count.lte, gte=count.gte)
