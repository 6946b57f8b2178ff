"""Answers of all kinds of engines as columns, beside what qdrant-client makes of the same request."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest
from qdrant_client import QdrantClient, grpc, models

from embplug.common.byte_strings import ByteStrings
from embplug.engines import Engine, traits_of, unparsed
from embplug.engines.answers import Answer, BytesAnswer, MessagesAnswer
from embplug.engines.calls import run
from embplug.engines.queries import query_steps
from embplug.engines.search_request import SearchRequest
from embplug.errors import EngineAnswerError
from embplug.methods.kernels import load
from embplug.methods.kernels.library import VARIABLE

TEXT_ID = str(UUID(int=7))
LARGE_ID = (1 << 64) - 1
PAYLOADS = {
    1: {"codes": "abc", "year": 2001},
    TEXT_ID: {"year": 2002, "tags": ["a", "b"], "nested": {"deep": [1.5, None, True]}},
    LARGE_ID: {"codes": 5, "year": 2003},
    2: {"codes": ""},
    3: None,
}


@pytest.fixture(params=["", "0"], ids=["with the kernel", "without it"])
def filled(engine: Engine, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv(VARIABLE, request.param)
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


def test_texts_that_every_point_has_are_not_copied(filled: Engine) -> None:
    everywhere = models.Filter(must=[models.HasIdCondition(has_id=[1, 2])])
    (answer, _) = answers_of(filled, requests(with_payload=["codes"], filter=everywhere))
    texts = answer.texts("codes")
    assert dict(zip(answer.ids, answer.field("codes"), strict=True)) == {1: "abc", 2: ""}
    if isinstance(answer, BytesAnswer):
        assert isinstance(texts, ByteStrings) and dict(zip(answer.ids, texts, strict=True)) == {
            1: b"abc",
            2: b"",
        }
    else:
        assert texts == answer.field("codes")
    (answer, _) = answers_of(filled, requests(with_payload=["codes"]))
    assert answer.texts("codes") == answer.field("codes")


def test_the_kernel_reads_the_answers_of_a_server(server_client: QdrantClient) -> None:
    kernel = load()
    if kernel is None:
        pytest.skip("no kernel")
    server_client.create_collection("docs", vectors_config={"a": models.VectorParams(size=2, distance="Dot")})
    assert all(isinstance(answer, BytesAnswer) for answer in answers_of(server_client, requests()))
    function = unparsed.query_batch(server_client)
    assert function is not None and any(unparsed.query_batch(server_client) is function for _ in range(10))


def test_a_client_that_keeps_its_channels_elsewhere_answers_in_messages(
    server_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = models.VectorParams(size=2, distance=models.Distance.DOT)
    server_client.create_collection("docs", vectors_config={"a": line})
    server_client.upsert(
        "docs", [models.PointStruct(id=1, vector={"a": [1, 2]}, payload={"n": 1})], wait=True
    )
    monkeypatch.setattr(unparsed, "_functions", {})
    monkeypatch.setattr(server_client._client, "_grpc_points_client_pool", None)
    stub = grpc.PointsStub(server_client._client._grpc_channel_pool[0])
    monkeypatch.setattr(type(server_client), "grpc_points", stub)
    (answer, _) = answers_of(server_client, requests(with_payload=True))
    assert isinstance(answer, MessagesAnswer) and (answer.ids, answer.payload(0)) == ([1], {"n": 1})


@pytest.mark.parametrize("answer", [b"", b"no message", b"\x0a\x04\x0a\x02\xff\xff"])
def test_an_answer_that_is_no_message_cannot_be_read(answer: bytes) -> None:
    kernel = load()
    if kernel is None:
        pytest.skip("no kernel")
    with pytest.raises(
        EngineAnswerError, match=r"cannot be read: it has no result 1, or one with more than 10 points$"
    ):
        BytesAnswer(kernel, answer, 0, 10)


def test_a_payload_that_is_no_message_cannot_be_read() -> None:
    kernel = load()
    if kernel is None:
        pytest.skip("no kernel")
    # An entry of a payload that is longer than its message.
    point = b"\x0a\x02\x08\x07" + b"\x12\x02\x0a\x09"
    part = b"\x0a" + bytes([len(point)]) + point
    answer = BytesAnswer(kernel, b"\x0a" + bytes([len(part)]) + part, 0, 10)
    assert answer.ids == [7]
    for read in (answer.payload, answer.field, answer.texts):
        with pytest.raises(EngineAnswerError, match="cannot be read"):
            read(0 if read == answer.payload else "codes")  # type: ignore[operator]


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
