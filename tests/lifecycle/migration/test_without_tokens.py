"""Points that lack tokens, in a collection that ranks by their codes: other branches find them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    Collection,
    Dense,
    Fusion,
    Multivector,
    Recipe,
    Rerank,
    TokenBatch,
    Tokens,
    migrate,
)
from embplug.common.ids import CODES, SHORTLIST
from embplug.engines import Engine
from embplug.errors import StateError
from embplug.methods import FDE, PredictiveQuantizer
from embplug.methods.token_codes import token_coder
from embplug.search.code_cache import VARIABLE

DIM, COUNT = 16, 80


@pytest.fixture(autouse=True)
def _for_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short codes for the small documents of these tests."""
    monkeypatch.setattr(token_coder, "SHORTLIST_TOKENS", 0)


GENERATOR = np.random.default_rng(0)
# All resemble each other a little, so that similarities are positive.
ROWS = GENERATOR.normal(1.5, 1.0, size=(4 * COUNT, DIM))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
TOKENS = TokenBatch(ROWS, np.arange(0, len(ROWS) + 1, 4))
DENSE = GENERATOR.normal(size=(COUNT, 4)).astype(np.float32)
WITHOUT = [*range(0, COUNT, 10)]
"""Points that have no tokens."""
MOSTLY_DENSE = Fusion(after_rerank=True, weights={"dense": 50.0})


def migrated(engine: Engine, shortlist: int | None = 12, **fields: Any) -> Collection:
    many = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    engine.create_collection(
        "source",
        vectors_config={
            "dense": models.VectorParams(size=4, distance=models.Distance.COSINE),
            "tokens": models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=many),
        },
    )
    points = []
    for i in range(COUNT):
        vector: dict[str, Any] = {"dense": DENSE[i].tolist(), "tokens": TOKENS[i].tolist()}
        if i in WITHOUT:
            del vector["tokens"]
        points.append(models.PointStruct(id=i, vector=vector))
    engine.upsert("source", points, wait=True)
    codes = PredictiveQuantizer(size=14, centroids=32)
    tokens: dict[str, Any] = {
        "encoding": FDE(repetitions=2, simhash_bits=1, projection_dim=8),
        "multivector": None,
        "codes": codes,
        "document_bytes": 8,
        "shortlist_bytes": 8,
        **fields,
    }
    recipe = Recipe(
        tokens=Tokens(dim=DIM, **tokens),
        dense=Dense(dim=4),
        rerank=Rerank(candidates=60, shortlist=shortlist),
    )
    migrate("source", "target", recipe, engine=engine, progress=False)
    return Collection.open("target", engine)


def as_of_before(engine: Engine) -> None:
    """Let points without tokens look as earlier versions have migrated them: without empty codes."""
    lost_nothing = engine.retrieve("target", WITHOUT, with_payload=True)
    assert all(record.payload[CODES] == record.payload.get(SHORTLIST, "") == "" for record in lost_nothing)
    engine.delete_payload("target", keys=[CODES, SHORTLIST], points=WITHOUT, wait=True)


@pytest.mark.parametrize("megabytes", ["0", "64"])
@pytest.mark.parametrize(
    ("shortlist", "shortlist_bytes"), [(12, 8), (12, 0), (None, 8)], ids=["short codes", "ids", "all codes"]
)
def test_points_without_tokens_take_part_in_searches(
    engine: Engine,
    shortlist: int | None,
    shortlist_bytes: int,
    megabytes: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, megabytes)
    collection = migrated(engine, shortlist, shortlist_bytes=shortlist_bytes)
    for time in range(4):
        if time == 2:
            as_of_before(engine)
        by_tokens = collection.search(tokens=TOKENS[3], dense=DENSE[10], limit=3)
        assert by_tokens[0].id == 3 and 10 not in {hit.id for hit in by_tokens}
        both = collection.search(
            tokens=TOKENS[3], dense=DENSE[10], limit=3, fusion=MOSTLY_DENSE, with_stages=True
        )
        assert both[0].id == 10 and "codes" not in (both[0].stages or {})
        # Where no candidate has tokens, none is ranked by them, and other branches still rank.
        alone: dict[str, Any] = {"filter": models.Filter(must=[models.HasIdCondition(has_id=WITHOUT)])}
        assert collection.search(tokens=TOKENS[3], dense=DENSE[10], **alone) == []
        for options in ({}, {"mmr": models.Mmr()}):
            hits = collection.search(
                tokens=TOKENS[3], dense=DENSE[10], fusion=MOSTLY_DENSE, **alone, **options
            )
            assert {hit.id for hit in hits} == {*WITHOUT} and hits[0].id == 10
    # One that has lost its codes is no such point.
    engine.delete_payload("target", keys=[CODES, SHORTLIST], points=[3], wait=True)
    with pytest.raises(StateError, match="point 3 has lost the codes of its tokens"):
        collection.search(tokens=TOKENS[3], dense=DENSE[10], limit=3)


def test_where_codes_stand_alone_nothing_tells_them_apart(engine: Engine) -> None:
    """Without an encoding and a multivector, a point that lacks codes may have lost them."""
    collection = migrated(engine, encoding=None)
    query = {"tokens": TOKENS[3], "dense": DENSE[10]}
    assert 10 not in {hit.id for hit in collection.search(**query, limit=60)}
    as_of_before(engine)
    with pytest.raises(StateError, match="has lost the codes of its tokens"):
        collection.search(**query)


@pytest.mark.parametrize(
    ("fields", "of_before"),
    [
        ({}, False),
        ({}, True),
        ({"codes": None, "multivector": Multivector()}, False),
        ({"codes": None}, False),
    ],
    ids=["codes", "codes of before", "multivector", "encoding"],
)
def test_a_hit_without_tokens_is_similar_to_nothing(
    engine: Engine, fields: dict[str, Any], of_before: bool
) -> None:
    collection = migrated(engine, **fields)
    if of_before:
        as_of_before(engine)
    query = {"tokens": TOKENS[3], "dense": DENSE[10]}
    mmr = models.Mmr(diversity=1.0, candidates_limit=COUNT)
    hits = collection.search(**query, fusion=MOSTLY_DENSE, limit=COUNT, mmr=mmr)
    assert len(hits) == len({hit.id for hit in hits}) == COUNT
    assert hits[0].id == 3
    # By difference alone they come first.
    assert {hit.id for hit in hits[1 : 1 + len(WITHOUT)]} == {*WITHOUT}
    search = {**query, "fusion": MOSTLY_DENSE, "limit": COUNT, "mmr": mmr}
    assert asyncio.run(_searched(collection, search)) == [hit.id for hit in hits]


async def _searched(collection: Collection, search: dict[str, Any]) -> list[Any]:
    again = collection.to_async()
    hits = await again.search(**search)
    if again.engine is not collection.engine:
        await again.engine.close()
    return [hit.id for hit in hits]


def test_a_hit_that_has_lost_its_codes_is_named_where_hits_are_compared(engine: Engine) -> None:
    collection = migrated(engine, multivector=Multivector())
    as_of_before(engine)
    query = {"tokens": TOKENS[3], "dense": DENSE[10], "exact": True, "limit": 3, "mmr": models.Mmr()}
    collection.search(**query)
    engine.delete_payload("target", keys=[CODES], points=[3], wait=True)
    with pytest.raises(StateError, match="point 3 has lost the codes of its tokens"):
        collection.search(**query)
