"""Diverse hits: ``mmr`` takes everything that a search takes."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Query, Recipe
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.search import dense_similarities, mmr

RNG = np.random.default_rng(3)
DOCUMENTS = RNG.standard_normal((40, 6)).astype(np.float32)
OTHER = RNG.standard_normal((40, 4)).astype(np.float32)
QUERIES = DOCUMENTS[:3] + 0.1
DIVERSE = models.Mmr(diversity=0.7, candidates_limit=40)
EVEN = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])


@pytest.fixture
def collection(engine: Engine) -> Collection:
    recipe = Recipe(dense={"a": Dense(dim=6), "b": Dense(dim=4)}, payload_indexes={"even": "bool"})
    collection = Collection.create("docs", recipe, engine)
    payloads = [{"even": i % 2 == 0} for i in range(40)]
    collection.add(range(40), dense={"a": DOCUMENTS, "b": OTHER}, payloads=payloads)
    return collection


def chosen(query: int, rows: np.ndarray, limit: int, diversity: float = 0.7) -> list[int]:
    compared = dense_similarities(QUERIES[query], DOCUMENTS[rows], models.Distance.COSINE)
    return [int(rows[place]) for place in mmr(*compared, diversity, limit)]


def test_each_query_of_a_batch_gets_hits_that_differ(collection: Collection) -> None:
    everything = np.arange(40)
    queries = [Query(dense={"a": query}) for query in QUERIES]
    found = collection.batch_search(queries, limit=6, mmr=DIVERSE)
    assert [[hit.id for hit in hits] for hits in found] == [chosen(i, everything, 6) for i in range(3)]
    for query, hits in zip(QUERIES, found, strict=True):
        assert collection.search(dense={"a": query}, limit=6, mmr=DIVERSE) == hits


def test_filter_branches_stages_and_payload_hold_as_without(collection: Collection) -> None:
    even = np.arange(0, 40, 2)
    query = {"a": QUERIES[0], "b": OTHER[0]}
    options = {"filter": EVEN, "branches": ["a"], "with_stages": True, "with_payload": False, "exact": True}
    plain = {hit.id: hit for hit in collection.search(dense=query, limit=20, **options)}
    hits = collection.search(dense=query, limit=5, mmr=DIVERSE, **options)
    assert [hit.id for hit in hits] == chosen(0, even, 5)
    for hit in hits:
        assert hit.stages == pytest.approx(plain[hit.id].stages) and hit.payload is None


def test_what_is_not_set_is_as_in_qdrant(collection: Collection) -> None:
    query = {"a": QUERIES[1]}
    best = np.array([hit.id for hit in collection.search(dense=query, limit=7)])
    hits = collection.search(dense=query, limit=7, mmr=models.Mmr())
    assert [hit.id for hit in hits] == chosen(1, best, 7, diversity=0.5)


@pytest.mark.parametrize("parameters", [True, {"diversity": 0.5}, 0.5])
def test_only_the_model_of_qdrant_is_taken(collection: Collection, parameters: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^mmr: expected a qdrant_client\.models\.Mmr"):
        collection.search(dense={"a": QUERIES[0]}, mmr=parameters)
    with pytest.raises(InvalidArgumentError, match=r"^diversity: "):
        collection.search(dense={"a": QUERIES[0]}, mmr=models.Mmr(diversity=2))
