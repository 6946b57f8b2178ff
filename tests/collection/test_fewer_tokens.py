"""Pooling and pruning as a part of the recipe: what is stored, searched and refused."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Multivector, Query, Recipe, Sample, TokenBatch, Tokens
from embplug.common.ids import CODES
from embplug.encoders import Encoded
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError, LengthMismatchError, RecipeError
from embplug.methods import FDE, ResidualQuantizer
from embplug.methods.maxsim import maxsim
from embplug.methods.reductions.pooling import HierarchicalPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.methods.token_codes.token_coder import TokenCoder
from embplug.search import mmr, token_similarities

DIM = 16
SMALL = FDE(repetitions=4, simhash_bits=2, projection_dim=8)
PRUNED = Recipe(
    tokens=Tokens(
        dim=DIM, encoding=SMALL, reduction=SaliencyPruning(keep=0.5), multivector=Multivector(), codes=None
    )
)


class FirstMatter:
    """Makes tokens of which the first matter most."""

    spec = "first-matter"

    def encode_documents(self, texts: Any) -> Encoded:
        tokens = documents(len(texts))
        place = np.arange(len(tokens.values)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        return Encoded(tokens=tokens, saliency=-place.astype(np.float32))

    encode_queries = encode_documents


class Silent(FirstMatter):
    """Does not tell what matters."""

    spec = "silent"

    def encode_documents(self, texts: Any) -> Encoded:
        return Encoded(tokens=documents(len(texts)))

    encode_queries = encode_documents


def documents(count: int = 40) -> TokenBatch:
    generator = np.random.default_rng(0)
    drawn = [generator.normal(size=(int(generator.integers(3, 12)), DIM)) for _ in range(count)]
    return TokenBatch.from_list(
        [(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32) for matrix in drawn]
    )


def stored(collection: Collection, engine: Engine) -> TokenBatch:
    """The matrices of documents 0, 1, … as the engine has them."""
    records = engine.scroll(collection.name, limit=1000, with_vectors=["tokens"])[0]
    ordered = sorted(records, key=lambda record: record.id)
    return TokenBatch.from_list([np.asarray(record.vector["tokens"], np.float32) for record in ordered])


@pytest.mark.parametrize(
    "reduction", [HierarchicalPooling(factor=2), FirstTokens(count=4)], ids=lambda r: r.kind
)
def test_what_is_stored_is_what_the_reduction_leaves(engine: Engine, reduction: Any) -> None:
    tokens = documents()
    collection = Collection.create(
        "few",
        Recipe(
            tokens=Tokens(dim=DIM, encoding=SMALL, reduction=reduction, multivector=Multivector(), codes=None)
        ),
        engine,
    )
    collection.add(range(len(tokens)), tokens=tokens)
    left = reduction.reduce(tokens).tokens
    there = stored(collection, engine)
    assert there.lengths.tolist() == left.lengths.tolist()
    np.testing.assert_allclose(there.values, left.values, atol=2e-3)
    scores = maxsim(tokens[7], left)
    hit = Collection.open("few", engine).search(tokens=tokens[7], candidates=40, limit=1)[0]
    assert (hit.id, hit.score) == (scores.argmax(), pytest.approx(scores.max(), abs=0.02))


def test_given_saliency_decides_which_tokens_stay(engine: Engine) -> None:
    tokens, generator = documents(), np.random.default_rng(1)
    saliency = [generator.random(count) for count in tokens.lengths]
    collection = Collection.create("few", PRUNED, engine)
    collection.add(range(len(tokens)), tokens=tokens, saliency=saliency)
    left = SaliencyPruning(keep=0.5).reduce(tokens, np.concatenate(saliency)).tokens
    np.testing.assert_allclose(stored(collection, engine).values, left.values, atol=2e-3)


def test_saliency_of_the_encoder_is_used(edge_client: Engine) -> None:
    collection = Collection.create("few", PRUNED, edge_client, encoder=FirstMatter())
    collection.add(range(40), texts=["text"] * 40)
    tokens = documents()
    halves = [matrix[: -(-len(matrix) // 2)] for matrix in tokens]
    np.testing.assert_allclose(
        stored(collection, edge_client).values, TokenBatch.from_list(halves).values, atol=2e-3
    )
    silent = Collection.open("few", edge_client, encoder=Silent())
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .*saliency.*silent"):
        silent.add([99], texts=["text"])
    assert collection.count() == 40


@pytest.mark.parametrize(
    ("saliency", "error", "named"),
    [
        (None, InvalidArgumentError, "^saliency: "),
        ([np.ones(3)], LengthMismatchError, "^saliency: .*2 arrays"),
        ([np.ones(3), np.ones(4)], LengthMismatchError, r"^saliency\[1\]: "),
        ([np.ones(3), [1, np.nan]], InvalidArgumentError, r"^saliency\[1\]"),
    ],
)
def test_wrong_saliency_is_named_and_nothing_written(
    edge_client: Engine, saliency: Any, error: type[Exception], named: str
) -> None:
    tokens = TokenBatch.from_list([documents()[0][:3], documents()[1][:2]])
    collection = Collection.create("few", PRUNED, edge_client)
    with pytest.raises(error, match=named):
        collection.add([0, 1], tokens=tokens, saliency=saliency)
    assert collection.count() == 0


def test_saliency_without_pruning_is_refused(edge_client: Engine) -> None:
    collection = Collection.create(
        "few",
        Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=Multivector(), codes=None)),
        edge_client,
    )
    tokens = documents(2)
    with pytest.raises(InvalidArgumentError, match=r"^saliency: "):
        collection.add([0, 1], tokens=tokens, saliency=[np.ones(n) for n in tokens.lengths])


def test_codes_and_a_sample_are_pruned_alike(engine: Engine) -> None:
    tokens, generator = documents(), np.random.default_rng(1)
    saliency = [generator.random(count) for count in tokens.lengths]
    pruning, codes = SaliencyPruning(keep=0.5), ResidualQuantizer(size=18, centroids=64)
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM, encoding=SMALL, multivector=None, codes=codes, document_bytes=0, reduction=pruning
        )
    )
    collection = Collection.create("few", recipe, engine, sample=Sample(tokens=tokens, saliency=saliency))
    collection.add(range(len(tokens)), tokens=tokens, saliency=saliency)
    left = pruning.reduce(tokens, np.concatenate(saliency)).tokens
    alike = TokenCoder(ResidualQuantizer(size=18, centroids=64), 0).fit(left)
    hits = collection.search(tokens=tokens[3], candidates=40, limit=40)
    got = np.array([hit.score for hit in sorted(hits, key=lambda hit: hit.id)])
    np.testing.assert_allclose(got, alike.score(tokens[3], alike.encode(left)), atol=1e-3)


def test_the_saliency_of_a_sample_is_checked(edge_client: Engine) -> None:
    tokens = documents(3)
    for saliency, named in (
        (None, r"^sample\.saliency: .*matters"),
        ([np.ones(3)], r"^sample\.saliency: .*3 arrays"),
        ([np.ones(1)] * 3, r"^sample\.saliency\[0\]: "),
    ):
        with pytest.raises(InvalidArgumentError, match=named):
            Collection.create("few", PRUNED, edge_client, sample=Sample(tokens=tokens, saliency=saliency))
    with pytest.raises(InvalidArgumentError, match=r"^sample\.saliency: .*does not"):
        plain = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=Multivector(), codes=None))
        sample = Sample(tokens=tokens, saliency=[np.ones(count) for count in tokens.lengths])
        Collection.create("few", plain, edge_client, sample=sample)


def test_pruning_then_pooling(engine: Engine) -> None:
    tokens, generator = documents(), np.random.default_rng(1)
    saliency = [generator.random(count) for count in tokens.lengths]
    steps = (FirstTokens(count=8), SaliencyPruning(keep=0.8), HierarchicalPooling(factor=2))
    recipe = Recipe(
        tokens=Tokens(dim=DIM, encoding=SMALL, reduction=steps, multivector=Multivector(), codes=None)
    )
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    collection = Collection.create("few", recipe, engine)
    collection.add(range(len(tokens)), tokens=tokens, saliency=saliency)
    cut = steps[0].reduce(tokens).tokens
    pruned = steps[1].reduce(cut, np.concatenate([by_token[:8] for by_token in saliency])).tokens
    left = steps[2].reduce(pruned).tokens
    there = stored(Collection.open("few", engine), engine)
    assert there.lengths.tolist() == left.lengths.tolist()
    np.testing.assert_allclose(there.values, left.values, atol=2e-3)


def test_queries_are_pruned_by_given_saliency(engine: Engine) -> None:
    tokens, pruning = documents(), SaliencyPruning(keep=0.5)
    collection = Collection.create(
        "few",
        Recipe(
            tokens=Tokens(
                dim=DIM, encoding=SMALL, query_reduction=pruning, multivector=Multivector(), codes=None
            )
        ),
        engine,
    )
    collection.add(range(len(tokens)), tokens=tokens)
    query = np.concatenate([tokens[5][:3], tokens[9][:3]])
    for saliency, kept in (([3, 3, 3, 1, 1, 1], query[:3]), ([1, 1, 1, 3, 3, 3], query[3:])):
        hits = collection.search(tokens=query, saliency=saliency, candidates=40, limit=40)
        np.testing.assert_allclose(
            [hit.score for hit in hits], np.sort(maxsim(kept, tokens))[::-1], atol=0.03
        )
        again = collection.batch_search([Query(query, saliency=saliency)], candidates=40, limit=40)[0]
        assert again == hits
        chosen = collection.search(
            tokens=query, saliency=saliency, limit=5, mmr=models.Mmr(diversity=0.5, candidates_limit=40)
        )
        values = tokens.to_float32()
        compared = mmr(*token_similarities(kept, values), 0.5, 5)
        assert [hit.id for hit in chosen] == compared
        assert compared != mmr(*token_similarities(query, values), 0.5, 5)

    async def waiting() -> Any:
        return await collection.to_async().search(tokens=query, saliency=saliency, candidates=40, limit=40)

    assert asyncio.run(waiting()) == hits


def test_diverse_hits_of_a_query_whose_tokens_are_added_up_or_weighed(engine: Engine) -> None:
    tokens = documents().to_float32()
    query = np.concatenate([tokens[5][:2]] * 5 + [tokens[9][:1]])
    query_batch = TokenBatch.from_list([query])
    for name, stored in (
        ("codes", {"codes": ResidualQuantizer(size=16, centroids=8), "multivector": None}),
        ("matrix", {"multivector": Multivector()}),
    ):
        recipe = Tokens(dim=DIM, encoding=SMALL, query_reduction=BallCarving(), **stored)
        collection = Collection.create(name, Recipe(tokens=recipe), engine)
        collection.add(range(len(tokens)), tokens=tokens)
        for weights in (None, np.linspace(2, 0.1, len(query)).astype(np.float32)):
            weighed = query if weights is None else query * weights[:, None]
            reduced_query = BallCarving().reduce(TokenBatch.from_list([weighed])).tokens[0]
            assert len(reduced_query) < len(query)
            relevance, similarity = token_similarities(reduced_query, tokens, query_batch)
            hits = collection.search(
                tokens=query,
                token_weights=weights,
                limit=5,
                mmr=models.Mmr(diversity=0.5, candidates_limit=40),
            )
            if name == "matrix":
                assert [hit.id for hit in hits] == mmr(relevance, similarity, 0.5, 5)
            else:
                assert hits[0].id == relevance.argmax()
            assert 0.4 < relevance.max() <= 1.01


def test_diverse_hits_by_an_encoding_alone_are_weighed(engine: Engine) -> None:
    tokens = documents().to_float32()
    query, weights = np.concatenate([tokens[5][:3], tokens[9][:3]]), np.repeat([1, 0], 3).astype(np.float32)
    collection = Collection.create(
        "few", Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=None, codes=None)), engine
    )
    collection.add(range(len(tokens)), tokens=tokens)
    found = [
        collection.search(
            tokens=query, token_weights=token_weights, limit=5, mmr=models.Mmr(candidates_limit=40)
        )
        for token_weights in (weights, 1 - weights)
    ]
    for hits, part in zip(found, (query[:3], query[3:]), strict=True):
        expected = collection.search(tokens=part, limit=5, mmr=models.Mmr(candidates_limit=40))
        assert [hit.id for hit in hits] == [hit.id for hit in expected]
    assert found[0] != found[1]


def test_saliency_of_an_encoder_is_passed_over_where_nothing_is_pruned(engine: Engine) -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=Multivector(), codes=None))
    collection = Collection.create("few", recipe, engine, encoder=FirstMatter())
    tokens = documents()
    collection.add(range(len(tokens)), tokens=tokens)
    hits = collection.search(text="any", limit=3, mmr=models.Mmr(candidates_limit=100))
    assert hits == collection.search(tokens=documents(1)[0], limit=3, mmr=models.Mmr(candidates_limit=100))


def test_missing_or_wrong_saliency_of_queries_is_named(edge_client: Engine) -> None:
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=SMALL,
            query_reduction=SaliencyPruning(keep=0.5),
            multivector=Multivector(),
            codes=None,
        )
    )
    collection = Collection.create("few", recipe, edge_client, encoder=FirstMatter())
    tokens = documents()
    collection.add(range(len(tokens)), tokens=tokens)
    by_text = collection.search(text="any", candidates=40, limit=40)
    half = tokens[0][: -(-len(tokens[0]) // 2)]
    np.testing.assert_allclose([hit.score for hit in by_text], np.sort(maxsim(half, tokens))[::-1], atol=0.03)
    for saliency, named in (
        (None, "^saliency: .*matters"),
        ([1.0], "^saliency: .*one per token"),
        (np.full(len(tokens[0]), np.nan), r"^saliency\[0\]"),
    ):
        with pytest.raises(InvalidArgumentError, match=named):
            collection.search(tokens=tokens[0], saliency=saliency)
    with pytest.raises(InvalidArgumentError, match=r"^saliency: .*no tokens"):
        collection.search(text="any", saliency=[1.0])
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .*saliency.*silent"):
        Collection.open("few", edge_client, encoder=Silent()).search(text="any")
    plain = Collection.create(
        "plain",
        Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=Multivector(), codes=None)),
        edge_client,
    )
    with pytest.raises(InvalidArgumentError, match=r"^saliency: .*does not"):
        plain.search(tokens=tokens[0], saliency=np.ones(len(tokens[0])))


def test_codes_are_learned_from_and_made_of_what_is_left(engine: Engine) -> None:
    tokens, pooling, codes = (
        documents(),
        HierarchicalPooling(factor=2),
        ResidualQuantizer(size=18, centroids=64),
    )
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM, encoding=SMALL, multivector=None, codes=codes, document_bytes=0, reduction=pooling
        )
    )
    collection = Collection.create("few", recipe, engine, sample=Sample(tokens=tokens))
    collection.add(range(len(tokens)), tokens=tokens)
    left = pooling.reduce(tokens).tokens
    expected = maxsim(tokens[3], left)
    alike = TokenCoder(ResidualQuantizer(size=18, centroids=64), 0).fit(left)
    expected_codes = alike.score(tokens[3], alike.encode(left))
    hits = collection.search(tokens=tokens[3], candidates=40, limit=40)
    got = np.array([hit.score for hit in sorted(hits, key=lambda hit: hit.id)])
    np.testing.assert_allclose(got, expected_codes, atol=1e-3)
    np.testing.assert_allclose(got, expected, atol=0.5)
    assert CODES not in (hits[0].payload or {})


def test_close_query_tokens_are_added_up_before_the_rerank(engine: Engine) -> None:
    tokens = documents()
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=SMALL,
            multivector=Multivector(),
            query_reduction=BallCarving(threshold=0.9),
            codes=None,
        )
    )
    collection = Collection.create("few", recipe, engine)
    collection.add(range(len(tokens)), tokens=tokens)
    query = np.repeat(tokens[5][:3], 4, axis=0)
    hits = collection.search(tokens=query, candidates=40, limit=40)
    exact = maxsim(query, tokens)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(exact)[::-1], atol=0.03)


def test_a_reduction_stands_in_a_recipe_as_data() -> None:
    for reduction in (HierarchicalPooling(factor=3), FirstTokens(count=9), SaliencyPruning(keep=0.3)):
        for query_reduction in (BallCarving(), SaliencyPruning(keep=0.9)):
            recipe = Recipe(
                tokens=Tokens(
                    dim=DIM,
                    reduction=reduction,
                    query_reduction=query_reduction,
                    multivector=Multivector(),
                    codes=None,
                )
            )
            assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    with pytest.raises(RecipeError, match=r"^tokens\.reduction: .*hierarchical"):
        Recipe.from_yaml("tokens: {dim: 8, reduction: {kind: nonsense}}")
    with pytest.raises(RecipeError, match=r"^tokens\.reduction\.keep: "):
        Recipe.from_yaml("tokens: {dim: 8, reduction: {kind: saliency, keep: 2}}")
    with pytest.raises(RecipeError, match=r"^tokens\.reduction\.1\.keep: "):
        Recipe.from_yaml("tokens: {dim: 8, reduction: [{kind: first}, {kind: saliency, keep: 2}]}")
    with pytest.raises(RecipeError, match=r"^tokens\.reduction\.1: .*before pooling"):
        Recipe.from_yaml("tokens: {dim: 8, reduction: [{kind: kmeans}, {kind: saliency}]}")
    with pytest.raises(RecipeError, match=r"^tokens\.reduction: "):
        Recipe.from_yaml("tokens: {dim: 8, reduction: []}")
    with pytest.raises(RecipeError, match=r"^tokens\.query_reduction: .*ball_carving"):
        Recipe.from_yaml("tokens: {dim: 8, query_reduction: {kind: nonsense}}")
