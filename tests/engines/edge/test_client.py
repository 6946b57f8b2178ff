"""EdgeClient behaves as QdrantClient: each behaviour is stated once and holds on every engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.engines.capabilities import Capabilities, capabilities_steps
from embplug.errors import (
    CapabilityError,
    CollectionNotFoundError,
    DimensionError,
    EmptyTokensError,
    EngineError,
    FilterError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
)

N = 30
RNG = np.random.default_rng(0)
DENSE = RNG.standard_normal((N, 4)).astype(np.float32)
HALF = RNG.standard_normal((N, 4)).astype(np.float16)
TOKENS = [RNG.standard_normal((i % 4 + 1, 3)).astype(np.float32) for i in range(N)]
QUERY = [0.125, 0.25, -0.375, 0.5]  # exact as float16
QUERY_TOKENS = np.array([[0.1, 0.2, 0.3], [1.0, 0.0, -0.5]], dtype=np.float32)

COSINE = (DENSE / np.linalg.norm(DENSE, axis=1, keepdims=True)) @ (QUERY / np.linalg.norm(QUERY))
DOT = HALF.astype(np.float32) @ np.array(QUERY, dtype=np.float32)
MAXSIM = np.array([(QUERY_TOKENS @ tokens.T).max(axis=1).sum() for tokens in TOKENS])

VECTORS = {
    "dense": models.VectorParams(size=4, distance=models.Distance.COSINE),
    "half": models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16),
    "tokens": models.VectorParams(
        size=3,
        distance=models.Distance.DOT,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        hnsw_config=models.HnswConfigDiff(m=0),
    ),
}
SMALL = {"d": models.VectorParams(size=2, distance=models.Distance.DOT)}
SPARSE = {"sparse": models.SparseVectorParams()}
INDEXES = {
    "n": "integer",
    "word": "keyword",
    "text": models.TextIndexParams(type="text", tokenizer="word", lowercase=True, phrase_matching=True),
    "even": "bool",
    "day": "datetime",
    "place": "geo",
}


def payload_of(i: int) -> dict[str, Any]:
    return {
        "n": i,
        "real": i / 2,
        "word": "abc"[i % 3],
        "even": i % 2 == 0,
        "text": f"a red Apple, number {i}" if i % 2 else "green pears and a red one",
        "list": [i, i + 1][: i % 3],
        "day": f"2024-01-{i % 28 + 1:02d}T00:00:00Z",
        "place": {"lon": i, "lat": i / 2},
        "parts": [{"size": i, "kind": "p"}, {"size": i + 1, "kind": "q"}],
        "nothing": None,
        **({"rare": "x"} if i % 5 == 0 else {}),
        "uuid": f"00000000-0000-0000-0000-{i:012d}",
    }


def fill(client: Engine, name: str) -> None:
    client.create_collection(name, vectors_config=VECTORS, sparse_vectors_config=SPARSE)
    for field, schema in INDEXES.items():
        client.create_payload_index(name, field, field_schema=schema, wait=True)
    points = [
        models.PointStruct(
            id=i,
            vector={
                "dense": DENSE[i].tolist(),
                "half": HALF[i].tolist(),
                "tokens": TOKENS[i].tolist(),
                "sparse": models.SparseVector(indices=[i % 5, 7], values=[1.0, i / 10]),
            },
            payload=payload_of(i),
        )
        for i in range(N)
    ]
    client.upsert(name, points, wait=True)


@pytest.fixture(scope="module")
def docs(shared_engine: Engine) -> Engine:
    """An engine with 30 points in ``shared``, for tests that only read."""
    fill(shared_engine, "shared")
    return shared_engine


@pytest.fixture
def small(engine: Engine) -> Engine:
    """An engine with points 1 and 2 in ``small``, for tests that write."""
    engine.create_collection("small", vectors_config=SMALL)
    engine.upsert("small", points(1, 2), wait=True)
    return engine


def points(*ids: int) -> list[models.PointStruct]:
    return [
        models.PointStruct(id=i, vector={"d": [float(i), 1.0]}, payload={"i": i, "keep": True}) for i in ids
    ]


def best(scores: np.ndarray, count: int, among: Any = None) -> list[tuple[int, float]]:
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if among is None or i in among]
    return [(i, float(scores[i])) for i in order[:count]]


def assert_found(response: Any, expected: list[tuple[int, float]], tolerance: float = 1e-4) -> None:
    assert [point.id for point in response.points] == [i for i, _ in expected]
    assert [point.score for point in response.points] == pytest.approx(
        [score for _, score in expected], abs=tolerance
    )


def capabilities(client: Engine) -> Capabilities:
    return run(client, capabilities_steps(client))


def ids_of(records: list[Any]) -> list[Any]:
    return [record.id for record in records]


# Searching


@pytest.mark.parametrize("query", [QUERY, np.array(QUERY, dtype=np.float32)], ids=["list", "array"])
def test_dense_vectors_rank_by_their_distance(docs, query):
    assert_found(docs.query_points("shared", query=query, using="dense", limit=5), best(COSINE, 5))
    assert_found(docs.query_points("shared", query=query, using="half", limit=5), best(DOT, 5), 1e-3)


@pytest.mark.parametrize("query", [QUERY_TOKENS.tolist(), QUERY_TOKENS], ids=["list", "array"])
def test_token_matrices_rank_by_maxsim(docs, query):
    assert_found(docs.query_points("shared", query=query, using="tokens", limit=N), best(MAXSIM, N))


def test_one_token_may_be_given_as_a_vector(docs, engine_name):
    if engine_name == "memory":
        pytest.skip("':memory:' takes it for a dense vector")
    scores = np.array([(tokens @ QUERY_TOKENS[0]).max() for tokens in TOKENS])
    found = docs.query_points("shared", query=QUERY_TOKENS[0].tolist(), using="tokens", limit=4)
    assert_found(found, best(scores, 4))


def test_sparse_vectors_rank_by_their_product(docs):
    query = models.SparseVector(indices=[7], values=[2.0])
    found = docs.query_points("shared", query=query, using="sparse", limit=3)
    assert_found(found, [(29, 5.8), (28, 5.6), (27, 5.4)])


def test_maxsim_reranks_the_candidates_alone(docs):
    prefetch = models.Prefetch(query=QUERY, using="dense", limit=7)
    found = docs.query_points("shared", query=QUERY_TOKENS, using="tokens", prefetch=prefetch, limit=N)
    candidates = {i for i, _ in best(COSINE, 7)}
    assert_found(found, best(MAXSIM, N, candidates))


def test_prefetches_nest(docs):
    inner = models.Prefetch(query=QUERY, using="dense", limit=12)
    outer = models.Prefetch(prefetch=[inner], query=QUERY, using="half", limit=6)
    found = docs.query_points("shared", query=QUERY_TOKENS, using="tokens", prefetch=[outer], limit=4)
    middle = best(DOT, 6, {i for i, _ in best(COSINE, 12)})
    assert_found(found, best(MAXSIM, 4, {i for i, _ in middle}))


def test_a_filter_of_a_prefetch_does_not_cost_candidates(docs):
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    evens = set(range(0, N, 2))
    prefetch = models.Prefetch(query=QUERY, using="dense", limit=7, filter=even)
    found = docs.query_points("shared", query=QUERY_TOKENS, using="tokens", prefetch=prefetch, limit=N)
    assert_found(found, best(MAXSIM, N, {i for i, _ in best(COSINE, 7, evens)}))
    plain = docs.query_points("shared", query=QUERY, using="dense", query_filter=even, limit=5)
    assert_found(plain, best(COSINE, 5, evens))


@pytest.mark.parametrize(
    ("fusion", "k"),
    [(models.FusionQuery(fusion=models.Fusion.RRF), 2), (models.RrfQuery(rrf=models.Rrf(k=60)), 60)],
    ids=["default", "k=60"],
)
def test_reciprocal_rank_fusion(docs, fusion, k):
    ranked = [[i for i, _ in best(scores, 6)] for scores in (COSINE, DOT)]
    prefetch = [models.Prefetch(query=QUERY, using=name, limit=6) for name in ("dense", "half")]
    found = docs.query_points("shared", query=fusion, prefetch=prefetch, limit=N).points
    expected = {
        i: sum(1 / (k + ids.index(i)) for ids in ranked if i in ids) for i in {*ranked[0], *ranked[1]}
    }
    assert {point.id: point.score for point in found} == pytest.approx(expected, abs=1e-5)
    assert [point.score for point in found] == sorted((point.score for point in found), reverse=True)


def test_weights_of_fusion_count_where_the_engine_says_so(docs):
    prefetch = [models.Prefetch(query=QUERY, using="half", limit=6)]
    fusion = models.RrfQuery(rrf=models.Rrf(k=2, weights=[10.0]))
    found = docs.query_points("shared", query=fusion, prefetch=prefetch, limit=6)
    weight = 10.0 if capabilities(docs).rrf_weights else 1.0
    assert_found(found, [(i, 1 / (1 + (rank + 1) / weight)) for rank, (i, _) in enumerate(best(DOT, 6))])


def test_distribution_based_fusion(docs):
    prefetch = [models.Prefetch(query=QUERY, using=name, limit=6) for name in ("dense", "half")]
    query = models.FusionQuery(fusion=models.Fusion.DBSF)
    found = docs.query_points("shared", query=query, prefetch=prefetch, limit=N).points
    expected: dict[int, float] = {}
    for ranked in (best(COSINE, 6), best(DOT, 6)):
        values = np.array([score for _, score in ranked])
        low, high = values.mean() - 3 * values.std(ddof=1), values.mean() + 3 * values.std(ddof=1)
        for i, score in ranked:
            expected[i] = expected.get(i, 0.0) + (score - low) / (high - low)
    assert {point.id: point.score for point in found} == pytest.approx(expected, abs=2e-3)


def test_a_stored_point_as_query_is_not_its_own_result(docs):
    unit = DENSE / np.linalg.norm(DENSE, axis=1, keepdims=True)
    found = docs.query_points("shared", query=3, using="dense", limit=4)
    assert_found(found, best(unit @ unit[3], 4, set(range(N)) - {3}))


def test_diversity_skips_near_duplicates(docs):
    mmr = models.NearestQuery(nearest=QUERY, mmr=models.Mmr(diversity=0.5, candidates_limit=10))
    found = docs.query_points("shared", query=mmr, using="dense", limit=3)
    unit = DENSE / np.linalg.norm(DENSE, axis=1, keepdims=True)
    left = [i for i, _ in best(COSINE, 10)]
    chosen: list[int] = [left.pop(0)]
    while len(chosen) < 3:
        value = {i: 0.5 * COSINE[i] - 0.5 * max(unit[i] @ unit[j] for j in chosen) for i in left}
        chosen.append(max(value, key=value.get))
        left.remove(chosen[-1])
    assert_found(found, [(i, float(COSINE[i])) for i in chosen])


def test_limit_offset_and_threshold(docs):
    expected = best(COSINE, N)
    page = docs.query_points("shared", query=QUERY, using="dense", limit=3, offset=2)
    assert_found(page, expected[2:5])
    threshold = float(np.sort(COSINE)[-4]) - 1e-3
    above = docs.query_points("shared", query=QUERY, using="dense", limit=N, score_threshold=threshold)
    assert_found(above, expected[:4])
    assert len(docs.query_points("shared", query=QUERY, using="dense").points) == 10


def test_order_by_a_payload_field(docs):
    order = models.OrderBy(key="n", direction=models.Direction.DESC)
    found = docs.query_points("shared", query=models.OrderByQuery(order_by=order), limit=3)
    assert ids_of(found.points) == [29, 28, 27]


def test_without_a_query_points_come_in_the_order_of_their_ids(docs):
    assert ids_of(docs.query_points("shared", limit=4).points) == [0, 1, 2, 3]


def test_samples_are_points_of_the_collection(docs):
    sample = models.SampleQuery(sample=models.Sample.RANDOM)
    found = ids_of(docs.query_points("shared", query=sample, limit=20).points)
    assert len(set(found)) == 20
    assert set(found) <= set(range(N))


def test_payload_and_vectors_are_returned_as_asked(docs):
    def first(**options: Any) -> Any:
        return docs.query_points("shared", query=QUERY, using="dense", limit=1, **options).points[0]

    top = best(COSINE, 1)[0][0]
    assert first().payload == payload_of(top)
    assert not first(with_payload=False).payload
    assert first(with_payload=["n", "parts[].size"]).payload == {
        "n": top,
        "parts": [{"size": top}, {"size": top + 1}],
    }
    kept = first(with_payload=models.PayloadSelectorExclude(exclude=["n"])).payload
    assert kept == {key: value for key, value in payload_of(top).items() if key != "n"}
    assert first(with_payload=models.PayloadSelectorInclude(include=["n"])).payload == {"n": top}
    assert first().vector is None
    vectors = first(with_vectors=True).vector
    assert vectors.keys() == {"dense", "half", "tokens", "sparse"}
    assert vectors["tokens"] == pytest.approx(TOKENS[top], abs=1e-6)
    assert vectors["half"] == pytest.approx(HALF[top].tolist(), abs=1e-6)
    assert vectors["dense"] == pytest.approx(DENSE[top] / np.linalg.norm(DENSE[top]), abs=1e-6)
    assert vectors["sparse"].indices == [top % 5, 7]
    assert first(with_vectors=["half"]).vector.keys() == {"half"}


def test_a_batch_answers_as_its_searches_one_by_one(docs):
    requests = [
        models.QueryRequest(query=QUERY, using="dense", limit=3, with_payload=["n"]),
        models.QueryRequest(query=QUERY_TOKENS.tolist(), using="tokens", limit=4, offset=1),
        models.QueryRequest(
            query=QUERY_TOKENS.tolist(),
            using="tokens",
            prefetch=[models.Prefetch(query=QUERY, using="half", limit=5)],
            params=models.SearchParams(exact=True),
            score_threshold=-100.0,
        ),
    ]
    first, second, third = docs.query_batch_points("shared", requests=requests)
    assert_found(first, best(COSINE, 3))
    assert [point.payload for point in first.points] == [{"n": i} for i, _ in best(COSINE, 3)]
    assert_found(second, best(MAXSIM, 5)[1:])
    assert_found(third, best(MAXSIM, N, {i for i, _ in best(DOT, 5)}))
    # In a batch, payload has to be asked for.
    assert not second.points[0].payload


# Reading


def test_retrieve_keeps_the_order_and_leaves_out_what_is_not_there(docs):
    records = docs.retrieve("shared", ids=[5, 999, 3], with_payload=["word"], with_vectors=["half"])
    assert ids_of(records) == [5, 3]
    assert [record.payload for record in records] == [{"word": "c"}, {"word": "a"}]
    assert records[0].vector["half"] == pytest.approx(HALF[5].tolist(), abs=1e-6)
    assert docs.retrieve("shared", ids=[5])[0].vector is None


def test_pages_of_scroll_hold_every_point_once(docs):
    seen, offset = [], None
    while True:
        records, offset = docs.scroll("shared", limit=7, offset=offset, with_payload=False)
        seen += ids_of(records)
        if offset is None:
            break
    assert seen == list(range(N))


def test_scroll_in_the_order_of_a_field(docs):
    newest = models.OrderBy(key="n", direction=models.Direction.DESC, start_from=20)
    records, _ = docs.scroll("shared", limit=3, order_by=newest)
    assert ids_of(records) == [20, 19, 18]


def test_count_and_facet(docs):
    assert docs.count("shared").count == N
    few = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=10))])
    assert docs.count("shared", count_filter=few).count == 10
    hits = docs.facet("shared", key="word", facet_filter=few, exact=True).hits
    assert {hit.value: hit.count for hit in hits} == {"a": 4, "b": 3, "c": 3}


def field(key: str, **condition: Any) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key=key, **condition)])


def day_of(i: int) -> int:
    return i % 28 + 1


FILTERS: dict[str, tuple[models.Filter, Callable[[int], bool]]] = {
    "match integer": (field("n", match=models.MatchValue(value=3)), lambda i: i == 3),
    "match keyword": (field("word", match=models.MatchValue(value="a")), lambda i: i % 3 == 0),
    "match true": (field("even", match=models.MatchValue(value=True)), lambda i: i % 2 == 0),
    "match one is not true": (field("even", match=models.MatchValue(value=1)), lambda i: False),
    "match true is not one": (field("n", match=models.MatchValue(value=True)), lambda i: False),
    "match in a list": (field("list", match=models.MatchValue(value=5)), lambda i: i == 5),
    "match any keyword": (field("word", match=models.MatchAny(any=["a", "c"])), lambda i: i % 3 != 1),
    "match any integer": (field("n", match=models.MatchAny(any=[1, 2, 99])), lambda i: i in (1, 2)),
    "match except": (field("word", match=models.MatchExcept(**{"except": ["a"]})), lambda i: i % 3 != 0),
    "match text": (field("text", match=models.MatchText(text="APPLE red")), lambda i: i % 2 == 1),
    "match any text": (field("text", match=models.MatchTextAny(text_any="apple pears")), lambda i: True),
    "match phrase": (field("text", match=models.MatchPhrase(phrase="red apple")), lambda i: i % 2 == 1),
    "match uuid": (field("uuid", match=models.MatchValue(value=payload_of(4)["uuid"])), lambda i: i == 4),
    "range": (field("n", range=models.Range(gt=3, lte=9)), lambda i: 3 < i <= 9),
    "range of reals": (field("real", range=models.Range(gte=0.5, lt=2.5)), lambda i: 0.5 <= i / 2 < 2.5),
    "range of dates": (
        field("day", range=models.DatetimeRange(gte="2024-01-10T00:00:00Z", lt="2024-01-12T00:00:00Z")),
        lambda i: 10 <= day_of(i) < 12,
    ),
    "geo radius": (
        field("place", geo_radius=models.GeoRadius(center=models.GeoPoint(lon=3, lat=1.5), radius=130e3)),
        lambda i: i in (2, 3, 4),
    ),
    "geo box": (
        field(
            "place",
            geo_bounding_box=models.GeoBoundingBox(
                top_left=models.GeoPoint(lon=1.5, lat=3), bottom_right=models.GeoPoint(lon=4.5, lat=0)
            ),
        ),
        lambda i: i in (2, 3, 4),
    ),
    "geo polygon with a hole": (
        field(
            "place",
            geo_polygon=models.GeoPolygon(
                exterior=models.GeoLineString(
                    points=[
                        models.GeoPoint(lon=x, lat=y)
                        for x, y in ((-1, -1), (9.5, -1), (9.5, 9), (-1, 9), (-1, -1))
                    ]
                ),
                interiors=[
                    models.GeoLineString(
                        points=[
                            models.GeoPoint(lon=x, lat=y)
                            for x, y in ((5.5, 2), (6.5, 2), (6.5, 4), (5.5, 4), (5.5, 2))
                        ]
                    )
                ],
            ),
        ),
        lambda i: i < 10 and i != 6,
    ),
    "values count": (field("list", values_count=models.ValuesCount(gte=1, lt=2)), lambda i: i % 3 == 1),
    "is empty": (
        models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="rare"))]),
        lambda i: i % 5 != 0,
    ),
    "is null": (
        models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="nothing"))]),
        lambda i: True,
    ),
    "field is empty": (field("rare", is_empty=True), lambda i: i % 5 != 0),
    "field is not null": (field("nothing", is_null=False), lambda i: False),
    "has id": (models.Filter(must=[models.HasIdCondition(has_id=[1, 2, 99])]), lambda i: i in (1, 2)),
    "has vector": (models.Filter(must=[models.HasVectorCondition(has_vector="tokens")]), lambda i: True),
    "nested": (
        models.Filter(
            must=[
                models.NestedCondition(
                    nested=models.Nested(
                        key="parts",
                        filter=models.Filter(
                            must=[
                                models.FieldCondition(key="size", match=models.MatchValue(value=3)),
                                models.FieldCondition(key="kind", match=models.MatchValue(value="p")),
                            ]
                        ),
                    )
                )
            ]
        ),
        lambda i: i == 3,
    ),
    "path into a list": (field("parts[].size", match=models.MatchValue(value=3)), lambda i: i in (2, 3)),
    "should": (
        models.Filter(
            should=[
                models.FieldCondition(key="n", match=models.MatchValue(value=1)),
                models.FieldCondition(key="word", match=models.MatchValue(value="c")),
            ]
        ),
        lambda i: i == 1 or i % 3 == 2,
    ),
    "must not": (
        models.Filter(must_not=[models.FieldCondition(key="n", range=models.Range(lt=25))]),
        lambda i: i >= 25,
    ),
    "min should": (
        models.Filter(
            min_should=models.MinShould(
                conditions=[
                    models.FieldCondition(key="n", range=models.Range(lt=5)),
                    models.FieldCondition(key="word", match=models.MatchValue(value="a")),
                    models.FieldCondition(key="even", match=models.MatchValue(value=True)),
                ],
                min_count=2,
            )
        ),
        lambda i: (i < 5) + (i % 3 == 0) + (i % 2 == 0) >= 2,
    ),
    "filter in filter": (
        models.Filter(
            should=[
                models.FieldCondition(key="n", match=models.MatchValue(value=3)),
                models.Filter(must_not=[models.FieldCondition(key="n", range=models.Range(lt=28))]),
            ]
        ),
        lambda i: i == 3 or i >= 28,
    ),
    "one condition without a list": (
        models.Filter(must=models.FieldCondition(key="n", match=models.MatchValue(value=3))),
        lambda i: i == 3,
    ),
    "empty": (models.Filter(), lambda i: True),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_select_what_they_say(docs, name):
    query_filter, selects = FILTERS[name]
    expected = [i for i in range(N) if selects(i)]
    assert ids_of(docs.scroll("shared", scroll_filter=query_filter, limit=N)[0]) == expected
    assert docs.count("shared", count_filter=query_filter).count == len(expected)
    found = docs.query_points("shared", query=QUERY, using="dense", query_filter=query_filter, limit=N)
    assert sorted(ids_of(found.points)) == expected


@pytest.mark.parametrize("key", ["match_prefix", "match_substring"])
def test_newer_text_matches_where_the_engine_has_them(docs, key):
    if not getattr(capabilities(docs), key):
        pytest.skip(f"{capabilities(docs)} has no {key}")
    prefix = key == "match_prefix"
    match = models.MatchPrefix(prefix="a red") if prefix else models.MatchSubstring(substring="d Apple")
    assert ids_of(docs.scroll("shared", scroll_filter=field("text", match=match), limit=N)[0]) == list(
        range(1, N, 2)
    )


def test_slices_share_the_points_among_them(docs):
    if not capabilities(docs).slice_condition:
        pytest.skip(f"{capabilities(docs)} has no slices")
    slices = [
        models.Filter(must=[models.SliceCondition(slice=models.Slice(total=3, index=i))]) for i in range(3)
    ]
    parts = [ids_of(docs.scroll("shared", scroll_filter=slice_filter, limit=N)[0]) for slice_filter in slices]
    assert all(len(part) < N for part in parts)
    assert sorted(i for part in parts for i in part) == list(range(N))


# Collections


def test_a_collection_comes_and_goes(engine):
    assert not engine.collection_exists("small")
    assert engine.create_collection("small", vectors_config=SMALL)
    assert engine.collection_exists("small")
    assert "small" in [collection.name for collection in engine.get_collections().collections]
    with pytest.raises(Exception, match=r"exists|not taken"):
        engine.create_collection("small", vectors_config=SMALL)
    assert engine.delete_collection("small")
    assert not engine.delete_collection("small")
    assert not engine.collection_exists("small")
    with pytest.raises(Exception, match=r"no collection|not found|doesn't exist"):
        engine.count("small")


def test_a_collection_tells_how_it_was_made(engine):
    engine.create_collection(
        "docs",
        vectors_config={
            **VECTORS,
            "disk": models.VectorParams(size=8, distance=models.Distance.MANHATTAN, on_disk=True),
            "bytes": models.VectorParams(
                size=8, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8
            ),
        },
        sparse_vectors_config=SPARSE,
        metadata={"a": {"b": [1, None, 2.5, "ü"]}},
    )
    config = engine.get_collection("docs").config
    params = config.params.vectors
    assert {name: (p.size, p.distance, p.datatype) for name, p in params.items()} == {
        "dense": (4, models.Distance.COSINE, None),
        "half": (4, models.Distance.DOT, models.Datatype.FLOAT16),
        "tokens": (3, models.Distance.DOT, None),
        "disk": (8, models.Distance.MANHATTAN, None),
        "bytes": (8, models.Distance.EUCLID, models.Datatype.UINT8),
    }
    assert params["tokens"].multivector_config == VECTORS["tokens"].multivector_config
    assert params["tokens"].hnsw_config.m == 0
    assert params["dense"].multivector_config is None
    assert params["disk"].on_disk is True
    assert config.params.sparse_vectors.keys() == {"sparse"}
    assert config.metadata == {"a": {"b": [1, None, 2.5, "ü"]}}
    assert engine.get_collection("docs").points_count == 0


def test_one_unnamed_vector(engine):
    engine.create_collection("plain", vectors_config=SMALL["d"])
    assert engine.get_collection("plain").config.params.vectors.size == 2
    engine.upsert("plain", [models.PointStruct(id=1, vector=[1.0, 2.0])], wait=True)
    found = engine.query_points("plain", query=[1.0, 1.0], with_vectors=True).points[0]
    assert (found.score, found.vector) == (3.0, [1.0, 2.0])


def test_metadata_is_merged_key_by_key(engine):
    engine.create_collection("small", vectors_config=SMALL, metadata={"a": 1, "b": {"x": 1}})
    engine.update_collection("small", metadata={"b": {"y": 2}, "c": 3})
    assert engine.get_collection("small").config.metadata == {"a": 1, "b": {"y": 2}, "c": 3}
    engine.update_collection("small", metadata={"a": None})
    assert engine.get_collection("small").config.metadata == {"b": {"y": 2}, "c": 3}


def create_alias(name: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
    )


def test_an_alias_stands_for_its_collection(small):
    small.create_collection("other", vectors_config=SMALL)
    small.update_collection_aliases(change_aliases_operations=[create_alias("small", "live")])
    assert small.collection_exists("live")
    assert small.count("live").count == 2
    small.upsert("live", points(3), wait=True)
    assert small.count("small").count == 3
    switch = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="live")),
        create_alias("other", "live"),
    ]
    small.update_collection_aliases(change_aliases_operations=switch)
    assert small.count("live").count == 0
    rename = models.RenameAlias(old_alias_name="live", new_alias_name="prod")
    small.update_collection_aliases(
        change_aliases_operations=[models.RenameAliasOperation(rename_alias=rename)]
    )
    aliases = [(a.alias_name, a.collection_name) for a in small.get_aliases().aliases]
    assert aliases == [("prod", "other")]
    assert [a.alias_name for a in small.get_collection_aliases("other").aliases] == ["prod"]
    assert not small.delete_collection("prod")
    small.delete_collection("other")
    assert small.get_aliases().aliases == []


def test_an_impossible_alias_is_refused(small):
    small.create_collection("other", vectors_config=SMALL)
    small.update_collection_aliases(change_aliases_operations=[create_alias("small", "live")])
    rename = models.RenameAlias(old_alias_name="nothing", new_alias_name="y")
    for change in (
        create_alias("nowhere", "live"),
        create_alias("live", "second"),
        create_alias("other", "small"),
        models.RenameAliasOperation(rename_alias=rename),
    ):
        with pytest.raises(Exception, match=r"(?i)exist|found|expected"):
            small.update_collection_aliases(change_aliases_operations=[change])
    with pytest.raises(Exception, match=r"(?i)exists|taken"):
        small.create_collection("live", vectors_config=SMALL)
    assert [(a.alias_name, a.collection_name) for a in small.get_aliases().aliases] == [("live", "small")]


def test_payload_indexes_tell_how_they_were_made(engine, engine_name):
    if engine_name == "memory":
        pytest.skip("':memory:' keeps no payload indexes")
    engine.create_collection("small", vectors_config=SMALL)
    schemas = {
        "keyword": "keyword",
        "integer": models.PayloadSchemaType.INTEGER,
        "tenant": models.KeywordIndexParams(type="keyword", is_tenant=True, on_disk=True),
        "range_only": models.IntegerIndexParams(type="integer", lookup=False, range=True, is_principal=True),
        "text": models.TextIndexParams(
            type="text",
            tokenizer=models.TokenizerType.PREFIX,
            min_token_len=2,
            max_token_len=10,
            lowercase=True,
            phrase_matching=True,
            stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["foo"]),
            stemmer=models.SnowballParams(
                type=models.Snowball.SNOWBALL, language=models.SnowballLanguage.ENGLISH
            ),
        ),
        "stop": models.TextIndexParams(type="text", stopwords=models.Language.GERMAN),
        "real": models.FloatIndexParams(type="float", on_disk=True),
        "place": models.GeoIndexParams(type="geo", on_disk=True),
        "flag": models.BoolIndexParams(type="bool", on_disk=True),
        "day": models.DatetimeIndexParams(type="datetime", on_disk=True),
        "uuid": models.UuidIndexParams(type="uuid", is_tenant=True),
        "path.to[].it": "float",
    }
    for key, schema in schemas.items():
        engine.create_payload_index("small", key, field_schema=schema, wait=True)
    found = engine.get_collection("small").payload_schema
    assert found.keys() == schemas.keys()
    for key, schema in schemas.items():
        if isinstance(schema, str):
            assert found[key].data_type == schema
        else:
            expected, told = (
                schema.model_dump(exclude_none=True),
                found[key].params.model_dump(exclude_none=True),
            )
            assert expected.items() <= told.items()
    engine.delete_payload_index("small", "keyword")
    engine.delete_payload_index("small", "never_there")
    assert "keyword" not in engine.get_collection("small").payload_schema


def test_a_vector_is_added_to_a_collection_where_the_engine_can(small):
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=3, distance=models.Distance.COSINE)
    )
    if not capabilities(small).add_vectors:
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            small.create_vector_name("small", "new", config)
        return
    small.create_vector_name("small", "new", config)
    assert small.get_collection("small").config.params.vectors["new"].size == 3
    small.update_vectors("small", [models.PointVectors(id=2, vector={"new": [0.0, 2.0, 0.0]})])
    assert_found(small.query_points("small", query=[0.0, 1.0, 0.0], using="new"), [(2, 1.0)])
    assert small.count("small").count == 2
    small.delete_vector_name("small", "new")
    assert small.get_collection("small").config.params.vectors.keys() == {"d"}


# Writing


def test_upsert_inserts_and_replaces(small):
    small.upsert(
        "small",
        models.Batch(ids=[2, 3], vectors={"d": [[20.0, 0.0], [30.0, 0.0]]}, payloads=[{"i": 20}, {}]),
        wait=True,
    )
    records = small.retrieve("small", ids=[1, 2, 3], with_vectors=True)
    assert [(r.id, r.vector["d"], r.payload or {}) for r in records] == [
        (1, [1.0, 1.0], {"i": 1, "keep": True}),
        (2, [20.0, 0.0], {"i": 20}),
        (3, [30.0, 0.0], {}),
    ]


def test_ids_are_integers_or_uuids_however_they_are_written(engine):
    engine.create_collection("small", vectors_config=SMALL)
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    spellings = [2**64 - 1, uuid.replace("-", "").upper(), f"urn:uuid:{uuid[:-1]}1"]
    if isinstance(engine, QdrantClient) and engine.init_options["location"] == ":memory:":
        spellings[1:] = [uuid, f"{uuid[:-1]}1"]
    engine.upsert("small", [models.PointStruct(id=i, vector={"d": [1.0, 0.0]}) for i in spellings], wait=True)
    found = engine.retrieve("small", ids=spellings)
    assert sorted(map(str, ids_of(found))) == [str(2**64 - 1), uuid, f"{uuid[:-1]}1"]
    assert isinstance(next(r.id for r in found if r.id != 2**64 - 1), str)


def test_a_point_may_have_some_of_the_vectors(engine):
    engine.create_collection("docs", vectors_config=VECTORS, sparse_vectors_config=SPARSE)
    engine.upsert("docs", [models.PointStruct(id=1, vector={"dense": QUERY})], wait=True)
    engine.upsert("docs", [models.PointStruct(id=2, vector={})], wait=True)
    assert engine.count("docs").count == 2
    assert ids_of(engine.query_points("docs", query=QUERY, using="dense").points) == [1]
    assert engine.query_points("docs", query=QUERY_TOKENS, using="tokens").points == []


def test_vectors_are_replaced_and_removed_alone(engine):
    engine.create_collection("docs", vectors_config=VECTORS)
    vectors = {"dense": QUERY, "half": QUERY}
    engine.upsert("docs", [models.PointStruct(id=1, vector=vectors, payload={"a": 1})], wait=True)
    engine.update_vectors("docs", [models.PointVectors(id=1, vector={"half": [1.0, 0.0, 0.0, 0.0]})])
    record = engine.retrieve("docs", ids=[1], with_vectors=True)[0]
    assert record.payload == {"a": 1}
    assert record.vector["half"] == [1.0, 0.0, 0.0, 0.0]
    engine.delete_vectors("docs", vectors=["dense"], points=[1], wait=True)
    assert engine.retrieve("docs", ids=[1], with_vectors=True)[0].vector.keys() == {"half"}


def test_delete_by_id_and_by_filter(small):
    one_and_three = models.Filter(must=[models.FieldCondition(key="i", match=models.MatchAny(any=[1, 3]))])
    for selector in (
        [1, 3, 99],
        models.PointIdsList(points=[1, 3, 99]),
        one_and_three,
        models.FilterSelector(filter=one_and_three),
    ):
        small.upsert("small", points(1, 3), wait=True)
        small.delete("small", points_selector=selector, wait=True)
        assert ids_of(small.scroll("small")[0]) == [2]


def test_payload_is_set_replaced_and_removed(small):
    def payloads() -> list[Any]:
        return [record.payload or {} for record in small.scroll("small")[0]]

    two = field("i", match=models.MatchValue(value=2))
    small.set_payload("small", payload={"a": {"b": 1}, "keep": 0}, points=[1], wait=True)
    assert payloads() == [{"i": 1, "keep": 0, "a": {"b": 1}}, {"i": 2, "keep": True}]
    small.set_payload("small", payload={"c": 2}, key="a", points=[1], wait=True)
    assert payloads()[0]["a"] == {"b": 1, "c": 2}
    small.set_payload("small", payload={"z": 1}, points=two, wait=True)
    assert payloads()[1] == {"i": 2, "keep": True, "z": 1}
    small.delete_payload("small", keys=["a", "never"], points=[1], wait=True)
    assert payloads()[0] == {"i": 1, "keep": 0}
    small.overwrite_payload("small", payload={"only": [1, 2]}, points=[1], wait=True)
    assert payloads()[0] == {"only": [1, 2]}
    small.clear_payload("small", points_selector=[1], wait=True)
    assert payloads() == [{}, {"i": 2, "keep": True, "z": 1}]


def test_payload_holds_what_json_holds(small):
    payload = {
        "text": "ü\n\0",
        "int": -(2**53),
        "real": 1e-7,
        "none": None,
        "list": [[], {}],
        "": "empty key",
    }
    small.overwrite_payload("small", payload=payload, points=[1], wait=True)
    assert small.retrieve("small", ids=[1])[0].payload == payload


# What is Edge's own


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeClient]:
    """Edge with points 1 and 2 in ``small`` and none in ``docs``, for requests that it refuses."""
    with EdgeClient(tmp_path_factory.mktemp("edge")) as client:
        client.create_collection("small", vectors_config=SMALL)
        client.upsert("small", points(1, 2))
        client.create_collection("docs", vectors_config=VECTORS, sparse_vectors_config=SPARSE)
        yield client


@pytest.mark.parametrize(
    ("vectors", "error", "place"),
    [
        ({"dense": [1.0] * 3}, DimensionError, r"points[1].vector['dense']"),
        ({"dense": [1.0, 2.0, float("nan"), 0.0]}, NonFiniteError, r"points[1].vector['dense'][2]"),
        ({"half": np.full(4, np.inf)}, NonFiniteError, r"points[1].vector['half'][0]"),
        ({"tokens": []}, EmptyTokensError, r"points[1].vector['tokens']"),
        ({"tokens": [[1.0, 2.0, 3.0], [1.0]]}, DimensionError, r"points[1].vector['tokens'][1]"),
        ({"tokens": np.full((2, 3), np.nan)}, NonFiniteError, r"points[1].vector['tokens'][0][0]"),
        ({"dense": ["a"] * 4}, InvalidArgumentError, r"points[1].vector['dense']"),
        ({"dense": "text"}, InvalidArgumentError, r"points[1].vector['dense']"),
        ({"nowhere": [1.0]}, InvalidArgumentError, r"points[1].vector['nowhere']"),
        (
            {"sparse": models.SparseVector.model_construct(indices=[1, 2], values=[1.0])},
            LengthMismatchError,
            r"points[1].vector['sparse'].values",
        ),
        (
            {"sparse": models.SparseVector(indices=[1, 1], values=[1.0, 2.0])},
            InvalidArgumentError,
            r"points[1].vector['sparse'].indices",
        ),
        ({"sparse": [1.0]}, InvalidArgumentError, r"points[1].vector['sparse']"),
    ],
)
def test_a_wrong_vector_is_named_and_nothing_is_written(edge, vectors, error, place):
    good = models.PointStruct(id=1, vector={"dense": QUERY})
    bad = models.PointStruct.model_construct(id=2, vector=vectors, payload=None)
    with pytest.raises(error) as raised:
        edge.upsert("docs", [good, bad])
    assert raised.value.argument == place
    assert edge.count("docs").count == 0


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda c: c.upsert("small", [{"id": 1}]), InvalidArgumentError, "points[0]"),
        (
            lambda c: c.upsert("small", [models.PointStruct(id="name", vector={})]),
            InvalidArgumentError,
            "points[0].id",
        ),
        (
            lambda c: c.upsert("small", [models.PointStruct(id=1, vector={}, payload={"a": float("nan")})]),
            InvalidArgumentError,
            "points[0].payload",
        ),
        (
            lambda c: c.upsert("small", models.Batch(ids=[1, 2], vectors={"d": [[1.0, 2.0]]})),
            LengthMismatchError,
            "points.vectors['d']",
        ),
        (
            lambda c: c.upsert(
                "small", models.Batch(ids=[1], vectors={"d": [[1.0, 2.0]]}, payloads=[{}, {}])
            ),
            LengthMismatchError,
            "points.payloads",
        ),
        (lambda c: c.query_points("small", query=[1.0], using="d"), DimensionError, "query"),
        (lambda c: c.query_points("small", query=[1.0, 2.0]), InvalidArgumentError, "using"),
        (lambda c: c.query_points("small", query=[1.0, 2.0], using="e"), InvalidArgumentError, "using"),
        (lambda c: c.query_points("small", query=99, using="d"), InvalidArgumentError, "query"),
        (
            lambda c: c.query_points("small", query=[1.0, 2.0], using="d", limit=0),
            InvalidArgumentError,
            "limit",
        ),
        (
            lambda c: c.query_points("small", query=[1.0, 2.0], using="d", offset=-1),
            InvalidArgumentError,
            "offset",
        ),
        (
            lambda c: c.query_points("small", prefetch=[models.Prefetch(query=[1.0], using="d")], query=1),
            InvalidArgumentError,
            "using",
        ),
        (
            lambda c: c.query_points(
                "small",
                prefetch=[models.Prefetch(prefetch=[models.Prefetch(query=[1.0], using="d")])],
                query=[1.0, 2.0],
                using="d",
            ),
            DimensionError,
            "prefetch[0].prefetch[0].query",
        ),
        (lambda c: c.query_points("small", query_filter={"must": []}), FilterError, "query_filter"),
        (
            lambda c: c.scroll(
                "small",
                scroll_filter=models.Filter(must=[models.Filter(must=[models.FieldCondition(key="i")])]),
            ),
            FilterError,
            "scroll_filter.must[0].must[0]",
        ),
        (lambda c: c.retrieve("small", ids=[1, -1]), InvalidArgumentError, "ids[1]"),
        (lambda c: c.retrieve("small", ids=[True]), InvalidArgumentError, "ids[0]"),
        (
            lambda c: c.retrieve("small", ids=[1], with_vectors=["d", "e"]),
            InvalidArgumentError,
            "with_vectors[1]",
        ),
        (lambda c: c.retrieve("small", ids=[1], with_payload=7), InvalidArgumentError, "with_payload"),
        (lambda c: c.delete("small", points_selector="all"), InvalidArgumentError, "points_selector"),
        (
            lambda c: c.set_payload("small", payload={"a": 1}, points=[1, 99]),
            InvalidArgumentError,
            "points[1]",
        ),
        (lambda c: c.set_payload("small", payload=[1], points=[1]), InvalidArgumentError, "payload"),
        (lambda c: c.facet("small", key="i"), InvalidArgumentError, "key"),
        (lambda c: c.facet("small", key="a b"), InvalidArgumentError, "key"),
        (lambda c: c.scroll("small", order_by="a b"), InvalidArgumentError, "order_by"),
        (lambda c: c.retrieve("small", ids=[1], with_payload=["a b"]), InvalidArgumentError, "with_payload"),
        (lambda c: c.create_payload_index("small", "a b", "integer"), InvalidArgumentError, "key"),
        (lambda c: c.delete_payload_index("small", "a b"), InvalidArgumentError, "key"),
        (lambda c: c.delete_payload("small", keys=["a b"], points=[1]), InvalidArgumentError, "key"),
        (
            lambda c: c.set_payload("small", payload={"a": 1}, points=[1], key="a b"),
            InvalidArgumentError,
            "key",
        ),
        (
            lambda c: c.query_points("small", query=[1.0, 2.0], using="d", with_payload=["a b"]),
            InvalidArgumentError,
            "with_payload",
        ),
        (
            lambda c: c.query_points("small", query=models.OrderByQuery(order_by="a b")),
            InvalidArgumentError,
            "order_by",
        ),
        (
            lambda c: c.count("small", field("a b", match=models.MatchValue(value=1))),
            FilterError,
            "count_filter.must[0]",
        ),
        (lambda c: c.scroll("small", order_by="i"), InvalidArgumentError, "order_by"),
        (lambda c: c.create_payload_index("small", "i", 7), InvalidArgumentError, "field_schema"),
        (lambda c: c.create_collection("x"), InvalidArgumentError, "vectors_config"),
        (lambda c: c.create_collection("x", {"d": {"size": 2}}), InvalidArgumentError, "vectors_config['d']"),
        (
            lambda c: c.create_collection("x", SMALL, {"d": models.SparseVectorParams()}),
            InvalidArgumentError,
            "sparse_vectors_config",
        ),
        (
            lambda c: c.create_collection("x", SMALL, metadata={"a": object()}),
            InvalidArgumentError,
            "metadata",
        ),
        (
            lambda c: c.create_vector_name(
                "small",
                "d",
                models.DenseVectorNameConfig(
                    dense=models.DenseVectorConfig(size=2, distance=models.Distance.DOT)
                ),
            ),
            InvalidArgumentError,
            "vector_name",
        ),
        (lambda c: c.delete_vector_name("small", "e"), InvalidArgumentError, "vector_name"),
    ],
)
def test_a_wrong_argument_is_named(edge, call, error, named):
    with pytest.raises(error) as raised:
        call(edge)
    assert raised.value.argument == named


def test_updating_a_point_that_is_not_there_changes_none(edge):
    changes = [models.PointVectors(id=i, vector={"d": [9.0, 9.0]}) for i in (1, 99)]
    with pytest.raises(InvalidArgumentError, match=r"^points\[1\]"):
        edge.update_vectors("small", changes)
    assert edge.retrieve("small", ids=[1], with_vectors=True)[0].vector == {"d": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda c: c.create_collection("x", SMALL, shard_number=2), "shard_number"),
        (lambda c: c.create_collection("x", SMALL, replication_factor=3), "replication_factor"),
        (lambda c: c.create_collection("x", SMALL, wal_config=models.WalConfigDiff()), "wal_config"),
        (
            lambda c: c.create_collection(
                "x", SMALL, optimizers_config=models.OptimizersConfigDiff(flush_interval_sec=1)
            ),
            "optimizers_config.flush_interval_sec",
        ),
        (lambda c: c.update_collection("small", hnsw_config=models.HnswConfigDiff(m=4)), "hnsw_config"),
        (lambda c: c.query_points("small", query=[1.0, 2.0], using="d", timeout=1), "timeout"),
        (lambda c: c.query_points("small", query=[1.0, 2.0], using="d", consistency="all"), "consistency"),
        (lambda c: c.query_points("small", query=models.Document(text="a", model="b"), using="d"), "query"),
        (lambda c: c.query_points("small", using="d"), "using"),
        (
            lambda c: c.query_points(
                "small", query=models.RecommendQuery(recommend=models.RecommendInput(positive=[1])), using="d"
            ),
            "query",
        ),
        (
            lambda c: c.query_batch_points("small", [models.QueryRequest(query=1, using="d", shard_key="a")]),
            "shard_key",
        ),
        (
            lambda c: c.delete("small", models.PointIdsList(points=[1], shard_key="a")),
            "shard_key",
        ),
        (lambda c: c.create_snapshot("small"), "create_snapshot"),
        (lambda c: c.upload_points("small", []), "upload_points"),
    ],
)
def test_what_edge_cannot_do_is_refused_by_name(edge, call, named):
    with pytest.raises(CapabilityError, match=f"^{named}:"):
        call(edge)
    assert edge.count("small").count == 2


def test_a_missing_collection_is_named(edge):
    for call in (
        lambda: edge.count("nowhere"),
        lambda: edge.upsert("nowhere", points(1)),
        lambda: edge.get_collection("nowhere"),
        lambda: edge.query_points("nowhere", query=[1.0]),
    ):
        with pytest.raises(CollectionNotFoundError, match="'nowhere'"):
            call()


def test_a_closed_client_says_so(edge_client):
    edge_client.close()
    edge_client.close()
    with pytest.raises(EngineError, match="closed"):
        edge_client.count("small")


def test_optimizing_builds_the_graph_and_the_codes(edge_client):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 64)).astype(np.float32)
    quantization = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8"))
    params = models.VectorParams(size=64, distance=models.Distance.DOT, quantization_config=quantization)
    edge_client.create_collection(
        "docs",
        vectors_config={"d": params},
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100),
    )
    assert edge_client.get_collection("docs").status is models.CollectionStatus.GREEN
    edge_client.upsert(
        "docs", [models.PointStruct.model_construct(id=i, vector={"d": v}) for i, v in enumerate(vectors)]
    )
    before = edge_client.get_collection("docs")
    assert (before.status, before.indexed_vectors_count) == (models.CollectionStatus.GREY, 0)
    assert edge_client.optimize("docs")
    after = edge_client.get_collection("docs")
    assert (after.status, after.indexed_vectors_count) == (models.CollectionStatus.GREEN, 2000)
    assert not edge_client.optimize("docs")
    query = rng.standard_normal(64).astype(np.float32)
    found = ids_of(edge_client.query_points("docs", query=query, using="d").points)
    assert len(set(found) & set(np.argsort(-(vectors @ query))[:10].tolist())) >= 9
    assert edge_client.disk_bytes("docs") > vectors.nbytes
    assert edge_client.disk_bytes() > edge_client.disk_bytes("docs")
    edge_client.delete("docs", points_selector=[1])
    assert edge_client.get_collection("docs").status is models.CollectionStatus.GREY


def test_many_threads_may_read_and_write(edge_client):
    edge_client.create_collection("small", vectors_config=SMALL)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(10):
                mine = 100 + 10 * number + i
                edge_client.upsert("small", points(mine))
                assert ids_of(edge_client.retrieve("small", ids=[mine])) == [mine]
                edge_client.query_points("small", query=[1.0, 0.0], using="d", limit=5)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    edge_client.optimize("small")
    for thread in threads:
        thread.join()
    assert errors == []
    assert edge_client.count("small").count == 80
