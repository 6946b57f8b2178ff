"""Search requests on one collection."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client import models

# `models.QueryResponse` is shadowed by an unrelated class of fastembed.
from qdrant_client.http.models import QueryResponse

from embplug.common.checks import checked_integer
from embplug.engines.edge.convert import (
    from_edge_scored_point,
    to_edge_payload_selector,
    to_edge_vector_selector,
)
from embplug.engines.edge.convert_filter import to_edge_filter
from embplug.engines.edge.convert_query import (
    DEFAULT_LIMIT,
    Id,
    QueryConverter,
    excluding,
    to_edge_search_params,
)
from embplug.engines.edge.store import EdgeCollection, translating
from embplug.engines.search_request import SearchRequest
from embplug.errors import CapabilityError, InvalidArgumentError


def query_request(
    collection: EdgeCollection,
    search: SearchRequest | models.QueryRequest,
    offset: int | None = None,
    with_vectors: Any = None,
) -> edge.QueryRequest:
    """Convert a search to a request of Edge; errors have the names of ``QdrantClient.query_points``.

    Raises
    ------
    InvalidArgumentError, FilterError
        A part of the request is wrong; the error names it.
    CapabilityError
        Edge has no such query.
    """
    limit = DEFAULT_LIMIT if search.limit is None else checked_integer(search.limit, "limit", at_least=1)
    converter = QueryConverter(collection.schema, lambda *key: _stored_vector(collection, *key))
    scoring, used_ids = converter.query(search.query, search.using, limit)
    if search.query is None and search.using is not None:
        raise CapabilityError("using: without a query no vectors are compared, so it has no effect")
    arguments = {
        "offset": None if offset is None else checked_integer(offset, "offset"),
        "query": scoring,
        "prefetches": converter.prefetches(search.prefetch) or None,
        "with_vector": to_edge_vector_selector(with_vectors, collection.schema, "with_vectors"),
        "with_payload": to_edge_payload_selector(search.with_payload),
        "filter": excluding(to_edge_filter(search.filter, "query_filter"), used_ids),
        "score_threshold": search.score_threshold,
        "params": to_edge_search_params(search.params),
    }
    return translating(lambda: edge.QueryRequest(limit, **arguments))


def _stored_vector(collection: EdgeCollection, point_id: Id, using: str, argument: str) -> Any:
    records = translating(lambda: collection.shard.retrieve([point_id], False, [using]))
    stored: Any = records[0].vector if records else None
    vector = stored.get(using) if isinstance(stored, dict) else stored
    if vector is None:
        raise InvalidArgumentError(argument, f"the id of a point with a vector {using!r}", str(point_id))
    return vector


def query_response(points: list[edge.ScoredPoint]) -> QueryResponse:
    """Convert the hits of Edge to what ``QdrantClient.query_points`` returns."""
    return QueryResponse.model_construct(points=[from_edge_scored_point(point) for point in points])
