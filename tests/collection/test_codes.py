"""Tokens without their matrices: codes ride in the payload, and rank what the engine finds."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Multivector,
    Query,
    Recipe,
    Rerank,
    Sample,
    TokenBatch,
    Tokens,
)
from embplug.common.ids import CODES
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError, RecipeError, StateError
from embplug.methods import (
    FDE,
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    OptimizedProductQuantizer,
    PredictiveQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
)
from embplug.methods.maxsim import maxsim
from embplug.methods.token_codes.token_coder import TokenCoder

DIM = 16
COUNT = 60
LOSSLESS = ResidualQuantizer(size=18, centroids=64)
FDE_SMALL = FDE(repetitions=4, simhash_bits=2, projection_dim=8)


def documents(seed: int = 0, count: int = COUNT) -> TokenBatch:
    generator = np.random.default_rng(seed)
    matrices = []
    for _ in range(count):
        tokens = generator.normal(size=DIM) + generator.normal(size=(int(generator.integers(3, 12)), DIM))
        matrices.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return TokenBatch.from_list(matrices)


def coded(**fields: Any) -> Tokens:
    tokens = {"dim": DIM, "encoding": FDE_SMALL, "multivector": None, "codes": LOSSLESS, "document_bytes": 8}
    return Tokens(**{**tokens, **fields})


def recipe(**fields: Any) -> Recipe:
    return Recipe(tokens=coded(**fields))


def filled(engine: Engine, coded_recipe: Recipe, tokens: TokenBatch, **arrays: Any) -> Collection:
    collection = Collection.create("codes", coded_recipe, engine)
    payloads = [{"number": i} for i in range(len(tokens))]
    collection.add([f"doc {i}" for i in range(len(tokens))], tokens=tokens, payloads=payloads, **arrays)
    return collection


def test_codes_rank_nearly_as_the_matrices_that_are_not_stored(engine: Engine) -> None:
    tokens, query = documents(), documents(1)[5]
    filled(engine, recipe(), tokens)
    collection = Collection.open("codes", engine)
    hits = collection.search(tokens=query, candidates=COUNT, limit=5, with_stages=True)
    exact = maxsim(query, tokens)
    assert hits[0].id == f"doc {exact.argmax()}"
    for hit in hits:
        number = int(str(hit.id).removeprefix("doc "))
        assert hit.payload == {"number": number}
        assert hit.score == pytest.approx(exact[number], abs=0.15)
        assert hit.stages is not None
        assert hit.stages["codes"] == hit.score
        assert "fde" in hit.stages
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_codes_stay_out_of_sight(engine: Engine) -> None:
    collection = filled(engine, recipe(), documents())
    assert collection.retrieve(["doc 3"])[0].payload == {"number": 3}
    assert all(record.payload.keys() == {"number"} for record in collection.scroll()[0] if record.payload)
    hits = collection.search(tokens=documents()[3], with_payload=False)
    assert hits[0].id == "doc 3"
    assert hits[0].payload is None
    assert collection.search(tokens=documents()[3], with_payload=["number"])[0].payload == {"number": 3}
    with pytest.raises(InvalidArgumentError, match=CODES):
        collection.add([1], tokens=[documents()[0]], payloads=[{CODES: "x"}])


def test_filters_thresholds_and_batches_hold(engine: Engine) -> None:
    tokens = documents()
    collection = filled(engine, recipe(), tokens)
    condition = models.Filter(must=[models.FieldCondition(key="number", range=models.Range(lt=10))])
    hits = collection.search(tokens=tokens[40], filter=condition)
    assert {int(str(hit.id).removeprefix("doc ")) for hit in hits} == set(range(10))
    high = collection.search(tokens=tokens[40], score_threshold=hits[0].score + 1e-3)
    assert high[0].id == "doc 40"
    assert all(hit.score > hits[0].score for hit in high)
    both = collection.batch_search([Query(tokens=tokens[1]), Query(tokens=tokens[2])], limit=1)
    assert [hits[0].id for hits in both] == ["doc 1", "doc 2"]


def test_the_best_by_codes_are_scored_anew_on_the_matrices(engine: Engine) -> None:
    tokens, query = documents(), documents(1)[5]
    tokens_part = coded(codes=CentroidQuantizer(count=8), multivector=Multivector())
    with_rerank = Recipe(tokens=tokens_part, rerank=Rerank(exact=COUNT))
    collection = filled(engine, with_rerank, tokens)
    hits = collection.search(tokens=query, candidates=COUNT, limit=5, with_stages=True)
    exact = maxsim(query, tokens)
    expected = np.argsort(-exact)[:5]
    assert [hit.id for hit in hits] == [f"doc {i}" for i in expected]
    np.testing.assert_allclose([hit.score for hit in hits], exact[expected], atol=0.02)
    assert all(hit.stages is not None and {"fde", "codes", "maxsim"} <= hit.stages.keys() for hit in hits)
    assert [hit.id for hit in collection.search(tokens=query, exact=True, limit=5)] == [
        f"doc {i}" for i in expected
    ]


def test_candidates_of_several_stages_are_ranked_together(engine: Engine) -> None:
    tokens = documents()
    sentences = np.stack([matrix.mean(axis=0) for matrix in tokens])
    with_dense = Recipe(tokens=coded(), dense=Dense(dim=DIM))
    collection = filled(engine, with_dense, tokens, dense=sentences)
    hits = collection.search(tokens=tokens[7], dense=sentences[9], candidates=2, limit=4, with_stages=True)
    stages = {hit.id: hit.stages for hit in hits}
    assert "fde" in (stages["doc 7"] or {})
    assert "dense" in (stages["doc 9"] or {})
    assert hits[0].id == "doc 7"
    alone = collection.search(dense=sentences[9], limit=1)
    assert (alone[0].id, alone[0].payload) == ("doc 9", {"number": 9})


def test_dense_vectors_alone_can_find_what_codes_rank(edge_client: EdgeClient) -> None:
    tokens = documents()
    sentences = np.stack([matrix.mean(axis=0) for matrix in tokens])
    with_dense = Recipe(tokens=coded(encoding=None), dense=Dense(dim=DIM))
    collection = filled(edge_client, with_dense, tokens, dense=sentences)
    assert collection.search(tokens=tokens[7], dense=sentences[7])[0].id == "doc 7"
    with pytest.raises(InvalidArgumentError, match="dense"):
        collection.search(tokens=tokens[7])
    with pytest.raises(RecipeError, match=r"tokens\.encoding"):
        recipe(encoding=None)


def test_a_sample_can_teach_the_codes_before_documents_come(edge_client: EdgeClient) -> None:
    tokens = documents()
    collection = Collection.create("codes", recipe(), edge_client, sample=Sample(tokens=tokens))
    assert collection.info().fitted
    assert collection.info().state_bytes > 0


def test_lost_codes_are_named(edge_client: EdgeClient) -> None:
    collection = filled(edge_client, recipe(), documents())
    collection.add([900], tokens=[documents()[0]])
    edge_client.set_payload("codes", {CODES: "?"}, points=[900], wait=True)
    with pytest.raises(StateError, match="900"):
        collection.search(tokens=documents()[0], candidates=COUNT + 1)


def test_the_asynchronous_collection_ranks_alike(edge_client: EdgeClient) -> None:
    tokens = documents()
    expected = filled(edge_client, recipe(), tokens).search(tokens=tokens[4])

    async def search() -> Any:
        collection = await AsyncCollection.open("codes", edge_client)
        return await collection.search(tokens=tokens[4])

    assert asyncio.run(search()) == expected


EVERY = {
    "residual": ResidualQuantizer(size=6, centroids=16),
    "predictive": PredictiveQuantizer(size=8, centroids=16),
    "residual-bits": ResidualQuantizer(bits=2, centroids=16),
    "bit-allocation": BitAllocationQuantizer(size=9),
    "centroids": CentroidQuantizer(count=300),
    "centroids-hamming": CentroidQuantizer(count=64, compare="hamming"),
    "binary": BinaryQuantizer(),
    "binary-int8": BinaryQuantizer(rotate=True, queries="int8"),
    "product": ProductQuantizer(4, bits=6, iterations=3),
    "optimized-product": OptimizedProductQuantizer(4, bits=6, iterations=3, rotation_iterations=2),
}


@pytest.mark.parametrize("codes", EVERY.values(), ids=EVERY)
def test_every_kind_of_codes_ranks_in_a_collection_as_in_memory(edge_client: EdgeClient, codes: Any) -> None:
    tokens, query = documents(), documents(1)[5]
    filled(edge_client, Recipe.from_yaml(recipe(codes=codes).to_yaml()), tokens)
    hits = Collection.open("codes", edge_client).search(tokens=query, candidates=COUNT, limit=COUNT)
    coder = TokenCoder(copy.deepcopy(codes), 8).fit(tokens)
    expected = coder.score(query, coder.encode(tokens))
    for hit in hits:
        assert hit.score == pytest.approx(expected[int(str(hit.id).removeprefix("doc "))], abs=1e-4)
    assert len(hits) == COUNT


@pytest.mark.parametrize(
    "codes", [BinaryQuantizer(queries="int8"), PredictiveQuantizer(size=12, centroids=64)]
)
def test_codes_rank_on_every_engine(engine: Engine, codes: Any) -> None:
    tokens = documents()
    collection = filled(engine, recipe(codes=codes), tokens)
    assert [collection.search(tokens=tokens[i], limit=1)[0].id for i in (3, 40)] == ["doc 3", "doc 40"]


@pytest.mark.parametrize("codes", EVERY.values(), ids=EVERY)
def test_codes_stand_in_a_recipe_as_data(codes: Any) -> None:
    coded_recipe = recipe(codes=codes)
    again = Recipe.from_yaml(coded_recipe.to_yaml())
    assert again == coded_recipe
    assert not again.differences(coded_recipe)


def test_codes_that_contradict_the_rest_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"rerank\.exact"):
        Recipe(tokens=coded(), rerank=Rerank(exact=20))
    with pytest.raises(RecipeError, match="codes"):
        Tokens(dim=DIM, codes={"kind": "unknown"})  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="size"):
        Tokens(dim=DIM, codes={"kind": "residual", "size": 1})  # type: ignore[arg-type]
