"""Queries become stages: what the encoder is asked for, and which branch finds or ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug import CrossEncoderStage, Dense, Fusion, Multivector, Query, Recipe, Rerank, Sparse, Tokens
from embplug.branches.pipeline import Pipeline
from embplug.branches.prepare import checked_queries, chosen_branches, prepared_query, takers
from embplug.branches.queries import CheckedQuery
from embplug.errors import InvalidArgumentError
from embplug.methods import BinaryQuantizer, TokenIDF
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder, batch

TOKENS = Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None)
DENSE = Dense(dim=DIM)
SPARSE = Sparse(average_length=4.0)
ALL = Recipe(tokens=TOKENS, dense=DENSE, sparse=SPARSE)
MATRIX, VECTOR = np.ones((3, DIM)), np.ones(DIM)


def no_encoder() -> Any:
    pytest.fail("the encoder is not needed")


def checked(
    queries: list[Query], recipe: Recipe, encoder: Any, names: list[str] | None = None
) -> list[CheckedQuery]:
    branches = chosen_branches(Pipeline(recipe).branches, names)
    load = encoder if callable(encoder) else lambda _: encoder
    return checked_queries(queries, recipe, branches, load, all_needed=names is not None)


def test_without_names_all_branches_are_chosen() -> None:
    branches = Pipeline(ALL).branches
    assert chosen_branches(branches, None) is branches
    assert [*chosen_branches(branches, ["sparse", "tokens"])] == ["tokens", "sparse"]


@pytest.mark.parametrize(
    ("names", "argument"),
    [("tokens", "branches"), ([], "branches"), (["tokens", "words"], "branches[1]")],
)
def test_names_of_branches_are_checked(names: Any, argument: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'tokens', 'dense', 'sparse'") as raised:
        chosen_branches(Pipeline(ALL).branches, names)
    assert raised.value.argument == argument


def test_all_texts_of_a_batch_go_to_the_encoder_at_once_and_only_where_they_are_needed() -> None:
    encoder = RecordingEncoder()
    queries = [
        Query(text="text 5"),
        Query(dense=VECTOR, tokens=MATRIX),
        Query(text="text 7"),
        Query(text="text 8", dense=VECTOR, tokens=MATRIX),
        Query(text="text 9", dense=VECTOR),
    ]
    first, _, third, whole, fifth = checked(queries, ALL, encoder)
    assert encoder.calls == [["text 5", "text 7", "text 9"]]
    assert [query.dense["dense"][0, 0] for query in (first, third, whole, fifth)] == [5, 7, 1, 1]
    assert [query.tokens.values[0, 0] for query in (first, third, whole, fifth)] == [5, 7, 1, 9]


def test_tokens_suffice() -> None:
    (query,) = checked([Query(text="text 1", tokens=MATRIX)], ALL, no_encoder)
    assert query.dense == {}


def test_tokens_do_not_suffice_where_the_dense_branch_is_named() -> None:
    encoder = RecordingEncoder()
    (query,) = checked([Query(text="text 3", tokens=MATRIX)], ALL, encoder, ["tokens", "dense"])
    assert encoder.calls == [["text 3"]]
    assert query.dense["dense"][0, 0] == 3
    assert query.tokens.values.tolist() == MATRIX.tolist()


def test_the_sparse_branch_alone_needs_no_encoder() -> None:
    (query,) = checked([Query(text="text 1")], ALL, no_encoder, ["sparse"])
    assert (query.tokens, query.dense) == (None, {})


def test_a_branch_that_is_not_chosen_gets_nothing_of_the_encoder() -> None:
    (query,) = checked([Query(text="text 1")], ALL, RecordingEncoder(), ["dense"])
    assert query.tokens is None and [*query.dense] == ["dense"]


def test_two_missing_dense_vectors_are_refused() -> None:
    recipe = Recipe(dense={"a": DENSE, "b": DENSE})
    with pytest.raises(InvalidArgumentError, match="recording") as raised:
        checked([Query(text="text 1")], recipe, RecordingEncoder())
    assert raised.value.argument == "dense['a']"
    (query,) = checked([Query(text="text 4", dense={"a": VECTOR})], recipe, RecordingEncoder())
    assert {name: row[0, 0] for name, row in query.dense.items()} == {"a": 1, "b": 4}
    (query,) = checked([Query(text="text 4")], recipe, RecordingEncoder(), ["b"])
    assert [*query.dense] == ["b"]


def test_takers_are_the_branches_that_an_encoder_makes_something_for() -> None:
    branches = [*Pipeline(ALL).branches.values()]
    assert [branch.name for branch in takers(branches, "recording")] == ["tokens", "dense"]


@pytest.mark.parametrize(
    ("query", "encoder", "names", "argument"),
    [
        (Query(), no_encoder, None, "tokens"),
        (Query(dense=VECTOR), no_encoder, ["tokens"], "tokens"),
        (Query(tokens=MATRIX), no_encoder, ["tokens", "dense"], "dense['dense']"),
        (Query(tokens=MATRIX), no_encoder, ["sparse"], "text"),
        (Query(text="text 1"), RecordingEncoder(tokens=False), None, "encoder"),
        (Query(text="text 1"), RecordingEncoder(dense=False), None, "dense['dense']"),
    ],
)
def test_what_is_missing_is_named(query: Query, encoder: Any, names: list[str] | None, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        checked([query], ALL, encoder, names)
    assert raised.value.argument == argument


def prepared(query: Query, recipe: Recipe, cross_encoder: Any = None, **options: Any) -> Any:
    pipeline = Pipeline(recipe)
    chosen = chosen_branches(pipeline.branches, options.get("branches"))
    (whole,) = checked_queries([query], recipe, chosen, no_encoder, all_needed=False)
    return prepared_query(whole, recipe, chosen, cross_encoder, SearchOptions(**options))


def test_each_branch_that_the_query_has_something_for_finds() -> None:
    assert [*prepared(Query(dense=VECTOR), ALL).finders] == ["dense"]
    both = prepared(Query(tokens=MATRIX, dense=VECTOR), ALL)
    assert {name: stage.using for name, stage in both.finders.items()} == {"tokens": "fde", "dense": "dense"}
    assert both.ranker.branch == "tokens"
    assert prepared(Query(dense=VECTOR), ALL).ranker is None


def test_fusion_is_the_users_or_else_that_of_the_recipe() -> None:
    recipe = ALL.model_copy(update={"fusion": Fusion(method="dbsf")})
    query = Query(tokens=MATRIX, dense=VECTOR)
    assert prepared(query, recipe).fusion == Fusion(method="dbsf")
    assert prepared(query, recipe, fusion=Fusion(method="rrf")).fusion == Fusion(method="rrf")


def test_numbers_and_the_text_come_from_recipe_and_query() -> None:
    stage = CrossEncoderStage(candidates=7)
    recipe = ALL.model_copy(update={"rerank": Rerank(candidates=33, cross_encoder=stage)})
    query = prepared(Query(tokens=MATRIX, text="what"), recipe, "a cross-encoder")
    assert (query.candidates, query.cross_encoded, query.text) == (33, 7, "what")
    assert query.cross_encoder == "a cross-encoder"
    assert prepared(Query(tokens=MATRIX), ALL).cross_encoded == 0


def test_hits_that_nothing_ranks_again_are_rescored_only_with_oversampling() -> None:
    quantized = Dense(dim=DIM, quantization={"scalar": {"type": "int8"}})
    recipe = Recipe(tokens=TOKENS, dense=quantized)
    alone = prepared(Query(dense=VECTOR), recipe).finders["dense"]
    assert alone.params.quantization is None
    ranked = prepared(Query(dense=VECTOR, tokens=MATRIX), recipe).finders["dense"]
    assert ranked.params.quantization.rescore is False


def test_query_weights_reach_finder_and_ranker() -> None:
    fitted = TokenIDF(cells=4).fit(batch(60, 0))
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM, encoding=SMALL_FDE, query_weights=fitted, multivector=Multivector(), codes=None
        )
    )
    tokens = batch(1, 5)
    query = prepared(Query(tokens=tokens), recipe)
    weights = fitted.weights(tokens)
    assert len({*weights.tolist()}) > 1
    np.testing.assert_allclose(
        query.finders["tokens"].query, SMALL_FDE.encode_queries(tokens, weights)[0], rtol=1e-5
    )
    np.testing.assert_allclose(query.ranker.in_engine.query, tokens.values * weights[:, None], rtol=1e-5)


def test_codes_rank_only_what_another_branch_finds() -> None:
    codes = BinaryQuantizer().fit(batch(20, 0).values)
    tokens = Tokens(dim=DIM, encoding=None, multivector=None, codes=codes, document_bytes=0)
    recipe = Recipe(tokens=tokens, dense=DENSE)
    with pytest.raises(InvalidArgumentError) as raised:
        prepared(Query(tokens=MATRIX), recipe)
    assert raised.value.argument == "dense"
    query = prepared(Query(tokens=MATRIX, dense=VECTOR), recipe)
    assert [*query.finders] == ["dense"] and query.ranker.by_codes is not None


def test_a_multivector_alone_needs_no_finder() -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=None, multivector=Multivector(), codes=None))
    query = prepared(Query(tokens=MATRIX), recipe)
    assert query.finders == {} and query.ranker.in_engine.using == "tokens"
