"""Methods for tokens that have learned before the recipe, and what a collection tells of what it learned."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Multivector, Recipe, TokenBatch, Tokens
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError, NotFittedError, RecipeError
from embplug.methods import FDE, PCA, BitAllocationQuantizer, LearnedEncoding, ResidualQuantizer, TokenIDF
from embplug.methods.encodings.learned import DRIFT_LIMIT
from embplug.methods.reductions.pooling import GridPooling
from embplug.methods.reductions.pruning import SaliencyPruning
from tests.tokens import DIM, batch

SMALL: dict[str, Any] = {"stored_dim": 48, "features": 32, "landmarks": 300, "compared": 200}


ELSEWHERE = batch(60, 1)


def test_what_was_fitted_before_the_recipe_is_taken_as_it_is(engine: Engine) -> None:
    encoding = LearnedEncoding(**SMALL).fit(ELSEWHERE)
    codes = ResidualQuantizer(size=6, centroids=16).fit(ELSEWHERE.values)
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, codes=codes, multivector=None))
    collection = Collection.create("fitted", recipe, engine)
    documents = batch(40, 2)
    collection.add(range(40), tokens=documents)
    stored = engine.retrieve("fitted", [3], with_vectors=["fde"])[0].vector["fde"]
    np.testing.assert_array_equal(stored, encoding.encode_documents(documents[3:4])[0])
    kept = Collection.open("fitted", engine)._pipeline.get_state()
    np.testing.assert_array_equal(kept["codes.tokens.centroids"], codes.get_state()["centroids"])
    # What is learned is not in the recipe that the collection shows.
    assert collection.recipe.tokens and collection.recipe.tokens.encoding.fitted_dim is None


def test_codes_fitted_before_need_a_sample_for_the_correction_alone(edge_client: Engine) -> None:
    codes = ResidualQuantizer(size=6, centroids=16).fit(ELSEWHERE.values)
    whole = Tokens(dim=DIM, encoding=FDE(repetitions=2), codes=codes, multivector=None, document_bytes=0)
    assert Collection.create("whole", Recipe(tokens=whole), edge_client)._pipeline.fitted
    corrected = whole.model_copy(update={"document_bytes": 8})
    collection = Collection.create("corrected", Recipe(tokens=corrected), edge_client)
    assert not collection._pipeline.fitted and not collection.info().fitted
    # Another process that opens it before anything is added has the codes, too.
    collection = Collection.open("corrected", edge_client)
    collection.add(range(40), tokens=batch(40, 2))
    assert collection.info().fitted and Collection.open("corrected", edge_client).info().points == 40
    kept = collection._pipeline.get_state()
    np.testing.assert_array_equal(kept["codes.tokens.centroids"], codes.get_state()["centroids"])


def test_methods_of_other_dimensions_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"encoding: .*fitted on 9 dimensions.*8"):
        Tokens(dim=9, encoding=LearnedEncoding(**SMALL).fit(ELSEWHERE), multivector=Multivector(), codes=None)
    with pytest.raises(RecipeError, match=r"codes: .*fitted on 9 dimensions.*8"):
        Tokens(dim=9, codes=BitAllocationQuantizer(size=4).fit(ELSEWHERE.values))


def test_a_collection_tells_its_drift(engine: Engine) -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=LearnedEncoding(**SMALL), multivector=None, codes=None))
    collection = Collection.create("drifting", recipe, engine)
    with pytest.raises(NotFittedError, match="add documents first"):
        collection.drift(batch(20, 4))
    collection.add(range(100), tokens=batch(100, 3))
    again = Collection.open("drifting", engine)
    alike, other = again.drift(batch(100, 4)), again.drift(batch(100, 5, centre=3.0))
    assert 0.7 < alike < 1.4 < other
    assert asyncio.run(again.to_async().drift(batch(100, 4))) == alike
    with pytest.raises(InvalidArgumentError, match=r"^tokens\[0\]: "):
        again.drift([np.ones((3, DIM + 1))])
    plain = Collection.create(
        "plain",
        Recipe(tokens=Tokens(dim=DIM, encoding=FDE(repetitions=2), multivector=Multivector(), codes=None)),
        engine,
    )
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.tokens\.encoding: "):
        plain.drift(batch(20, 4))


def test_drift_reduces_tokens_as_documents_are_reduced(memory_client: Engine) -> None:
    learned = {"dim": DIM, "encoding": LearnedEncoding(**SMALL), "multivector": None, "codes": None}
    pruned = Tokens(**learned, reduction=SaliencyPruning(keep=0.5))
    # Half of the tokens of the new documents lie elsewhere. Whether they matter decides about the drift.
    near, far = batch(100, 4), batch(100, 5, centre=3.0)
    mixed = [np.concatenate([own[:5], other[:5]]) for own, other in zip(near, far, strict=True)]
    likes_near, likes_far = np.repeat([1.0, 0.0], 5), np.repeat([0.0, 1.0], 5)
    collection = Collection.create("pruned", Recipe(tokens=pruned), memory_client)
    sample = batch(100, 3)
    collection.add(range(100), tokens=sample, saliency=[np.ones(10)] * 100)
    alike = collection.drift(mixed, saliency=[likes_near] * 100)
    assert alike < DRIFT_LIMIT < collection.drift(mixed, saliency=[likes_far] * 100)
    with pytest.raises(InvalidArgumentError, match=r"^saliency: "):
        collection.drift(mixed)
    with pytest.raises(InvalidArgumentError, match=r"^saliency\[1\]: "):
        collection.drift(mixed, saliency=[likes_near, likes_near[1:], *[likes_near] * 98])

    pooled = Tokens(**learned, reduction=GridPooling())
    pages = Collection.create("pooled", Recipe(tokens=pooled), memory_client)
    pages.add(range(100), tokens=sample, grids=[(5, 2)] * 100)
    drift = pages.drift(sample, grids=[(5, 2)] * 100)
    assert drift != pages.drift(sample, grids=[(10, 1)] * 100) and 0.5 < drift < 1.5
    with pytest.raises(InvalidArgumentError, match=r"^grids: "):
        pages.drift(sample)
    with pytest.raises(InvalidArgumentError, match=r"^saliency: "):
        pages.drift(sample, saliency=[np.ones(10)] * 100, grids=[(5, 2)] * 100)


def test_a_collection_describes_what_it_has_learned(engine: Engine) -> None:
    dense = Dense(dim=DIM, transforms=[PCA(4)], codes=BitAllocationQuantizer(size=3))
    tokens = Tokens(dim=DIM, encoding=None, multivector=None, codes=ResidualQuantizer(size=6, centroids=512))
    collection = Collection.create("described", Recipe(dense=dense, tokens=tokens), engine)
    with pytest.raises(NotFittedError):
        collection.describe()
    collection.add(range(40), tokens=batch(40, 2), dense=batch(4, 6).values)
    said = Collection.open("described", engine).describe()
    document = said.pop("document")
    assert document == asdict(collection.info().document_bytes)
    assert 0 < document["learned"] < document["disk"]
    assert list(said) == ["tokens.codes", "dense.dense.transforms.0", "dense.dense.codes"]
    assert said["tokens.codes"]["code_bytes"] == 6
    assert "400 vectors to learn from" in said["tokens.codes"]["notes"][0]
    assert said["dense.dense.transforms.0"]["output_dim"] == 4
    assert asyncio.run(collection.to_async().describe()) == {**said, "document": document}


@pytest.mark.parametrize(
    "kept", [{}, {"codes": ResidualQuantizer(size=8, centroids=16), "multivector": None}]
)
def test_a_recipe_weighs_queries_by_what_it_learned(engine: Engine, kept: dict[str, Any]) -> None:
    documents, query = batch(60, 2), batch(1, 8)[0][:4]
    tokens = {"dim": DIM, "encoding": FDE(repetitions=8, simhash_bits=2), **kept}
    plain = Collection.create("plain", Recipe(tokens=Tokens(**tokens)), engine)
    weighing = Recipe(tokens=Tokens(**tokens, query_weights=TokenIDF(cells=40)))
    assert Recipe.from_yaml(weighing.to_yaml()) == weighing
    weighed = Collection.create("weighed", weighing, engine)
    for collection in (plain, weighed):
        collection.add(range(60), tokens=documents)
    again = Collection.open("weighed", engine)
    weights = TokenIDF(cells=40).fit(documents).weights(TokenBatch.from_list([query]))
    own = np.array([1, 0, 2, 1], dtype=np.float32)
    for token_weights, in_all in ((None, weights), (own, own * weights)):
        hits = again.search(tokens=query, token_weights=token_weights, with_stages=True, limit=5)
        expected = plain.search(tokens=query, token_weights=in_all, with_stages=True, limit=5)
        assert [hit.id for hit in hits] == [hit.id for hit in expected]
        for hit, other in zip(hits, expected, strict=True):
            assert hit.stages == pytest.approx(other.stages, rel=1e-3)
        assert hits != plain.search(tokens=query, token_weights=token_weights, with_stages=True, limit=5)
        diverse = again.search(
            tokens=query, token_weights=token_weights, limit=5, mmr=models.Mmr(candidates_limit=100)
        )
        assert diverse == plain.search(
            tokens=query, token_weights=in_all, limit=5, mmr=models.Mmr(candidates_limit=100)
        )
    elsewhere = TokenIDF(cells=40).fit(ELSEWHERE)
    taken = Collection.create("taken", Recipe(tokens=Tokens(**tokens, query_weights=elsewhere)), engine)
    taken.add(range(60), tokens=documents)
    np.testing.assert_array_equal(taken._pipeline.get_state()["query_weights.idf"], elsewhere.idf_)
    with pytest.raises(RecipeError, match=r"query_weights: .*fitted on 9 dimensions.*8"):
        Tokens(dim=9, query_weights=TokenIDF(cells=40).fit(ELSEWHERE), multivector=Multivector(), codes=None)
