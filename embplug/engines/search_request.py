"""A search, or points to read, as data, in which nothing is validated once more; its form for each engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.engines.filter_ids import with_ids


@dataclass(slots=True, kw_only=True, eq=False)
class SearchRequest:
    """A search, one that finds candidates for another, or points to read.

    The fields other than ``ids`` are those of ``models.QueryRequest``. Whoever makes a request has checked
    them.

    Attributes
    ----------
    query : object, default=None
        A float32 vector or matrix as an array, or what ``models.QueryRequest`` takes.
    using : str, default=None
        Name of the vector in Qdrant.
    limit : int
        Number of points.
    prefetch : sequence of SearchRequest, default=()
        Searches among whose points this one searches.
    filter : models.Filter, default=None
        Condition on the points.
    params : models.SearchParams, default=None
        Search parameters.
    with_payload : bool, list of str or models.PayloadSelector, default=False
        What is returned of payloads.
    score_threshold : float, default=None
        Lowest score.
    shard_key : models.ShardKeySelector, default=None
        Shards that are searched.
    ids : sequence of int or str, default=None
        Points to read. They are not scored, and come in any order, without those that are missing. None
        searches.
    """

    limit: int
    query: Any = None
    using: str | None = None
    prefetch: Sequence[SearchRequest] = ()
    filter: models.Filter | None = None
    params: models.SearchParams | None = None
    with_payload: Any = False
    score_threshold: float | None = None
    shard_key: models.ShardKeySelector | None = None
    ids: Sequence[int | str] | None = None

    @classmethod
    def of_points(cls, ids: Sequence[int | str], with_payload: Any) -> SearchRequest:
        """A request for the payloads of points."""
        return cls(limit=len(ids), with_payload=with_payload, ids=ids)

    def as_model(self) -> models.QueryRequest:
        """The request in qdrant-client's models, for REST and for the simulation."""
        return models.QueryRequest(**self._fields(), with_payload=self.with_payload, shard_key=self.shard_key)

    def _fields(self) -> dict[str, Any]:
        """What a request and a prefetch share, in qdrant-client's models."""
        query = self.query
        if isinstance(query, np.ndarray):
            query = models.NearestQuery.model_construct(nearest=query.tolist())
        return {
            "query": query,
            "using": self.using,
            "prefetch": [models.Prefetch(**own._fields()) for own in self.prefetch] or None,
            "filter": self._condition(),
            "params": self.params,
            "limit": self.limit,
            "score_threshold": self.score_threshold,
        }

    def as_message(self, name: str) -> grpc.QueryPoints:
        """The request to a collection over gRPC."""
        selector = None if self.shard_key is None else RestToGrpc.convert_shard_key_selector(self.shard_key)
        return grpc.QueryPoints(
            collection_name=name,
            **self._message_fields(),
            with_payload=RestToGrpc.convert_with_payload_interface(self.with_payload),
            shard_key_selector=selector,
        )

    def _condition(self) -> models.Filter | None:
        """The filter, or the condition that stands for the ids."""
        return self.filter if self.ids is None else with_ids(self.ids)

    def _message_fields(self) -> dict[str, Any]:
        """What a request and a prefetch share over gRPC."""
        condition = self._condition()
        return {
            "query": None if self.query is None else _query_message(self.query),
            "using": self.using,
            "prefetch": [grpc.PrefetchQuery(**own._message_fields()) for own in self.prefetch],
            "filter": None if condition is None else RestToGrpc.convert_filter(condition),
            "params": None if self.params is None else RestToGrpc.convert_search_params(self.params),
            "limit": self.limit,
            "score_threshold": self.score_threshold,
        }


def _query_message(query: Any) -> grpc.Query:
    if not isinstance(query, np.ndarray):
        message: grpc.Query = RestToGrpc.convert_query_interface(query)
        return message
    if query.ndim == 1:
        return grpc.Query(nearest=grpc.VectorInput(dense=_vector_message(query)))
    rows = grpc.MultiDenseVector(vectors=[_vector_message(row) for row in query])
    return grpc.Query(nearest=grpc.VectorInput(multi_dense=rows))


def _vector_message(vector: NDArray[np.float32]) -> grpc.DenseVector:
    """A vector over gRPC, without a Python object for each number."""
    message: grpc.DenseVector = grpc.DenseVector.FromString(
        _prefix(len(vector)) + vector.astype("<f4", copy=False).tobytes()
    )
    return message


@lru_cache(maxsize=16)
def _prefix(dim: int) -> bytes:
    """Bytes of a message before its little-endian numbers."""
    message: bytes = grpc.DenseVector(data=np.zeros(dim)).SerializeToString()
    return message[: len(message) - 4 * dim]
