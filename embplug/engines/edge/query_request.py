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
from embplug.engines.edge.convert_query import Id, QueryConverter, excluding, to_edge_search_params
from embplug.engines.edge.store import EdgeCollection, translating
from embplug.errors import CapabilityError, InvalidArgumentError


def query_request(
    collection: EdgeCollection,
    query: Any,
    *,
    using: str | None,
    prefetch: Any,
    query_filter: models.Filter | None,
    search_params: models.SearchParams | None,
    limit: int,
    offset: int | None,
    with_payload: Any,
    with_vectors: Any,
    score_threshold: float | None,
) -> edge.QueryRequest:
    """Convert the arguments of ``QdrantClient.query_points`` to a request of Edge.

    Raises
    ------
    InvalidArgumentError, FilterError
        A part of the request is wrong; the error names it.
    CapabilityError
        Edge has no such query.
    """
    converter = QueryConverter(collection.schema, lambda *key: _stored_vector(collection, *key))
    limit = checked_integer(limit, "limit", at_least=1)
    scoring, used_ids = converter.query(query, using, limit)
    if query is None and using is not None:
        raise CapabilityError("using: without a query no vectors are compared, so it has no effect")
    arguments = {
        "offset": None if offset is None else checked_integer(offset, "offset"),
        "query": scoring,
        "prefetches": converter.prefetches(prefetch) or None,
        "with_vector": to_edge_vector_selector(with_vectors, collection.schema, "with_vectors"),
        "with_payload": to_edge_payload_selector(with_payload),
        "filter": excluding(to_edge_filter(query_filter, "query_filter"), used_ids),
        "score_threshold": score_threshold,
        "params": to_edge_search_params(search_params),
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
