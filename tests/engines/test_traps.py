"""What surprises about the engines, pinned: embplug works around each, and a change of theirs shows here."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps

N = 400
RNG = np.random.default_rng(0)
DENSE = RNG.standard_normal((N, 64)).astype(np.float32)
TOKENS = RNG.standard_normal((N, 4, 32)).astype(np.float32)
QUERY = RNG.standard_normal(64).astype(np.float32)
QUERY_TOKENS = RNG.standard_normal((3, 32)).astype(np.float32)
DOT = DENSE @ QUERY
MAXSIM = np.einsum("qd,ntd->nqt", QUERY_TOKENS, TOKENS).max(axis=2).sum(axis=1)
BINARY = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
SMALL = {"d": models.VectorParams(size=1, distance=models.Distance.DOT)}


@pytest.fixture(scope="module")
def quantized(shared_engine: Engine, engine_name: str) -> Engine:
    """400 points whose vectors and tokens are quantized, and indexed."""
    if engine_name == "memory":
        pytest.skip("':memory:' ignores quantization")
    shared_engine.create_collection(
        "quantized",
        {
            "dense": models.VectorParams(size=64, distance=models.Distance.DOT, quantization_config=BINARY),
            "tokens": models.VectorParams(
                size=32,
                distance=models.Distance.DOT,
                quantization_config=BINARY,
                hnsw_config=models.HnswConfigDiff(m=0),
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            ),
        },
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
    )
    points = [
        models.PointStruct(id=i, vector={"dense": DENSE[i].tolist(), "tokens": TOKENS[i].tolist()})
        for i in range(N)
    ]
    shared_engine.upsert("quantized", points, wait=True)
    if isinstance(shared_engine, EdgeClient):
        shared_engine.optimize("quantized")
    deadline = time.monotonic() + 30
    while shared_engine.get_collection("quantized").indexed_vectors_count != 2 * N:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return shared_engine


def params(**quantization: Any) -> models.SearchParams:
    return models.SearchParams(quantization=models.QuantizationSearchParams(**quantization))


def reranked(engine: Engine, search_params: models.SearchParams | None, **prefetch: Any) -> list[Any]:
    candidates = models.Prefetch(query=QUERY.tolist(), using="dense", **{"limit": 40, **prefetch})
    found = engine.query_points(
        "quantized",
        query=QUERY_TOKENS.tolist(),
        using="tokens",
        prefetch=candidates,
        search_params=search_params,
        limit=10,
    )
    return found.points


def maxsim_of(points: list[Any]) -> list[float]:
    return [float(MAXSIM[point.id]) for point in points]


def test_maxsim_reads_quantized_tokens_unless_they_are_ignored(quantized):
    candidates = {p.id for p in reranked(quantized, params(ignore=True), limit=10)}
    best = sorted((float(MAXSIM[i]) for i in candidates), reverse=True)
    exact = reranked(quantized, params(ignore=True))
    assert [p.score for p in exact] == pytest.approx(maxsim_of(exact), abs=1e-3)
    assert maxsim_of(exact) == sorted(maxsim_of(exact), reverse=True)
    assert [p.score for p in reranked(quantized, params(ignore=True), limit=10)] == pytest.approx(
        best, abs=1e-3
    )
    # By codes, the order of 40 is another one, and the best by tokens are lost before they are rescored.
    assert [p.id for p in reranked(quantized, None)] != [p.id for p in exact]
    assert sum(maxsim_of(reranked(quantized, None))) < sum(maxsim_of(exact))
    raw = reranked(quantized, params(rescore=False))
    assert [p.score for p in raw] != pytest.approx(maxsim_of(raw), abs=1e-3)


def test_exact_bypasses_quantization(quantized):
    def found(search_params: models.SearchParams | None) -> list[int]:
        response = quantized.query_points(
            "quantized", query=QUERY, using="dense", limit=10, search_params=search_params
        )
        return [point.id for point in response.points]

    best = np.argsort(-DOT)[:10].tolist()
    assert found(models.SearchParams(exact=True)) == best
    assert len(set(found(None)) & set(best)) < 10
    both = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(rescore=False))
    assert found(both) == best


def test_rescoring_without_oversampling_does_not_change_the_candidates(quantized):
    def candidates(**quantization: Any) -> set[int]:
        points = reranked(quantized, params(ignore=True), limit=10, params=params(**quantization))
        return {point.id for point in points}

    best = set(np.argsort(-DOT)[:10].tolist())
    by_codes = candidates(rescore=False)
    assert candidates(rescore=True) == by_codes
    oversampled = candidates(rescore=True, oversampling=4.0)
    assert len(oversampled & best) > len(by_codes & best)


def test_a_graph_that_is_off_still_leaves_quantized_tokens(quantized):
    info = quantized.get_collection("quantized")
    assert info.config.params.vectors["tokens"].hnsw_config.m == 0
    assert info.indexed_vectors_count == 2 * N


@pytest.fixture
def indexed(engine: Engine, engine_name: str) -> Engine:
    """Points with payload, and payload indexes."""
    if engine_name == "memory":
        pytest.skip("':memory:' keeps no payload indexes")
    engine.create_collection("indexed", SMALL)
    engine.create_payload_index("indexed", "n", "integer", wait=True)
    engine.create_payload_index("indexed", "text", "text", wait=True)
    payloads = [{"n": 1, "text": "red apple"}, {"n": 2, "text": "green apple"}]
    engine.upsert(
        "indexed",
        [
            models.PointStruct(id=i, vector={"d": [1.0]}, payload=payload)
            for i, payload in enumerate(payloads)
        ],
        wait=True,
    )
    return engine


def matching(engine: Engine, key: str, match: Any) -> list[Any]:
    only = models.Filter(must=[models.FieldCondition(key=key, match=match)])
    return [record.id for record in engine.scroll("indexed", scroll_filter=only)[0]]


def test_a_uuid_matched_on_an_integer_index_is_read_as_a_number(indexed):
    uuid = models.MatchValue(value="00000000-0000-0000-0000-000000000002")
    assert matching(indexed, "n", uuid) == [1]
    assert matching(indexed, "n", models.MatchValue(value="2")) == []


def test_a_phrase_finds_nothing_on_a_text_index_without_phrases(indexed):
    phrase = models.MatchPhrase(phrase="red apple")
    assert matching(indexed, "text", phrase) == []
    indexed.delete_payload_index("indexed", "text", wait=True)
    with_phrases = models.TextIndexParams(type="text", phrase_matching=True)
    indexed.create_payload_index("indexed", "text", with_phrases, wait=True)
    assert matching(indexed, "text", phrase) == [0]


def test_a_server_drops_conditions_that_it_does_not_know(server_client):
    if run(server_client, capabilities_steps(server_client)).slice_condition:
        pytest.skip("this server knows slices")
    server_client.create_collection("small", SMALL)
    points = [models.PointStruct(id=i, vector={"d": [1.0]}) for i in range(20)]
    server_client.upsert("small", points, wait=True)
    one_of_ten = models.SliceCondition(slice=models.Slice(total=10, index=0))
    server_client.delete("small", models.FilterSelector(filter=models.Filter(must=[one_of_ten])), wait=True)
    assert server_client.count("small").count == 0


def test_a_server_takes_nan_over_grpc(server_client):
    server_client.create_collection("small", SMALL)
    bad = models.PointStruct(id=1, vector={"d": [float("nan")]})
    server_client.upsert("small", [bad], wait=True)
    assert server_client.count("small").count == 1


def test_a_change_of_aliases_is_all_or_nothing_on_edge_alone(engine, engine_name):
    engine.create_collection("small", SMALL)
    changes = [
        models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=name, alias_name=f"alias of {name}")
        )
        for name in ("small", "nowhere")
    ]
    with pytest.raises(Exception, match=r"nowhere"):
        engine.update_collection_aliases(change_aliases_operations=changes)
    done = [alias.alias_name for alias in engine.get_aliases().aliases]
    assert done == (["alias of small"] if engine_name == "server" else [])
