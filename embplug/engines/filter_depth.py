"""The depth of filters, which engines bound, and some only when it is too late."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from embplug.errors import FilterError

MAX_DEPTH = 24
"""Largest number of filters inside each other.

Measured with nested conditions on server 1.16.3, in a search with two prefetches inside each other: 30 over
REST, and 32 over gRPC. Edge 0.9 deletes by a filter of more than 62, but never opens such a collection again.
"""


def check_filter_depth(
    condition_filter: models.Filter, argument: str = "filter", limit: int = MAX_DEPTH
) -> None:
    """Refuse filters that are nested deeper than ``limit``.

    Parameters
    ----------
    condition_filter : models.Filter
        Outermost filter, which counts as one.
    argument : str, default="filter"
        Name of the argument, for the error.
    limit : int, default=24
        Largest number of filters inside each other.

    Raises
    ------
    FilterError
        If a filter is nested deeper.
    """
    level = [condition_filter]
    for _ in range(limit):
        inner: dict[int, models.Filter] = {}
        for outer in level:
            for _, condition in conditions_of(outer, argument):
                if isinstance(condition, models.NestedCondition):
                    condition = condition.nested.filter
                if isinstance(condition, models.Filter):
                    inner[id(condition)] = condition
        level = [*inner.values()]
        if not level:
            return
    raise FilterError(argument, f"at most {limit} filters inside each other", "more")


def conditions_of(condition_filter: models.Filter, argument: str) -> Iterator[tuple[str, Any]]:
    """Yield the place of each condition of a filter, and the condition."""
    for clause in ("must", "should", "must_not"):
        conditions = getattr(condition_filter, clause)
        if conditions is not None:
            listed = conditions if isinstance(conditions, list) else [conditions]
            yield from ((f"{argument}.{clause}[{i}]", condition) for i, condition in enumerate(listed))
    if condition_filter.min_should is not None:
        for i, condition in enumerate(condition_filter.min_should.conditions):
            yield f"{argument}.min_should[{i}]", condition
