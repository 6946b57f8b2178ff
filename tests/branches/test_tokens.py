"""The tokens branch: what it stores, how it finds, and how it ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Multivector, Query, Recipe, Rerank, Storage, Tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.queries import CheckedQuery, check_query
from embplug.branches.tokens import SCAN_KB, TokensBranch
from embplug.common import base85
from embplug.common.ids import CODES, SHORTLIST
from embplug.encoders import Encoded
from embplug.errors import DimensionError, InvalidArgumentError, NotFittedError
from embplug.methods import (
    FDE,
    BallCarving,
    BinaryQuantizer,
    FirstTokens,
    HierarchicalPooling,
    LearnedEncoding,
    SaliencyPruning,
    TokenIDF,
)
from embplug.methods.maxsim import maxsim
from embplug.methods.token_batch import TokenBatch
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, SMALL_FDE, batch, documents

DOCUMENTS = batch(40, seed=0)
QUERY = batch(1, seed=1)
LEARNING = FDE(repetitions=1, simhash_bits=1, projection_dim=4, partitioner="kmeans")
CODED = {"codes": BinaryQuantizer(), "document_bytes": 0}


def tokens_branch(rerank: Rerank | None = None, **fields: Any) -> TokensBranch:
    """A branch that is fitted where anything learns."""
    stored = {"encoding": SMALL_FDE, "multivector": Multivector(), "codes": None, **fields}
    branch = TokensBranch(Tokens(dim=DIM, **stored), rerank or Rerank())
    if not branch.fitted:
        branch.fit(CheckedSample(DOCUMENTS, {}))
    return branch


def query(**fields: Any) -> CheckedQuery:
    return CheckedQuery(QUERY, **fields)


def ranker(branch: TokensBranch, **options: Any) -> Any:
    return branch.ranker(branch.prepare(query()), SearchOptions(**options))


@pytest.mark.parametrize(
    ("fields", "exact", "finds", "in_engine", "by_codes"),
    [
        ({"multivector": None}, False, True, False, False),
        ({"encoding": None}, False, False, True, False),
        ({"multivector": None, "encoding": None, **CODED}, False, False, False, True),
        ({"multivector": None, "encoding": None, **CODED}, True, False, False, True),
        ({"multivector": None, **CODED}, False, True, False, True),
        ({}, False, True, True, False),
        ({}, True, True, True, False),
        (CODED, False, True, True, True),
        (CODED, True, True, True, False),
    ],
)
def test_what_is_stored_decides_who_finds_and_who_ranks(
    fields: dict[str, Any], exact: bool, finds: bool, in_engine: bool, by_codes: bool
) -> None:
    branch = tokens_branch(**fields)
    finder = branch.find(query(), SearchOptions(exact=exact), final=False)
    assert (finder is not None) == finds
    ranks = ranker(branch, exact=exact)
    if not (in_engine or by_codes):
        assert ranks is None
    else:
        assert ((ranks.in_engine is not None), (ranks.by_codes is not None)) == (in_engine, by_codes)
        assert ranks.branch == "tokens"


def test_a_query_without_tokens_finds_and_ranks_nothing() -> None:
    branch = tokens_branch(**CODED)
    assert branch.find(CheckedQuery(), SearchOptions(), final=False) is None
    assert branch.ranker(CheckedQuery(), SearchOptions()) is None
    assert not branch.has_query(CheckedQuery()) and branch.has_query(query())
    assert branch.lacks_query().argument == "tokens"


def test_the_encoding_of_the_query_finds() -> None:
    stage = tokens_branch().find(query(), SearchOptions(), final=False)
    assert stage is not None
    assert (stage.name, stage.using, stage.among, stage.rerank) == ("fde", "fde", (), None)
    assert stage.query.tolist() == SMALL_FDE.encode_queries(QUERY)[0].tolist()
    assert (stage.params.hnsw_ef, stage.params.exact) == (SMALL_FDE.hnsw_ef, None)


def test_token_weights_change_the_encoding_of_the_query() -> None:
    weights = np.arange(10, dtype=np.float32)
    stage = tokens_branch().find(query(token_weights=weights), SearchOptions(), final=False)
    assert stage is not None
    assert stage.query.tolist() == SMALL_FDE.encode_queries(QUERY, weights)[0].tolist()
    assert stage.query.tolist() != SMALL_FDE.encode_queries(QUERY)[0].tolist()


def test_search_parameters_are_the_users_then_the_recipes() -> None:
    branch = tokens_branch(Rerank(hnsw_ef=77))
    finder = branch.find(query(), SearchOptions(exact=True), final=False)
    assert finder is not None and (finder.params.hnsw_ef, finder.params.exact) == (77, True)
    own = models.SearchParams(hnsw_ef=5)
    finder = branch.find(query(), SearchOptions(search_params=own), final=False)
    assert finder is not None and finder.params.hnsw_ef == 5


@pytest.mark.parametrize("quantized", [True, False])
def test_maxsim_reads_quantized_tokens_only_where_the_recipe_says_so(quantized: bool) -> None:
    stage = ranker(tokens_branch(Rerank(quantized_tokens=quantized))).in_engine
    assert (stage.name, stage.using) == ("maxsim", "tokens")
    assert stage.query.tolist() == QUERY.values.tolist()
    assert stage.params.quantization.ignore is not quantized


def test_the_best_by_codes_are_scored_again_by_the_multivector() -> None:
    assert ranker(tokens_branch(Rerank(exact=5), **CODED)).exact == 5
    assert ranker(tokens_branch(**CODED)).exact is None


@pytest.mark.usefixtures("exact_tables")
def test_codes_are_scored_by_maxsim() -> None:
    branch = tokens_branch(multivector=None, **CODED)
    strings = branch.encode(documents(40, tokens=DOCUMENTS)).codes.get(CODES)
    rerank = ranker(branch).by_codes
    assert (rerank.stage, rerank.field) == ("codes", CODES)
    assert branch.coder is not None
    expected = maxsim(QUERY.values, branch.coder.decode(strings))
    np.testing.assert_allclose(rerank.score(strings), expected, rtol=1e-4, atol=1e-4)


def test_weights_of_the_recipe_and_of_the_user_are_multiplied() -> None:
    branch = tokens_branch(query_weights=TokenIDF(cells=4))
    assert branch.query_weights is not None
    own, weights = np.linspace(0, 2, 10, dtype=np.float32), branch.query_weights.weights(QUERY)
    alone = branch.prepare(query())
    both = branch.prepare(query(token_weights=own))
    np.testing.assert_array_equal(alone.token_weights, weights)
    np.testing.assert_allclose(both.token_weights, weights * own)
    assert branch.prepare(CheckedQuery()).token_weights is None
    assert tokens_branch().prepare(query(token_weights=own)).token_weights is own


def test_the_tokens_of_a_query_are_weighed_then_reduced_before_they_rank() -> None:
    branch = tokens_branch(query_reduction=BallCarving(threshold=0.99))
    twice = TokenBatch(np.repeat(QUERY.values[:1], 2, axis=0), [0, 2])
    weighed = CheckedQuery(twice, token_weights=np.float32([1, 2]))
    stage = branch.ranker(weighed, SearchOptions()).in_engine
    np.testing.assert_allclose(stage.query, 3 * QUERY.values[:1], rtol=1e-5)
    finder = branch.find(weighed, SearchOptions(), final=False)
    expected = SMALL_FDE.encode_queries(twice, weighed.token_weights)[0]
    np.testing.assert_allclose(finder.query, expected, rtol=1e-6)


def test_a_query_is_pruned_by_its_saliency() -> None:
    branch = tokens_branch(query_reduction=SaliencyPruning(keep=0.2))
    saliency = np.arange(10, dtype=np.float32)
    stage = branch.ranker(query(saliency=saliency), SearchOptions()).in_engine
    assert stage.query.tolist() == QUERY.values[8:].tolist()
    with pytest.raises(InvalidArgumentError) as raised:
        branch.ranker(query(), SearchOptions())
    assert raised.value.argument == "saliency"


def test_documents_are_reduced_by_one_reduction_after_the_other() -> None:
    branch = tokens_branch(reduction=(SaliencyPruning(keep=0.4), FirstTokens(count=3)))
    saliency = np.tile(np.arange(10, dtype=np.float32), 2)
    reduced = branch.reduce(documents(2, tokens=DOCUMENTS[:2], saliency=saliency))
    assert reduced.tokens is not None and reduced.saliency is None
    for before, after in zip(DOCUMENTS[:2], reduced.tokens, strict=True):
        np.testing.assert_array_equal(after, before[6:9])


def test_saliency_follows_the_tokens_that_remain() -> None:
    branch = tokens_branch(reduction=(FirstTokens(count=5), SaliencyPruning(keep=0.2)))
    saliency = np.float32([0, 0, 3, 0, 0, 9, 9, 9, 9, 9])
    reduced = branch.reduce(documents(1, tokens=DOCUMENTS[:1], saliency=saliency))
    np.testing.assert_array_equal(reduced.tokens.values, DOCUMENTS.values[2:3])


def test_what_has_nothing_to_reduce_stays_as_it_is() -> None:
    without = documents(2)
    assert tokens_branch(reduction=FirstTokens(count=1)).reduce(without) is without
    reduced = tokens_branch().reduce(documents(2, tokens=DOCUMENTS[:2]))
    np.testing.assert_array_equal(reduced.tokens.values, DOCUMENTS[:2].values)


def test_pruning_without_saliency_names_it() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        tokens_branch(reduction=SaliencyPruning()).reduce(documents(1, tokens=DOCUMENTS[:1]))
    assert raised.value.argument == "saliency"


def test_what_is_stored_of_documents() -> None:
    branch = tokens_branch(**CODED)
    stored = branch.encode(documents(3, tokens=DOCUMENTS[:3]))
    assert [*stored.vectors] == ["fde", "tokens"] and stored.payload == {}
    np.testing.assert_allclose(stored.vectors["fde"], SMALL_FDE.encode_documents(DOCUMENTS[:3]))
    assert stored.vectors["tokens"].values.tolist() == DOCUMENTS[:3].values.tolist()
    assert [*stored.codes] == [CODES] and len(stored.codes[CODES]) == 3
    assert branch.codes_fields == (CODES, SHORTLIST)
    bare = tokens_branch(multivector=None).encode(documents(3, tokens=DOCUMENTS[:3]))
    assert [*bare.vectors] == ["fde"] and bare.codes == {}
    assert tokens_branch().codes_fields == ()
    assert branch.encode(documents(3)).vectors == {}


def test_numbers_are_counted_as_they_are_stored() -> None:
    lengths = TokenBatch(DOCUMENTS.values[:7], [0, 2, 7])
    source = documents(2, tokens=lengths)
    assert tokens_branch().count_numbers(source).tolist() == [16 + 2 * DIM, 16 + 5 * DIM]
    assert tokens_branch(multivector=None).count_numbers(source).tolist() == [16, 16]
    branch = tokens_branch(multivector=None, encoding=None, **CODED)
    texts = base85.encode(branch.encode(source).codes[CODES])
    counted = branch.count_numbers(source)
    assert all(4 * count >= len(text) for count, text in zip(counted.tolist(), texts, strict=True))
    assert all(4 * count <= len(text) + 8 for count, text in zip(counted.tolist(), texts, strict=True))
    assert tokens_branch().count_numbers(documents(2)) == 0


def test_qdrant_is_told_how_to_store_the_encoding_and_the_multivector() -> None:
    config = tokens_branch().vectors_config()
    assert {name: params.size for name, params in config.items()} == {"fde": 16, "tokens": DIM}
    assert {params.distance for params in config.values()} == {models.Distance.DOT}
    assert config["fde"].multivector_config is None
    assert config["fde"].hnsw_config.full_scan_threshold == SCAN_KB
    tokens = config["tokens"]
    assert tokens.multivector_config.comparator == models.MultiVectorComparator.MAX_SIM
    assert (tokens.datatype, tokens.on_disk, tokens.hnsw_config.m) == (models.Datatype.FLOAT16, True, 0)


def test_storage_of_the_recipe_is_kept() -> None:
    storage = Storage(on_disk=True, hnsw={"m": 4, "full_scan_threshold": 10})
    multivector = Multivector(datatype="float32", on_disk=False, quantization={"scalar": {"type": "int8"}})
    config = tokens_branch(encoding_storage=storage, multivector=multivector).vectors_config()
    assert config["fde"].on_disk and config["fde"].hnsw_config == storage.hnsw
    assert config["tokens"].datatype == models.Datatype.FLOAT32 and config["tokens"].on_disk is False
    assert config["tokens"].quantization_config == multivector.quantization
    with_graph = tokens_branch(encoding_storage=Storage(hnsw={"m": 4})).vectors_config()["fde"].hnsw_config
    assert (with_graph.m, with_graph.full_scan_threshold) == (4, SCAN_KB)


def test_nothing_is_configured_that_is_not_stored() -> None:
    assert [*tokens_branch(multivector=None).vectors_config()] == ["fde"]
    assert [*tokens_branch(encoding=None).vectors_config()] == ["tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {"encoding": LEARNING},
        {"query_weights": TokenIDF(cells=4)},
        {"codes": BinaryQuantizer(), "document_bytes": 4},
        {"encoding": LEARNING, "query_weights": TokenIDF(cells=4), **CODED},
    ],
)
def test_a_branch_with_the_same_state_stores_and_compares_the_same(fields: dict[str, Any]) -> None:
    fitted = tokens_branch(**fields)
    other = TokensBranch(fitted.recipe, fitted.rerank)
    assert not other.fitted and other.learns_from_tokens and other.get_state() == {}
    state = fitted.get_state()
    other.set_state(state)
    assert other.fitted and not other.learns_from_tokens
    source = documents(5, tokens=DOCUMENTS[:5])
    mine, others = fitted.encode(source), other.encode(source)
    np.testing.assert_array_equal(mine.vectors["fde"], others.vectors["fde"])
    assert mine.codes == others.codes
    weights = fitted.prepare(query()).token_weights
    np.testing.assert_array_equal(weights, other.prepare(query()).token_weights)
    assert {key: array.tolist() for key, array in other.get_state().items()} == {
        key: array.tolist() for key, array in state.items()
    }


def test_a_part_of_the_state_leaves_other_methods_as_they_are() -> None:
    fields = {"encoding": LEARNING, "query_weights": TokenIDF(cells=4)}
    state = tokens_branch(**fields).get_state()
    branch = TokensBranch(Tokens(dim=DIM, **fields), Rerank())
    branch.set_state({key: array for key, array in state.items() if key.startswith("fde.")})
    assert branch.encoding.fitted and not branch.query_weights.fitted and not branch.fitted


def test_methods_that_are_fitted_are_not_fitted_again() -> None:
    learned = FDE(repetitions=1, simhash_bits=1, projection_dim=4, partitioner="kmeans").fit(batch(30, 9))
    branch = tokens_branch(encoding=learned, query_weights=TokenIDF(cells=4))
    source = batch(3, 4)
    np.testing.assert_array_equal(branch.encoding.encode_documents(source), learned.encode_documents(source))
    assert branch.query_weights.fitted


def test_the_recipe_is_not_fitted_along() -> None:
    branch = tokens_branch(encoding=LEARNING, **CODED)
    assert branch.fitted
    assert not branch.recipe.encoding.fitted and not branch.recipe.codes.fitted


def test_a_sample_without_tokens_is_refused() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        TokensBranch(Tokens(dim=DIM, encoding=LEARNING, multivector=Multivector(), codes=None), Rerank()).fit(
            CheckedSample(None, {})
        )
    assert raised.value.argument == "sample.tokens"


def test_each_method_has_a_place_in_the_recipe() -> None:
    branch = tokens_branch(
        encoding=LEARNING,
        query_weights=TokenIDF(cells=4),
        reduction=(SaliencyPruning(), HierarchicalPooling()),
        query_reduction=BallCarving(),
        **CODED,
    )
    assert {place: method["method"] for place, method in branch.describe().items()} == {
        "tokens.encoding": "fde",
        "tokens.query_weights": "idf",
        "tokens.codes": "binary",
        "tokens.query_reduction": "ball_carving",
        "tokens.reduction.0": "saliency",
        "tokens.reduction.1": "hierarchical",
    }
    assert [*tokens_branch(reduction=FirstTokens()).describe()] == ["tokens.encoding", "tokens.reduction"]


def test_tokens_of_an_encoder_are_checked_and_kept_with_their_saliency() -> None:
    encoded = Encoded(DOCUMENTS[:2], saliency=np.arange(20, dtype=np.float32))
    taken = tokens_branch(reduction=SaliencyPruning()).take_documents(documents(2), encoded, "model")
    assert taken.tokens is encoded.tokens and taken.saliency is encoded.saliency
    pruned = tokens_branch(query_reduction=SaliencyPruning()).take_query(CheckedQuery(), encoded, 1, "model")
    assert pruned.tokens.values.tolist() == DOCUMENTS[1].tolist()
    assert pruned.saliency.tolist() == [*range(10, 20)]
    assert tokens_branch().take_query(CheckedQuery(), encoded, 1, "model").saliency is None


@pytest.mark.parametrize(
    ("encoded", "fields", "error", "argument"),
    [
        (Encoded(), {}, InvalidArgumentError, "encoder"),
        (Encoded(TokenBatch(np.ones((2, 3), np.float32), [0, 2])), {}, DimensionError, "tokens of encoder"),
        (
            Encoded(DOCUMENTS[:1]),
            {"reduction": SaliencyPruning(), "query_reduction": SaliencyPruning()},
            InvalidArgumentError,
            "encoder",
        ),
    ],
)
def test_an_encoder_that_makes_something_else_is_named(
    encoded: Encoded, fields: dict[str, Any], error: type, argument: str
) -> None:
    branch = tokens_branch(**fields)
    for take in (
        lambda: branch.take_documents(documents(1), encoded, "model"),
        lambda: branch.take_query(CheckedQuery(), encoded, 0, "model"),
    ):
        with pytest.raises(error, match="model") as raised:
            take()
        assert raised.value.argument.startswith(argument)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        (CODED, CODES),
        ({}, "tokens"),
        ({"multivector": None}, "fde"),
    ],
)
def test_documents_are_compared_by_the_finest_that_is_stored(fields: dict[str, Any], field: str) -> None:
    branch = tokens_branch(**fields)
    assert branch.compared() == field
    stored = branch.encode(documents(40, tokens=DOCUMENTS))
    texts = base85.encode(stored.codes[CODES]) if stored.codes else [""] * 40
    records = [
        models.Record(
            id=i,
            vector=None if field == CODES else {field: np.asarray(stored.vectors[field][i]).tolist()},
            payload={CODES: texts[i]},
        )
        for i in (3, 7, 11)
    ]
    of_document = query_of(DOCUMENTS[7])
    relevance, similarity = branch.similarities(of_document, records)
    assert relevance.shape == (3,) and similarity.shape == (3, 3)
    assert np.argmax(relevance) == 1
    assert [np.argmax(row) for row in similarity] == [0, 1, 2]


def query_of(matrix: np.ndarray) -> CheckedQuery:
    return check_query(
        Query(tokens=matrix), Recipe(tokens=Tokens(dim=DIM, multivector=Multivector(), codes=None))
    )


def test_bytes_alone_cannot_be_compared() -> None:
    branch = tokens_branch(
        multivector=None, encoding=FDE(repetitions=2, simhash_bits=1, projection_dim=4, dtype="uint8")
    )
    with pytest.raises(InvalidArgumentError) as raised:
        branch.compared()
    assert raised.value.argument == "recipe.tokens"


def test_only_a_learned_encoding_drifts() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        tokens_branch().check_drifts()
    assert raised.value.argument == "recipe.tokens.encoding"
    with pytest.raises(InvalidArgumentError):
        tokens_branch(encoding=None).check_drifts()


def test_drift_needs_what_was_learned() -> None:
    branch = TokensBranch(
        Tokens(dim=DIM, encoding=LearnedEncoding(), multivector=Multivector(), codes=None), Rerank()
    )
    with pytest.raises(NotFittedError, match="add documents"):
        branch.check_drifts()
