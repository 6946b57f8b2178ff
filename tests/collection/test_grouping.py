"""Groups of hits: ranked by the last stage, whole, and not hidden by a group with many documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Fusion, Hit, Recipe, Record, Rerank, Sparse, Tokens
from embplug.errors import CollectionNotFoundError, InvalidArgumentError
from embplug.methods import FDE, PowerQuantizer, ProductQuantizer

COUNT, DIM = 240, 8
RNG = np.random.default_rng(3)
QUERY = RNG.normal(size=DIM).astype(np.float32)


def near(closeness: float) -> np.ndarray:
    return (closeness * QUERY + RNG.normal(size=DIM)).astype(np.float32)


# 180 chunks of one text are closer than all others, which are chunks of 20 texts.
GROUPS = ["big"] * 180 + [f"text {i % 20}" for i in range(COUNT - 180)]
VECTORS = np.stack([near(3.0 if group == "big" else 1.0) for group in GROUPS])
TEXTS = [f"alpha {'beta ' * (i % 5)} w{i}" if i % 3 else f"gamma w{i}" for i in range(COUNT)]
TOKENS = [np.stack([vector, *RNG.normal(size=(2, DIM))]).astype(np.float32) for vector in VECTORS]
PAYLOADS = [
    {"doc": {"id": group}, "number": i % 7, "n": i, "both": [group, f"half {i % 2}"]}
    for i, group in enumerate(GROUPS)
]

RECIPES = {
    "dense": Recipe(dense=Dense(dim=DIM), rerank=Rerank(candidates=20)),
    "codes": Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer(), funnel=[4]), rerank=Rerank(candidates=20)),
    "tokens": Recipe(
        tokens=Tokens(
            dim=DIM, encoding=FDE(repetitions=4), multivector=None, codes=ProductQuantizer(subspaces=4)
        ),
        rerank=Rerank(candidates=20),
    ),
    "multivector": Recipe(
        tokens=Tokens(dim=DIM, encoding=FDE(repetitions=4), codes=None), rerank=Rerank(candidates=20)
    ),
    "fusion": Recipe(dense=Dense(dim=DIM), sparse=Sparse(), rerank=Rerank(candidates=20)),
    "rrf": Recipe(
        dense=Dense(dim=DIM), sparse=Sparse(), rerank=Rerank(candidates=20), fusion=Fusion(method="rrf")
    ),
}


def filled(name: str, engine: Any) -> Collection:
    recipe = RECIPES[name]
    collection = Collection.create(f"docs-{name}", recipe, engine)
    collection.add(
        [f"doc {i}" for i in range(COUNT)],
        dense=VECTORS if recipe.dense else None,
        tokens=TOKENS if recipe.tokens else None,
        texts=TEXTS if recipe.sparse else None,
        payloads=PAYLOADS,
    )
    return collection


def query(collection: Collection) -> dict[str, Any]:
    recipe = collection.recipe
    return {
        **({"dense": QUERY} if recipe.dense else {}),
        **({"tokens": np.stack([QUERY, QUERY + 0.1])} if recipe.tokens else {}),
        **({"text": "alpha beta"} if recipe.sparse else {}),
    }


def by_hand(
    hits: Sequence[Hit], value: Callable[[Any], Any], limit: int, size: int
) -> list[tuple[Any, list[Any]]]:
    """Groups of a ranking of all documents."""
    groups: dict[Any, list[Any]] = {}
    for hit in hits:
        own = groups.setdefault(value(hit.payload), [])
        if len(own) < size:
            own.append(hit.id)
    return [*groups.items()][:limit]


def shown(groups: Any) -> list[tuple[Any, list[Any]]]:
    return [(group.id, [hit.id for hit in group.hits]) for group in groups]


@pytest.mark.parametrize("name", ["dense", "codes", "tokens", "multivector"])
def test_groups_are_those_of_a_ranking_of_all_documents(name: str, engine: Any) -> None:
    collection = filled(name, engine)
    every = collection.search(**query(collection), limit=COUNT, candidates=COUNT, exact=name == "dense")
    groups = collection.search_groups("doc.id", **query(collection), limit=6, group_size=3)
    expected = by_hand(every, lambda payload: payload["doc"]["id"], 6, 3)
    assert groups[0].id == expected[0][0] == "big"
    assert [len(group.hits) for group in groups] == [3] * 6
    if name == "dense":
        assert shown(groups) == expected
    scores = {hit.id: hit.score for hit in every}
    for group in groups:
        assert [hit.payload["doc"]["id"] for hit in group.hits] == [group.id] * 3
        for hit in group.hits:
            assert hit.score == pytest.approx(scores[hit.id], rel=1e-4, abs=1e-4)
    best = [group.hits[0].score for group in groups]
    assert best == sorted(best, reverse=True)
    # The candidates of a group come from the first stage, whose order is not that of the codes.
    assert len({group.id for group in groups} & {value for value, _ in expected}) >= 4


@pytest.mark.parametrize("name", ["fusion", "rrf"])
def test_fused_groups_come_from_one_ranking(name: str, engine: Any) -> None:
    collection = filled(name, engine)
    groups = collection.search_groups("doc.id", **query(collection), limit=6, group_size=2, with_stages=True)
    assert len(groups) == 6 and [len(group.hits) for group in groups] == [2] * 6
    hits = [hit for group in groups for hit in group.hits]
    assert len({hit.id for hit in hits}) == 12
    best = [group.hits[0].score for group in groups]
    assert best == sorted(best, reverse=True)
    assert all(group.hits[0].score >= group.hits[1].score for group in groups)
    assert all("fusion" in hit.stages for hit in hits)
    # One ranking has one best hit: scores of several searches would each begin with their highest.
    assert len(set(best)) > 3


def test_a_round_that_finds_enough_is_one_search(engine: Any) -> None:
    collection = filled("dense", engine)
    groups = collection.search_groups(
        "number", dense=QUERY, limit=5, group_size=2, with_stages=True, with_payload=["n"]
    )
    every = collection.search(dense=QUERY, limit=COUNT, exact=True)
    assert shown(groups) == by_hand(every, lambda payload: payload["number"], 5, 2)
    assert {*groups[0].hits[0].payload} == {"n"} and groups[0].hits[0].stages
    nothing = collection.search_groups("number", dense=QUERY, limit=1, with_payload=False)
    assert nothing[0].hits[0].payload is None and nothing[0].hits[0].stages is None


def test_filters_and_thresholds_hold_in_every_round(engine: Any) -> None:
    collection = filled("dense", engine)
    odd = models.Filter(
        must=[models.FieldCondition(key="n", range=models.Range(gte=100))],
        must_not=[models.HasIdCondition(has_id=["doc 239"])],
    )
    every = collection.search(dense=QUERY, limit=COUNT, exact=True, filter=odd)
    threshold = every[len(every) // 2].score
    groups = collection.search_groups(
        "doc.id", dense=QUERY, limit=30, group_size=4, filter=odd, score_threshold=threshold
    )
    above = [hit for hit in every if hit.score >= threshold]
    assert shown(groups) == by_hand(above, lambda payload: payload["doc"]["id"], 30, 4)


def test_a_list_of_values_puts_a_document_into_several_groups(engine: Any) -> None:
    collection = filled("dense", engine)
    groups = collection.search_groups("both", dense=QUERY, limit=3, group_size=2)
    every = collection.search(dense=QUERY, limit=COUNT, exact=True)
    assert shown(groups)[0] == ("big", [hit.id for hit in every[:2]])
    assert {group.id for group in groups} >= {"big", "half 0", "half 1"}


def test_documents_without_a_value_are_in_no_group(engine: Any) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2), rerank=Rerank(candidates=2)), engine)
    payloads: list[Any] = [{}, {"g": None}, {"g": []}, {"g": 1.5}, {"g": True}, {"g": {"a": 1}}, {"g": "a"}]
    payloads += [{"g": 7}, {"g": [-1, "a"]}]
    collection.add(range(9), dense=[[1.0, i / 10] for i in range(9)], payloads=payloads)
    collection.add(range(10, 110), dense=[[1.0, 0.0]] * 100)
    groups = collection.search_groups("g", dense=[1.0, 0.0], limit=5, group_size=3)
    assert shown(groups) == [("a", [6, 8]), (7, [7]), (-1, [8])]
    assert collection.search_groups("nowhere", dense=[1.0, 0.0]) == []


def test_each_group_gets_the_document_whose_id_it_has(engine: Any) -> None:
    collection = filled("dense", engine)
    texts = Collection.create("texts", Recipe(dense=Dense(dim=2)), engine)
    texts.add(["big", "text 1"], dense=np.ones((2, 2)), payloads=[{"title": "Big", "n": 1}, {"title": "One"}])
    groups = collection.search_groups("doc.id", dense=QUERY, limit=21, with_lookup="texts")
    records = {group.id: group.lookup for group in groups}
    assert records["big"] == Record("big", {"title": "Big", "n": 1})
    assert records["text 1"] == Record("text 1", {"title": "One"}) and records["text 2"] is None
    lookup = models.WithLookup(collection="texts", with_payload=["title"])
    (group,) = collection.search_groups("doc.id", dense=QUERY, limit=1, with_lookup=lookup)
    assert group.lookup == Record("big", {"title": "Big"})
    lookup = models.WithLookup(collection="texts", with_vectors=True)
    (group,) = collection.search_groups("doc.id", dense=QUERY, limit=1, with_lookup=lookup)
    assert [*group.lookup.vector] == ["dense"]
    with pytest.raises(CollectionNotFoundError, match="'nowhere'"):
        collection.search_groups("doc.id", dense=QUERY, with_lookup="nowhere")
    (group,) = collection.search_groups("doc.id", dense=QUERY, limit=1, with_vectors=["dense"])
    (record,) = collection.retrieve([group.hits[0].id], with_vectors=True)
    np.testing.assert_allclose(group.hits[0].vector["dense"], record.vector["dense"])
    with pytest.raises(InvalidArgumentError, match=r"^with_lookup: "):
        collection.search_groups("doc.id", dense=QUERY, with_lookup=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(("argument", "value"), [("limit", 0), ("group_size", 0), ("group_size", 1.5)])
def test_numbers_are_checked(argument: str, value: Any, memory_client: Any) -> None:
    collection = filled("dense", memory_client)
    with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
        collection.search_groups("doc.id", dense=QUERY, **{argument: value})


def test_the_cross_encoder_ranks_the_groups(memory_client: Any) -> None:
    recipe = RECIPES["dense"].replaced(
        rerank={"candidates": 20, "cross_encoder": {"candidates": 12}}, text_key="body"
    )
    read: list[int] = []

    def last_is_best(query: str, texts: Sequence[str]) -> list[float]:
        read.append(len(texts))
        return [float(text) for text in texts]

    collection = Collection.create("docs", recipe, memory_client, cross_encoder=last_is_best)
    payloads = [{**payload, "body": str(payload["n"])} for payload in PAYLOADS]
    collection.add(range(COUNT), dense=VECTORS, payloads=payloads)
    groups = collection.search_groups("doc.id", text="q", dense=QUERY, limit=3, group_size=2)
    assert sum(read) == 12
    best = [group.hits[0].score for group in groups]
    assert best == sorted(best, reverse=True) and len(groups) == 3 and best[0] >= 180
    assert all(hit.score == hit.payload["n"] for group in groups for hit in group.hits)
