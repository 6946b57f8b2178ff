"""A search in the form of each engine, beside what qdrant-client makes of its own models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.engines.search_request import SearchRequest

VECTOR = np.array([0.5, -1.25, 3e-8], dtype=np.float32)
MATRIX = np.array([[0.5, -1.0, 2.0], [7.0, 0.25, -3.5]], dtype=np.float32)
SPARSE = models.NearestQuery(nearest=models.SparseVector(indices=[3, 9], values=[0.5, 2.0]))
ONLY = models.Filter(must=[models.HasIdCondition(has_id=[1, 2])])
PARAMS = models.SearchParams(exact=True)
INNER = SearchRequest(limit=4, query=VECTOR, using="a", filter=ONLY)
MIDDLE = SearchRequest(limit=3, query=VECTOR, using="b", prefetch=[INNER])


def expected(query: Any) -> Any:
    return models.NearestQuery(nearest=query.tolist()) if isinstance(query, np.ndarray) else query


@pytest.mark.parametrize(
    "fields",
    [
        {"query": VECTOR, "using": "a", "score_threshold": 0.0},
        {"query": MATRIX, "using": "b", "params": PARAMS, "with_payload": ["n"]},
        {"query": MATRIX[:, ::-1][1:], "using": "b"},
        {"query": SPARSE, "using": "c", "with_payload": True, "shard_key": "k"},
        {"filter": ONLY, "with_payload": models.PayloadSelectorExclude(exclude=["n"])},
    ],
    ids=["vector", "matrix", "turned", "sparse", "scroll"],
)
def test_both_forms_are_those_of_the_clients_model(fields: dict[str, Any]) -> None:
    request = SearchRequest(limit=5, **fields)
    own = {"with_payload": False, **fields, "query": expected(fields.get("query"))}
    model = models.QueryRequest(limit=5, **own)
    assert request.as_model() == model
    assert request.as_message("docs") == RestToGrpc.convert_query_request(model, "docs")


def test_searches_for_candidates_are_nested() -> None:
    fusion = models.RrfQuery(rrf=models.Rrf(k=61))
    request = SearchRequest(limit=2, query=fusion, prefetch=[MIDDLE, INNER])
    query = expected(VECTOR)
    inner = models.Prefetch(limit=4, query=query, using="a", filter=ONLY)
    middle = models.Prefetch(limit=3, query=query, using="b", prefetch=[inner])
    model = models.QueryRequest(limit=2, query=fusion, prefetch=[middle, inner], with_payload=False)
    assert request.as_model() == model
    assert request.as_message("docs") == RestToGrpc.convert_query_request(model, "docs")
