"""A search on its way from queries to hits: one request a round, and hits that differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.models import QueryResponse, ScoredPoint

from embplug import Collection, Dense, Query, Recipe, Rerank, Tokens
from embplug.branches.pipeline import Pipeline
from embplug.collection.searching import search_steps
from embplug.common.ids import CODES, DENSE_CODES, point_id
from embplug.engines.calls import COMPUTE, Call, run
from embplug.engines.search_request import SearchRequest
from embplug.errors import InvalidArgumentError
from embplug.methods import BinaryQuantizer, PowerQuantizer, Truncation
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, SMALL_FDE, batch, vectors

COUNT = 30
DENSE = vectors(COUNT)
DENSE /= np.linalg.norm(DENSE, axis=1, keepdims=True)
TOKENS = batch(COUNT, 0)
NAMES = [f"doc {i}" for i in range(COUNT)]
PLAIN = Recipe(dense=Dense(dim=DIM))
CODED = Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer(bits=8), transforms=[Truncation(2)]))
RANKED = Recipe(
    tokens=Tokens(dim=DIM, encoding=SMALL_FDE, codes=BinaryQuantizer()), rerank=Rerank(exact=5, candidates=10)
)


def filled(engine: Any, recipe: Recipe) -> Collection:
    collection = Collection.create("docs", recipe, engine)
    data = {"dense": DENSE} if recipe.dense else {"tokens": TOKENS}
    collection.add(NAMES, **data, payloads=[{"n": i} for i in range(COUNT)])
    return collection


def traced(collection: Collection, queries: list[Query], **options: Any) -> tuple[list[Any], list[Call]]:
    """Hits of each query, and the engine's calls that they took."""
    calls: list[Call] = []
    pipeline = collection._pipeline
    steps = search_steps(collection.engine, "docs", pipeline, queries, SearchOptions(**options))

    def watched() -> Any:
        call = next(steps)
        while True:
            if call.method != COMPUTE:
                calls.append(call)
            try:
                call = steps.send((yield call))
            except StopIteration as stop:
                return stop.value

    return run(collection.engine, watched()), calls


def test_a_batch_of_queries_is_one_request(memory_client: QdrantClient) -> None:
    hits, calls = traced(filled(memory_client, PLAIN), [Query(dense=DENSE[i]) for i in (3, 7, 11)], limit=4)
    assert [call.method for call in calls] == ["query_batch_points"]
    assert len(calls[0].arguments["requests"]) == 3
    assert [own[0].id for own in hits] == ["doc 3", "doc 7", "doc 11"]
    assert [len(own) for own in hits] == [4, 4, 4]
    assert hits[0][0].payload == {"n": 3}


def test_each_round_of_all_queries_is_one_request(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, RANKED)
    matrices = [Query(tokens=TOKENS[i]) for i in (3, 7)]
    hits, calls = traced(collection, matrices, limit=2)
    assert [own[0].id for own in hits] == ["doc 3", "doc 7"]
    alone = [traced(collection, [query], limit=2) for query in matrices]
    assert len(alone[0][1]) == len(alone[1][1]) == len(calls) > 1
    assert [own for (own,), _ in alone] == hits


def test_no_query_is_no_request(memory_client: QdrantClient) -> None:
    assert traced(filled(memory_client, PLAIN), []) == ([], [])


def test_plans_of_different_lengths_get_their_own_answers(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query needs three rounds, one needs none, and one needs one round with two requests."""

    def plan(name: str, rounds: list[int]) -> Any:
        received = []
        for i, count in enumerate(rounds):
            answers = yield [SearchRequest(limit=1, using=f"{name}{i}{j}") for j in range(count)]
            received += [answer.payload(0)["using"] for answer in answers]
        return received

    plans = [plan("a", [1, 1, 2]), plan("b", []), plan("c", [2])]
    pipeline = Pipeline(PLAIN)
    monkeypatch.setattr(Pipeline, "plan", lambda self, queries, options: plans)
    steps = search_steps(memory_client, "docs", pipeline, [Query()] * 3, SearchOptions())
    call, rounds = next(steps), []
    try:
        while True:
            if call.method == COMPUTE:
                call = steps.send(call.arguments["function"]())
                continue
            using = [request.using for request in call.arguments["requests"]]
            rounds.append(using)
            call = steps.send([response(name) for name in using])
    except StopIteration as stop:
        hits = stop.value
    assert rounds == [["a00", "c00", "c01"], ["a10"], ["a20", "a21"]]
    assert hits == [["a00", "a10", "a20", "a21"], [], ["c00", "c01"]]


def response(using: str) -> QueryResponse:
    return QueryResponse(points=[ScoredPoint(id=1, version=0, score=0.0, payload={"using": using})])


@pytest.mark.parametrize(
    ("recipe", "query", "payload", "stored"),
    [
        (PLAIN, Query(dense=DENSE[3]), False, ["dense"]),
        (CODED, Query(dense=DENSE[3]), [DENSE_CODES], False),
        (RANKED, Query(tokens=TOKENS[3]), [CODES], False),
    ],
    ids=["vectors", "codes of vectors", "codes of tokens"],
)
def test_diverse_hits_are_compared_by_what_is_stored(
    memory_client: QdrantClient, recipe: Recipe, query: Query, payload: Any, stored: Any
) -> None:
    collection = filled(memory_client, recipe)
    diverse = models.Mmr(diversity=0.5, candidates_limit=12)
    (hits,), calls = traced(collection, [query], limit=4, mmr=diverse)
    read = calls[-1]
    assert read.method == "retrieve" and len(read.arguments["ids"]) == 12
    assert (read.arguments["with_payload"], read.arguments["with_vectors"]) == (payload, stored)
    assert len(hits) == 4 and hits[0].id == "doc 3"
    (relevant,), _ = traced(collection, [query], limit=12)
    assert {hit.id for hit in hits} <= {hit.id for hit in relevant}


def test_without_diversity_the_hits_are_the_most_relevant(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, PLAIN)
    query = Query(dense=DENSE[3])
    (relevant,), _ = traced(collection, [query], limit=5)
    (same,), _ = traced(collection, [query], limit=5, mmr=models.Mmr(diversity=0.0, candidates_limit=20))
    (spread,), _ = traced(collection, [query], limit=5, mmr=models.Mmr(diversity=1.0, candidates_limit=20))
    assert [hit.id for hit in same] == [hit.id for hit in relevant]
    assert [hit.id for hit in spread] != [hit.id for hit in relevant]


def test_as_many_hits_as_the_limit_are_compared_where_fewer_are_named(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, PLAIN)
    for parameters in (models.Mmr(), models.Mmr(candidates_limit=2)):
        (hits,), calls = traced(collection, [Query(dense=DENSE[3])], limit=6, mmr=parameters)
        assert len(hits) == len(calls[-1].arguments["ids"]) == 6


def test_a_document_that_was_deleted_meanwhile_is_left_out(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, PLAIN)
    steps = search_steps(
        memory_client, "docs", collection._pipeline, [Query(dense=DENSE[3])], SearchOptions(mmr=models.Mmr())
    )

    def deleting() -> Any:
        call = next(steps)
        while True:
            if call.method == "retrieve":
                memory_client.delete("docs", points_selector=[point_id("doc 3", "id")], wait=True)
            try:
                call = steps.send((yield call))
            except StopIteration as stop:
                return stop.value

    (hits,) = run(memory_client, deleting())
    assert len(hits) == 9 and "doc 3" not in {hit.id for hit in hits}


def test_no_hits_are_not_compared(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, PLAIN)
    nothing = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=99))])
    (hits,), calls = traced(collection, [Query(dense=DENSE[3])], filter=nothing, mmr=models.Mmr())
    assert hits == [] and [call.method for call in calls] == ["query_batch_points"]


def test_parameters_of_another_kind_are_refused(memory_client: QdrantClient) -> None:
    collection = filled(memory_client, PLAIN)
    with pytest.raises(InvalidArgumentError) as raised:
        traced(collection, [Query(dense=DENSE[3])], mmr={"diversity": 0.5})
    assert raised.value.argument == "mmr"


def test_errors_name_the_query_of_a_batch(memory_client: QdrantClient) -> None:
    docs = filled(memory_client, PLAIN)
    good = Query(dense=DENSE[0])
    for wrong, said in [
        (Query(dense=DENSE[0][:3]), r"^queries\[1\]\.dense: expected one vector of shape"),
        (Query(dense=np.full(DIM, np.nan)), r"^queries\[1\]\.dense: expected finite numbers"),
        (Query(text=" "), r"^queries\[1\]\.text: "),
        (Query(text="half \ud800"), r"^queries\[1\]\.text: "),
        (Query(tokens=[[1.0]]), r"^queries\[1\]\.tokens: "),
        (Query(), r"^queries\[1\]\.tokens: expected tokens, dense, "),
    ]:
        for mmr in (None, models.Mmr(candidates_limit=5)):
            with pytest.raises(InvalidArgumentError, match=said):
                docs.batch_search([good, wrong], mmr=mmr)
        with pytest.raises(InvalidArgumentError, match="^" + said.partition(r"\.")[2]):
            docs.search(**{name: value for name, value in vars(wrong).items() if value is not None})


def test_a_threshold_is_a_number(memory_client: QdrantClient) -> None:
    docs = filled(memory_client, PLAIN)
    for wrong in (float("nan"), 10**400, "0.5", True):
        with pytest.raises(InvalidArgumentError, match=r"^score_threshold: expected a number"):
            docs.search(dense=DENSE[0], score_threshold=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("queries", [0.5, None, "text", Query(dense=DENSE[0]), [None]])
def test_queries_that_are_none_are_named(memory_client: QdrantClient, queries: Any) -> None:
    docs = filled(memory_client, PLAIN)
    with pytest.raises(InvalidArgumentError, match=r"^queries(\[0\])?: expected"):
        docs.batch_search(queries)
