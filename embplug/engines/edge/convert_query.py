"""Conversion of queries: vectors, fusions, orders and samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from embplug.engines.edge.convert import check_vector, to_edge_vector
from embplug.engines.edge.convert_config import VectorSchema, to_edge_enum
from embplug.engines.edge.convert_filter import timestamp, to_edge_filter
from embplug.engines.edge.convert_ids import to_edge_id
from embplug.engines.search_request import SearchRequest
from embplug.errors import CapabilityError, InvalidArgumentError

DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
DEFAULT_MMR_DIVERSITY = 0.5

Id = int | UUID
VectorLookup = Callable[[Id, str, str], Any]
"""Function of id, vector name and argument that returns the stored vector, or raises if there is none."""


@dataclass(frozen=True)
class QueryConverter:
    """Converter of queries on one collection.

    Edge accepts vectors only. If a query is the id of a point, the vector of that point is looked up, and
    the point is left out of the results of that stage, as on a server.

    Attributes
    ----------
    schema : mapping of str to VectorSchema
        Vectors of the collection.
    lookup : callable
        Function that reads stored vectors.
    """

    schema: Mapping[str, VectorSchema]
    lookup: VectorLookup

    def prefetches(self, value: Any, argument: str = "prefetch") -> list[edge.Prefetch]:
        """Convert a prefetch, a list of prefetches or ``None``, nested to any depth."""
        if value is None:
            return []
        if not isinstance(value, (list, tuple)):
            return [self._prefetch(value, argument)]
        return [self._prefetch(prefetch, f"{argument}[{i}]") for i, prefetch in enumerate(value)]

    def _prefetch(self, value: Any, argument: str) -> edge.Prefetch:
        if not isinstance(value, (models.Prefetch, SearchRequest)):
            raise InvalidArgumentError(argument, "a models.Prefetch", type(value).__name__)
        if isinstance(value, models.Prefetch) and value.lookup_from is not None:
            raise CapabilityError(f"{argument}.lookup_from: Qdrant Edge searches one collection at a time")
        limit = DEFAULT_LIMIT if value.limit is None else value.limit
        query, used_ids = self.query(value.query, value.using, limit, f"{argument}.query")
        return edge.Prefetch(
            limit,
            query=query,
            prefetches=self.prefetches(value.prefetch, f"{argument}.prefetch") or None,
            params=to_edge_search_params(value.params),
            filter=excluding(to_edge_filter(value.filter, f"{argument}.filter"), used_ids),
            score_threshold=value.score_threshold,
        )

    def query(
        self, query: Any, using: str | None, limit: int, argument: str = "query"
    ) -> tuple[Any, list[Id]]:
        """Convert a query.

        Returns
        -------
        query : object
            The query for Edge; ``None`` without a query.
        ids : list of int or UUID
            Ids of points whose vectors the query uses.

        Raises
        ------
        InvalidArgumentError
            The query does not fit the collection.
        CapabilityError
            embplug does not use this kind of query, or it embeds text or images.
        """
        if query is None:
            return None, []
        if isinstance(query, _REFUSED):
            raise CapabilityError(f"{argument}: EdgeClient takes no {type(query).__name__}")
        if isinstance(query, _WITHOUT_VECTORS):
            return _query_without_vectors(query, using, argument), []
        if isinstance(query, models.NearestQuery):
            return self._nearest(query.nearest, query.mmr, using, limit, argument)
        return self._nearest(query, None, using, limit, argument)

    def _nearest(
        self, nearest: Any, mmr: models.Mmr | None, using: str | None, limit: int, argument: str
    ) -> tuple[Any, list[Id]]:
        name = using or ""
        expected = self.schema.get(name)
        if expected is None:
            raise InvalidArgumentError("using", f"one of the vectors {sorted(self.schema)}", repr(using))
        used_ids: list[Id] = []
        if isinstance(nearest, (int, np.integer, str, UUID)):
            used_ids = [to_edge_id(nearest, argument)]
            vector = self.lookup(used_ids[0], name, argument)
        else:
            vector = to_edge_vector(nearest, argument)
            check_vector(expected, vector, argument)
        if mmr is None:
            return edge.Query.Nearest(vector, name), used_ids
        diversity = DEFAULT_MMR_DIVERSITY if mmr.diversity is None else mmr.diversity
        candidates = limit if mmr.candidates_limit is None else mmr.candidates_limit
        return edge.Mmr(vector, 1.0 - diversity, candidates, name), used_ids


def excluding(condition: edge.Filter | None, ids: Sequence[Id]) -> edge.Filter | None:
    """Extend a filter so that it leaves out points."""
    if not ids:
        return condition
    others = edge.Filter(must_not=[edge.HasIdCondition(set(ids))])
    return others if condition is None else edge.Filter(must=[condition, others])


_WITHOUT_VECTORS = (models.FusionQuery, models.RrfQuery, models.OrderByQuery, models.SampleQuery)

_REFUSED = (
    models.RecommendQuery,
    models.DiscoverQuery,
    models.ContextQuery,
    models.RelevanceFeedbackQuery,
    models.FormulaQuery,
    models.TextQuery,
)


def _query_without_vectors(query: Any, using: str | None, argument: str) -> Any:
    if using is not None:
        raise CapabilityError(f"using: a {type(query).__name__} compares no vectors, so it has no effect")
    if isinstance(query, models.FusionQuery):
        return edge.Fusion.Dbsf() if query.fusion is models.Fusion.DBSF else edge.Fusion.Rrf(DEFAULT_RRF_K)
    if isinstance(query, models.RrfQuery):
        k = DEFAULT_RRF_K if query.rrf.k is None else query.rrf.k
        return edge.Fusion.Rrf(k, query.rrf.weights)
    if isinstance(query, models.OrderByQuery):
        return to_edge_order_by(query.order_by)
    return to_edge_enum(edge.Sample, query.sample, f"{argument}.sample")


def to_edge_order_by(order_by: Any) -> edge.OrderBy:
    """Convert a payload key, or a key with direction and start."""
    order = models.OrderBy(key=order_by) if isinstance(order_by, str) else order_by
    if not isinstance(order, models.OrderBy):
        raise InvalidArgumentError("order_by", "a payload key or a models.OrderBy", type(order).__name__)
    start = (
        timestamp(order.start_from) if isinstance(order.start_from, (datetime, date)) else order.start_from
    )
    direction = to_edge_enum(edge.Direction, order.direction, "order_by.direction")
    try:
        return edge.OrderBy(order.key, direction, start)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            "order_by", "a path into the payload, and a start of its type", error
        ) from None


def to_edge_search_params(params: models.SearchParams | None) -> edge.SearchParams | None:
    """Convert search parameters, and complete them with defaults."""
    if params is None:
        return None
    if not isinstance(params, models.SearchParams):
        raise InvalidArgumentError("search_params", "a models.SearchParams", type(params).__name__)
    quantization = acorn = idf = None
    if params.quantization is not None:
        quantization = edge.QuantizationSearchParams(
            bool(params.quantization.ignore), params.quantization.rescore, params.quantization.oversampling
        )
    if params.acorn is not None:
        acorn = edge.AcornSearchParams(bool(params.acorn.enable), params.acorn.max_selectivity)
    if params.idf is not None:
        corpus = params.idf.corpus if isinstance(params.idf, models.IdfCorpusParams) else None
        idf = edge.IdfParams(to_edge_filter(corpus, "search_params.idf.corpus"))
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=quantization,
        indexed_only=bool(params.indexed_only),
        acorn=acorn,
        idf=idf,
    )
