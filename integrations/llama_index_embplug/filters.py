"""LlamaIndex's metadata filters to Qdrant's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from qdrant_client import models

from embplug.engines.filter_depth import MAX_DEPTH
from embplug.errors import FilterError, InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.conditions import Condition, all_hold, any_of, equal, field_path
from embplug.frameworks.operators import OPERATORS
from llama_index_embplug.nodes import PLAIN_REF_DOC_KEY, REF_DOC_KEY

_NAMES = {
    FilterOperator.EQ: "eq",
    FilterOperator.NE: "ne",
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
    FilterOperator.IN: "in",
    FilterOperator.NIN: "nin",
    FilterOperator.ANY: "in",
    FilterOperator.ALL: "all",
    FilterOperator.CONTAINS: "contains",
    FilterOperator.TEXT_MATCH: "text",
    FilterOperator.TEXT_MATCH_INSENSITIVE: "text",
    FilterOperator.IS_EMPTY: "empty",
}
_OPERATORS = {operator: OPERATORS[name] for operator, name in _NAMES.items()}


def to_filter(
    filters: MetadataFilters | None, *, ignores_case: Callable[[str], bool] = lambda field: True
) -> models.Filter | None:
    """Translate filters on the metadata, nested ones included.

    ``NE``, ``NIN`` and ``NOT`` also hold where the field is absent. ``EQ``, ``IN`` and ``CONTAINS`` hold
    for a list if they hold for an item of it.

    Parameters
    ----------
    filters : MetadataFilters or None
        Filters of LlamaIndex. An empty list of filters holds everywhere.
    ignores_case : callable, default=always True
        Function of a field that returns True if the engine compares its text without case.

    Returns
    -------
    qdrant_client.models.Filter or None
        None if there is no condition.

    Raises
    ------
    FilterError
        A filter is wrong, or lacks an index; the error names its place. It is a ``ValueError``.
    """
    if filters is None:
        return None
    if not isinstance(filters, MetadataFilters):
        raise FilterError("filters", "a MetadataFilters", type(filters).__name__)
    try:
        return _combined(filters, ignores_case, "filters")
    except RecursionError:
        raise FilterError("filters", f"at most {MAX_DEPTH} filters inside each other", "more") from None


class NodeFilters:
    """Filters on the nodes of a collection.

    Parameters
    ----------
    shared : FrameworkCollection or None
        Collection of the store; None if it does not exist yet.
    case_insensitive : frozenset of str or None
        Fields whose text the engine compares without case. None stands for all fields.
    """

    def __init__(self, shared: FrameworkCollection | None, case_insensitive: frozenset[str] | None) -> None:
        self._shared = shared
        self._case_insensitive = case_insensitive

    def of_documents(self, ref_doc_ids: Sequence[str]) -> models.Filter:
        """Return the filter that lets the nodes of these documents through."""
        is_plain = self._shared is not None and self._shared.is_plain
        key = PLAIN_REF_DOC_KEY if is_plain else REF_DOC_KEY
        if len(ref_doc_ids) == 1:
            return models.Filter(must=[equal(key, ref_doc_ids[0], "ref_doc_id")])
        return models.Filter(must=[any_of(key, ref_doc_ids, "doc_ids")])

    def all_of(
        self,
        filters: MetadataFilters | None,
        *,
        doc_ids: Sequence[str] | None = None,
        node_ids: Sequence[str] | None = None,
        qdrant_filters: models.Filter | None = None,
    ) -> models.Filter | None:
        """Return the filter that holds where all arguments do; None if there is no condition."""
        conditions = [to_filter(filters, ignores_case=self._ignores_case), qdrant_filters]
        if self._shared is not None:
            conditions.append(self.of_documents(doc_ids) if doc_ids else None)
            conditions.append(self._shared.ids.condition(node_ids, "node_ids") if node_ids else None)
        return all_hold(conditions)

    def to_delete(
        self, node_ids: list[str] | None, filters: MetadataFilters | None
    ) -> tuple[list[str] | None, models.Filter | None]:
        """Return what is deleted: either ids or a filter.

        Raises
        ------
        InvalidArgumentError
            There are neither ids nor conditions.
        """
        if node_ids:
            return (node_ids, None) if filters is None else (None, self.all_of(filters, node_ids=node_ids))
        filter = self.all_of(filters)
        if node_ids is None and filter is None:
            raise InvalidArgumentError("node_ids", "node_ids or filters; clear() deletes all", "neither")
        # No ids are no nodes, whatever the filter.
        return node_ids, filter if node_ids is None else None

    def _ignores_case(self, field: str) -> bool:
        return self._case_insensitive is None or field in self._case_insensitive


def _combined(
    filters: MetadataFilters, ignores_case: Callable[[str], bool], place: str
) -> models.Filter | None:
    conditions: list[Condition] = []
    for i, item in enumerate(filters.filters):
        item_place = f"{place}.filters[{i}]"
        if isinstance(item, MetadataFilters):
            nested = _combined(item, ignores_case, item_place)
            conditions += [] if nested is None else [nested]
        else:
            conditions.append(_condition(item, ignores_case, item_place))
    if not conditions:
        return None
    if filters.condition == FilterCondition.OR:
        return models.Filter(should=conditions)
    if filters.condition == FilterCondition.NOT:
        return models.Filter(must_not=conditions)
    return models.Filter(must=conditions)


def _condition(item: MetadataFilter, ignores_case: Callable[[str], bool], place: str) -> Condition:
    if not item.key:
        raise FilterError(f"{place}.key", "the name of a field", repr(item.key))
    if item.operator == FilterOperator.TEXT_MATCH_INSENSITIVE and not ignores_case(item.key):
        index = f"Recipe(payload_indexes={{{item.key!r}: 'text'}})"
        raise FilterError(place, f"a text index on {item.key!r}, to compare without case: {index}", "none")
    if item.operator not in _OPERATORS:
        raise FilterError(f"{place}.operator", f"one of {[*_OPERATORS]}", item.operator)
    return _OPERATORS[item.operator](field_path(item.key), item.value, f"{place}.value")
