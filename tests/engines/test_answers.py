"""Answers of all kinds of engines as columns, beside what qdrant-client makes of the same request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug.engines import Engine, traits_of
from embplug.engines.answers import Answer
from embplug.engines.calls import run
from embplug.engines.queries import query_steps
from embplug.engines.search_request import SearchRequest

TEXT_ID = str(UUID(int=7))
LARGE_ID = (1 << 64) - 1
PAYLOADS = {
    1: {"codes": "abc", "year": 2001},
    TEXT_ID: {"year": 2002, "tags": ["a", "b"], "nested": {"deep": [1.5, None, True]}},
    LARGE_ID: {"codes": 5, "year": 2003},
    2: {"codes": ""},
    3: None,
}


@pytest.fixture
def filled(engine: Engine) -> Engine:
    line = models.VectorParams(size=2, distance=models.Distance.DOT)
    engine.create_collection("docs", vectors_config={"a": line})
    points = [
        models.PointStruct(id=point_id, vector={"a": [1.0, float(place)]}, payload=payload)
        for place, (point_id, payload) in enumerate(PAYLOADS.items())
    ]
    engine.upsert("docs", points=points, wait=True)
    return engine


def requests(**fields: Any) -> list[SearchRequest]:
    nearest = np.array([0.5, -1.0], dtype=np.float32)
    return [SearchRequest(query=nearest, using="a", limit=limit, **fields) for limit in (10, 2)]


def answers_of(engine: Engine, searches: list[SearchRequest]) -> list[Answer]:
    return run(engine, query_steps(engine, "docs", searches))


def test_columns_are_those_of_the_clients_points(filled: Engine) -> None:
    searches = requests(with_payload=True)
    expected = filled.query_batch_points("docs", requests=[search.as_model() for search in searches])
    answers = answers_of(filled, searches)
    assert [len(answer.ids) for answer in answers] == [5, 2]
    for answer, response in zip(answers, expected, strict=True):
        points = response.points
        assert answer.ids == [point.id for point in points]
        assert answer.scores == [point.score for point in points]
        assert [answer.payload(row) or None for row in range(len(points))] == [
            point.payload or None for point in points
        ]
        assert answer.rows == {point.id: row for row, point in enumerate(points)}


def test_a_field_is_read_of_every_point_and_is_none_where_it_is_absent(filled: Engine) -> None:
    (answer, _) = answers_of(filled, requests(with_payload=["codes", "nested"]))
    fields = dict(zip(answer.ids, answer.field("codes"), strict=True))
    assert fields == {1: "abc", TEXT_ID: None, LARGE_ID: 5, 2: "", 3: None}
    nested = dict(zip(answer.ids, answer.field("nested"), strict=True))
    assert nested[TEXT_ID] == {"deep": [1.5, None, True]} and nested[1] is None


def test_a_payload_that_was_not_requested_is_empty(filled: Engine) -> None:
    (answer, _) = answers_of(filled, requests(with_payload=False))
    assert not any(answer.payload(row) for row in range(5)) and answer.field("codes") == [None] * 5


def test_a_client_keeps_its_protocol(filled: Engine) -> None:
    methods = {
        "edge": "query_batch_scored",
        "memory": "query_batch_points",
        "server": "grpc_points.QueryBatch",
    }
    call = next(query_steps(filled, "docs", requests()))
    assert call.method == methods[traits_of(filled).kind]


def test_a_client_of_rest_searches_over_rest(server_client: QdrantClient) -> None:
    options = server_client.init_options | {"prefer_grpc": False, "grpc_options": None}
    rest = QdrantClient(**options)
    rest.create_collection("docs", vectors_config={"a": models.VectorParams(size=2, distance="Dot")})
    rest.upsert("docs", [models.PointStruct(id=TEXT_ID, vector={"a": [1, 2]}, payload={"n": 1})], wait=True)
    assert next(query_steps(rest, "docs", requests())).method == "query_batch_points"
    answer = answers_of(rest, requests(with_payload=True))[0]
    assert (answer.ids, answer.scores, answer.payload(0)) == ([TEXT_ID], [-1.5], {"n": 1})
    rest.close()
