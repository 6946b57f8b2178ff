"""Vectors, order and options of reading, on each engine."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Query, Recipe, Sparse
from embplug.engines import connect
from embplug.errors import CapabilityError, EngineAnswerError, InvalidArgumentError

VECTORS = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
INDEXES = {"n": "integer", "word": "keyword", "day": "datetime"}
RECIPE = Recipe(dense=Dense(dim=2), sparse=Sparse(), payload_indexes=INDEXES)


@pytest.fixture
def docs(engine: Any) -> Collection:
    """Three documents with dense and sparse vectors."""
    collection = Collection.create("docs", RECIPE, engine)
    payloads = [{"n": 3 - i, "word": "w", "day": f"2024-01-0{i + 1}T00:00:00Z", "plain": i} for i in range(3)]
    collection.add(["a", "b", "c"], dense=VECTORS, texts=["red", "red green", "blue"], payloads=payloads)
    return collection


def test_hits_carry_their_vectors(docs: Collection) -> None:
    hits = docs.search(dense=VECTORS[1], limit=2, with_vectors=["dense"])
    assert [hit.id for hit in hits] == ["b", "a"]
    np.testing.assert_allclose(hits[0].vector["dense"], VECTORS[1], atol=1e-3)
    assert {*hits[0].vector} == {"dense"}
    for found in docs.batch_search([Query(dense=VECTORS[0]), Query(dense=VECTORS[1])], with_vectors=True):
        assert found and all({*hit.vector} == {"dense", "sparse"} for hit in found)
    assert docs.search(dense=VECTORS[1])[0].vector is None
    diverse = docs.search(dense=VECTORS[1], mmr=models.Mmr(), with_vectors=["dense"])
    assert all(hit.vector["dense"] for hit in diverse)


def test_documents_are_read_with_their_vectors(docs: Collection) -> None:
    (record,) = docs.retrieve(["b"], with_vectors=True)
    np.testing.assert_allclose(record.vector["dense"], VECTORS[1], atol=1e-3)
    assert len(record.vector["sparse"].indices) == 2
    records, _ = docs.scroll(with_vectors=["sparse"])
    assert all({*record.vector} == {"sparse"} for record in records)
    assert docs.retrieve(["b"])[0].vector is None


def test_a_vector_without_a_name_has_the_empty_string(engine: Any) -> None:
    engine.create_collection(
        "plain", vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT)
    )
    plain = Collection.open_plain("plain", engine)
    plain.add([1], dense=VECTORS[1:2])
    np.testing.assert_allclose(plain.retrieve([1], with_vectors=True)[0].vector[""], VECTORS[1], atol=1e-6)
    assert plain.search(dense=VECTORS[1], with_vectors=True)[0].vector[""]


def test_documents_are_sorted_by_an_indexed_field(docs: Collection) -> None:
    records, following = docs.scroll(order_by="n", limit=2)
    assert ([record.id for record in records], following) == (["c", "b"], None)
    descending = models.OrderBy(key="n", direction=models.Direction.DESC, start_from=2)
    assert [record.id for record in docs.scroll(order_by=descending)[0]] == ["b", "c"]
    start = datetime(2024, 1, 2, tzinfo=timezone.utc)
    by_day = models.OrderBy(key="day", start_from=start)
    assert [record.id for record in docs.scroll(order_by=by_day)[0]] == ["b", "c"]


@pytest.mark.parametrize("order_by", ["plain", "word", "nowhere", "a b", 7, {"key": "n"}])
def test_a_field_that_cannot_sort_is_named(docs: Collection, order_by: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^order_by: "):
        docs.scroll(order_by=order_by)


@pytest.mark.parametrize("start", [float("nan"), float("inf")])
def test_an_order_starts_at_a_finite_number(docs: Collection, start: float) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^order_by\.start_from: expected a finite number"):
        docs.scroll(order_by=models.OrderBy(key="n", start_from=start))


def test_an_order_has_no_offset(docs: Collection) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^offset: expected None with order_by"):
        docs.scroll(order_by="n", offset=docs.scroll(limit=1)[1])


@pytest.mark.parametrize("prefer_grpc", [False, True], ids=["rest", "grpc"])
def test_a_server_takes_the_options_of_each_request(
    server_client: QdrantClient, qdrant_address: tuple[str, int], prefer_grpc: bool
) -> None:
    url, port = qdrant_address
    client = QdrantClient(url, grpc_port=port, prefer_grpc=prefer_grpc)
    docs = Collection.create("docs", RECIPE, client)
    docs.add(["a", "b", "c"], dense=VECTORS, texts=["red", "red green", "blue"], payloads=[{"n": 1}] * 3)
    reading: dict[str, Any] = {"consistency": models.ReadConsistencyType.ALL, "timeout": 30}
    assert docs.search(dense=VECTORS[0], with_vectors=True, **reading)[0].id == "a"
    assert docs.search_groups("n", dense=VECTORS[0], **reading)[0].id == 1
    assert len(docs.scroll(**{**reading, "consistency": 1}, order_by="n")[0]) == 3
    assert len(docs.retrieve(["a"], consistency="majority")) == 1
    assert docs.count(timeout=30) == 3
    writing: dict[str, Any] = {"wait": True, "ordering": "strong"}
    if docs._pipeline.capabilities.update_timeout:
        writing["timeout"] = 30
    else:
        with pytest.raises(CapabilityError, match=r"^timeout: .*1\.17"):
            docs.set_payload({"m": 1}, ["a"], timeout=30)
    docs.set_payload({"m": 1}, ["a"], **writing)
    docs.overwrite_payload({"m": 2}, ["a"], **writing)
    assert docs.retrieve(["a"])[0].payload == {"m": 2, "text": "red"}
    docs.delete_payload(["m"], ["a"], **writing)
    docs.clear_payload(["b"], **writing)
    docs.create_payload_index("m", "integer", **writing)
    docs.delete_payload_index("m", **writing)
    docs.delete(["c"], **writing)
    assert docs.count() == 2
    client.close()


def test_an_answer_that_is_nested_too_deep_for_grpc_says_so(qdrant_address: tuple[str, int]) -> None:
    url, port = qdrant_address
    deep: dict[str, Any] = {"a": 1}
    for _ in range(60):
        deep = {"a": deep}
    rest, fast = QdrantClient(url, check_compatibility=False), connect(url, grpc_port=port)
    with closing(rest), closing(fast):
        params = models.VectorParams(size=2, distance=models.Distance.COSINE)
        rest.create_collection("deep", vectors_config=params)
        try:
            point = models.PointStruct(id=1, vector=[1.0, 0.0], payload=deep)
            rest.upsert("deep", [point], wait=True)
            with pytest.raises(EngineAnswerError, match="inside each other; a client over REST can"):
                Collection.open_plain("deep", fast).search(dense=[1.0, 0.0])
            assert Collection.open_plain("deep", rest).search(dense=[1.0, 0.0])[0].payload == deep
        finally:
            rest.delete_collection("deep")
