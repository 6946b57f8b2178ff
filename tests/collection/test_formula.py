"""A formula ranks last, over scores of every kind of search, as the engine's own formula does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Query, Recipe, Rerank, Sparse
from embplug.engines import traits_of
from embplug.errors import FilterError, InvalidArgumentError
from embplug.methods import PowerQuantizer

COUNT, DIM = 40, 6
RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(COUNT, DIM)).astype(np.float32)
QUERY = RNG.normal(size=DIM).astype(np.float32)
PAYLOADS = [
    {
        "popularity": i % 9,
        "kind": "news" if i % 4 else "page",
        "day": f"2024-01-{1 + i % 28:02d}T00:00:00Z",
        "at": {"lon": i / 10, "lat": 0.0},
        "a": {"b": i % 3},
        "group": f"g{i % 5}",
        "n": i,
    }
    for i in range(COUNT)
]
NEWS = models.FieldCondition(key="kind", match=models.MatchValue(value="news"))
RECENT = models.ExpDecayExpression(
    exp_decay=models.DecayParamsExpression(
        x=models.DatetimeKeyExpression(datetime_key="day"),
        target=models.DatetimeExpression(datetime="2024-01-20T00:00:00Z"),
        scale=86400.0 * 5,
    )
)
FORMULAS = {
    "boost": models.SumExpression(sum=["$score", models.MultExpression(mult=[0.5, NEWS])]),
    "recency": models.SumExpression(sum=["$score", RECENT]),
    "popularity": models.MultExpression(
        mult=["$score", models.LnExpression(ln=models.SumExpression(sum=["popularity", 2.0]))]
    ),
    "nested": models.SumExpression(sum=["$score[0]", models.NegExpression(neg="a.b")]),
    "distance": models.GaussDecayExpression(
        gauss_decay=models.DecayParamsExpression(
            x=models.GeoDistance(
                geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(lon=2.0, lat=0.0), to="at")
            ),
            scale=100_000.0,
        )
    ),
    "filter": models.SumExpression(sum=["$score", models.Filter(must_not=[NEWS])]),
}
RECIPES = {
    "dense": Recipe(dense=Dense(dim=DIM)),
    "codes": Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer(), funnel=[3])),
    "fusion": Recipe(dense=Dense(dim=DIM), sparse=Sparse()),
}


def filled(name: str, engine: Any) -> Collection:
    collection = Collection.create(f"docs-{name}", RECIPES[name], engine)
    texts = [f"word {'apple ' * (i % 3)}" for i in range(COUNT)] if RECIPES[name].sparse else None
    ids = [f"doc {i}" for i in range(COUNT)]
    collection.add(ids, dense=VECTORS, texts=texts, payloads=PAYLOADS)
    return collection


def query(name: str) -> dict[str, Any]:
    return {"dense": QUERY, **({"text": "apple"} if name == "fusion" else {})}


@pytest.mark.parametrize("formula", FORMULAS)
def test_it_has_the_values_of_the_engines_own_formula(formula: str, engine: Any) -> None:
    collection = filled("dense", engine)
    formula_query = models.FormulaQuery(formula=FORMULAS[formula])
    hits = collection.search(dense=QUERY, limit=COUNT, formula=formula_query, with_stages=True)
    assert len(hits) == COUNT and [hit.score for hit in hits] == sorted(
        (hit.score for hit in hits), reverse=True
    )
    assert all(hit.stages["formula"] == hit.score and "dense" in hit.stages for hit in hits)
    assert all(hit.payload == PAYLOADS[int(str(hit.id).split()[1])] for hit in hits)
    if traits_of(engine).kind == "edge":
        return  # its client takes no formula
    answer = engine.query_points(
        collection.name,
        prefetch=models.Prefetch(query=QUERY.tolist(), using="dense", limit=COUNT),
        query=formula_query,
        limit=COUNT,
        with_payload=True,
    )
    expected = {point.payload["_embplug_id"]: point.score for point in answer.points}
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.id], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["codes", "fusion"])
def test_it_ranks_by_the_scores_of_the_last_stage(name: str, engine: Any) -> None:
    collection = filled(name, engine)
    before = collection.search(**query(name), limit=COUNT, candidates=COUNT)
    formula_query = models.FormulaQuery(
        formula=models.SumExpression(sum=["$score", models.MultExpression(mult=[2.0, "popularity"])])
    )
    after = collection.search(
        **query(name), limit=5, candidates=COUNT, formula=formula_query, with_payload=["a.b"]
    )
    expected = {hit.id: hit.score + 2 * hit.payload["popularity"] for hit in before}
    order = sorted(expected, key=lambda id_: -expected[id_])
    assert [hit.id for hit in after] == order[:5]
    assert [hit.score for hit in after] == pytest.approx([expected[id_] for id_ in order[:5]], abs=1e-4)
    assert after[0].stages is None and {*after[0].payload} == {"a"}
    threshold = expected[order[2]] - 1e-3
    few = collection.search(
        **query(name), candidates=COUNT, formula=formula_query, score_threshold=threshold, with_payload=False
    )
    assert [hit.id for hit in few] == order[:3] and few[0].payload is None and few[0].vector is None
    batch = (
        collection.batch_search(
            [Query(**query(name))] * 2,
            limit=5,
            candidates=COUNT,
            formula=formula_query,
            with_vectors=["dense"],
        )
        if name == "fusion"
        else []
    )
    assert all([hit.id for hit in hits] == order[:5] and hits[0].vector for hits in batch)


def test_groups_are_ranked_by_it(engine: Any) -> None:
    collection = filled("dense", engine)
    formula_query = models.FormulaQuery(formula="popularity")
    groups = collection.search_groups("group", dense=QUERY, limit=5, group_size=2, formula=formula_query)
    best = [group.hits[0].score for group in groups]
    assert best == sorted(best, reverse=True) and best[0] == 8.0
    highest = collection.search(dense=QUERY, limit=COUNT, candidates=COUNT, formula=formula_query)
    expected: dict[str, list[float]] = {}
    for hit in highest:
        expected.setdefault(hit.payload["group"], []).append(hit.score)
    assert {group.id: [hit.score for hit in group.hits] for group in groups} == {
        value: scores[:2] for value, scores in expected.items()
    }


def test_the_best_groups_are_those_of_the_formula(engine: Any) -> None:
    collection = filled("dense", engine)
    formula_query = models.FormulaQuery(formula="n")
    groups = collection.search_groups("group", dense=QUERY, limit=2, group_size=2, formula=formula_query)
    assert [(group.id, [hit.score for hit in group.hits]) for group in groups] == [
        ("g4", [39.0, 34.0]),
        ("g3", [38.0, 33.0]),
    ]


def test_it_sees_the_candidates_alone(memory_client: Any) -> None:
    recipe = RECIPES["dense"].replaced(rerank=Rerank(candidates=4))
    collection = Collection.create("docs", recipe, memory_client)
    collection.add(range(COUNT), dense=VECTORS, payloads=PAYLOADS)
    near = {hit.id for hit in collection.search(dense=QUERY, limit=4)}
    formula_query = models.FormulaQuery(formula="popularity")
    assert {hit.id for hit in collection.search(dense=QUERY, limit=4, formula=formula_query)} == near
    assert len(collection.search(dense=QUERY, limit=9, formula=formula_query)) == 9


def test_the_cross_encoder_comes_before_it(memory_client: Any) -> None:
    recipe = RECIPES["dense"].replaced(rerank={"cross_encoder": {"candidates": 10}})
    collection = Collection.create(
        "docs", recipe, memory_client, cross_encoder=lambda _, texts: [float(text) for text in texts]
    )
    payloads = [{**payload, "text": str(i)} for i, payload in enumerate(PAYLOADS)]
    collection.add(range(COUNT), dense=VECTORS, payloads=payloads)
    near = {hit.id for hit in collection.search(dense=QUERY, text="q", limit=10)}
    formula_query = models.FormulaQuery(formula=models.NegExpression(neg="$score"))
    hits = collection.search(dense=QUERY, text="q", limit=3, formula=formula_query)
    assert [hit.id for hit in hits] == sorted(near)[:3] and hits[0].score == -hits[0].id


def test_ids_in_conditions_are_those_of_documents(engine: Any) -> None:
    collection = filled("dense", engine)
    condition = models.HasIdCondition(has_id=["doc 7", "doc 9"])
    formula_query = models.FormulaQuery(formula=models.Filter(must=[condition]))
    assert {hit.id for hit in collection.search(dense=QUERY, limit=2, formula=formula_query)} == {
        "doc 7",
        "doc 9",
    }


def test_defaults_stand_for_what_a_document_lacks(engine: Any) -> None:
    collection = filled("dense", engine)
    collection.delete_payload(["popularity"], ["doc 1"])
    with pytest.raises(InvalidArgumentError, match=r"^formula: .*defaults.*'doc 1'.*popularity"):
        collection.search(dense=QUERY, formula=models.FormulaQuery(formula="popularity"))
    formula_query = models.FormulaQuery(formula="popularity", defaults={"popularity": 50.0})
    assert collection.search(dense=QUERY, formula=formula_query)[0].id == "doc 1"


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("$scores", "formula"),
        ("$score[1]", "formula"),
        (models.SumExpression(sum=["$score", "a b"]), r"formula\.sum\[1\]"),
        (models.NegExpression(neg="_embplug_codes"), r"formula\.neg"),
        (models.MaxExpression(max=[]), "formula"),
        (models.DatetimeExpression(datetime="soon"), "formula"),
        (models.HasVectorCondition(has_vector="dense"), "formula"),
        (models.LnExpression(ln=models.MultExpression(mult=[0.0, "$score"])), "formula"),
    ],
)
def test_a_wrong_formula_is_named(memory_client: Any, wrong: Any, place: str) -> None:
    collection = filled("dense", memory_client)
    with pytest.raises(InvalidArgumentError, match=f"^{place}: "):
        collection.search(dense=QUERY, formula=models.FormulaQuery(formula=wrong))


@pytest.mark.parametrize("value", [5, 1.5, True, {"year": 2024}, "yesterday"])
def test_a_payload_that_the_formula_cannot_read_is_named(memory_client: Any, value: Any) -> None:
    collection = filled("dense", memory_client)
    collection.set_payload({"day": "2024-01-01T00:00:00Z"}, [f"doc {i}" for i in range(COUNT)])
    collection.set_payload({"day": value}, ["doc 3"])
    formula = models.FormulaQuery(formula=models.DatetimeKeyExpression(datetime_key="day"))
    with pytest.raises(InvalidArgumentError, match=r"^formula: .*'doc 3'"):
        collection.search(dense=QUERY, limit=COUNT, formula=formula)


def test_what_is_no_formula_is_named_too(memory_client: Any) -> None:
    collection = filled("dense", memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^formula: expected a qdrant_client.models.FormulaQuery"):
        collection.search(dense=QUERY, formula="$score")  # type: ignore[arg-type]
    formula_query = models.FormulaQuery(formula="$score")
    with pytest.raises(InvalidArgumentError, match=r"^formula: expected no formula with mmr"):
        collection.search(dense=QUERY, formula=formula_query, mmr=models.Mmr())
    nan = models.FieldCondition(key="popularity", range=models.Range(gt=float("nan")))
    with pytest.raises(FilterError):
        collection.search(dense=QUERY, formula=models.FormulaQuery(formula=nan))
