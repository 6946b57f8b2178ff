"""Filters that a language model writes, for LangChain's ``SelfQueryRetriever``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.structured_query import (
    Comparator,
    Comparison,
    Operation,
    Operator,
    StructuredQuery,
    Visitor,
)

_COMPARATORS = {
    Comparator.EQ: "$eq",
    Comparator.NE: "$ne",
    Comparator.GT: "$gt",
    Comparator.GTE: "$gte",
    Comparator.LT: "$lt",
    Comparator.LTE: "$lte",
    Comparator.CONTAIN: "$contains",
    Comparator.LIKE: "$text",
    Comparator.IN: "$in",
    Comparator.NIN: "$nin",
}


class EmbplugTranslator(Visitor):
    """Translates structured queries to filters of :class:`EmbplugVectorStore`.

    Pass it to ``SelfQueryRetriever.from_llm`` as ``structured_query_translator``.

    Examples
    --------
    >>> retriever = SelfQueryRetriever.from_llm(  # doctest: +SKIP
    ...     model, store, "articles", fields, structured_query_translator=EmbplugTranslator()
    ... )
    """

    allowed_operators: Sequence[Operator] | None = tuple(Operator)
    allowed_comparators: Sequence[Comparator] | None = tuple(Comparator)

    def visit_operation(self, operation: Operation) -> dict[str, Any]:
        """Return the filter of an operation."""
        self._validate_func(operation.operator)
        arguments = [argument.accept(self) for argument in operation.arguments]
        if operation.operator == Operator.NOT:
            return {"$not": {"$and": arguments}}
        return {f"${operation.operator.value}": arguments}

    def visit_comparison(self, comparison: Comparison) -> dict[str, Any]:
        """Return the filter of a comparison."""
        self._validate_func(comparison.comparator)
        value = comparison.value
        if isinstance(value, dict) and "date" in value:
            # So writes LangChain's grammar a date.
            value = value["date"]
        if comparison.comparator in (Comparator.IN, Comparator.NIN) and not isinstance(value, list):
            value = [value]
        return {comparison.attribute: {_COMPARATORS[comparison.comparator]: value}}

    def visit_structured_query(self, structured_query: StructuredQuery) -> tuple[str, dict[str, Any]]:
        """Return the text of a query, and its filter as an argument of the search."""
        if structured_query.filter is None:
            return structured_query.query, {}
        return structured_query.query, {"filter": structured_query.filter.accept(self)}
