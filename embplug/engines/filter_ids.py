"""Filters by ids of points, and those whose conditions on ids name documents, in the ids of their points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from embplug.common.ids import point_id


def with_ids(points: Sequence[Any]) -> models.Filter:
    """Return a filter for these points, by which those that are gone are no error."""
    return models.Filter(must=[models.HasIdCondition(has_id=[*points])])


def with_point_ids(condition_filter: models.Filter, argument: str = "filter") -> models.Filter:
    """Map the ids of every ``HasIdCondition``, also of nested ones, as the ids of documents are mapped.

    Parameters
    ----------
    condition_filter : models.Filter
        The filter, which stays as it is.
    argument : str, default="filter"
        Name of the argument, for the error.

    Returns
    -------
    models.Filter
        The filter itself if it has no such condition.

    Raises
    ------
    InvalidArgumentError
        If an id is not valid; the error names its place: ``filter.must[0].has_id[2]``.
    """
    changed: dict[str, Any] = {}
    for clause in ("must", "should", "must_not"):
        conditions = getattr(condition_filter, clause)
        if conditions is not None:
            listed = conditions if isinstance(conditions, list) else [conditions]
            mapped = _mapped(listed, f"{argument}.{clause}")
            if mapped is not listed:
                changed[clause] = mapped
    if condition_filter.min_should is not None:
        listed = condition_filter.min_should.conditions
        mapped = _mapped(listed, f"{argument}.min_should")
        if mapped is not listed:
            changed["min_should"] = condition_filter.min_should.model_copy(update={"conditions": mapped})
    return condition_filter.model_copy(update=changed) if changed else condition_filter


def _mapped(conditions: list[Any], place: str) -> list[Any]:
    mapped = [_mapped_condition(condition, f"{place}[{i}]") for i, condition in enumerate(conditions)]
    same = all(new is old for new, old in zip(mapped, conditions, strict=True))
    return conditions if same else mapped


def _mapped_condition(condition: Any, place: str) -> Any:
    if isinstance(condition, models.HasIdCondition):
        points = [point_id(value, f"{place}.has_id[{i}]") for i, value in enumerate(condition.has_id)]
        return condition.model_copy(update={"has_id": points})
    if isinstance(condition, models.Filter):
        return with_point_ids(condition, place)
    if isinstance(condition, models.NestedCondition):
        inner = with_point_ids(condition.nested.filter, f"{place}.nested.filter")
        if inner is not condition.nested.filter:
            nested = condition.nested.model_copy(update={"filter": inner})
            return condition.model_copy(update={"nested": nested})
    return condition
