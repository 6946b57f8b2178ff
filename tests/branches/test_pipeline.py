"""The pipeline: a loop over branches that forgets none of them."""

from __future__ import annotations

import base64
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import CrossEncoderStage, Dense, Fusion, Multivector, Query, Recipe, Rerank, Sparse, Tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.prepare import checked_queries, prepared_query
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.common.ids import CODES, DENSE_CODES, MODEL
from embplug.engines.capabilities import Capabilities
from embplug.errors import FilterError, InvalidArgumentError, NotFittedError
from embplug.methods import (
    FDE,
    PCA,
    AdaptiveEncoding,
    AdaptiveQuantizer,
    BallCarving,
    BinaryQuantizer,
    FirstTokens,
    HierarchicalPooling,
    PowerQuantizer,
    Procrustes,
    Rotation,
    TokenIDF,
)
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder, batch, documents, vectors

COUNT = 40
TOKENS = batch(COUNT, 0)
DENSE = {name: vectors(COUNT, seed) for seed, name in enumerate(["a", "b", "dense"])}
TEXTS = [f"number {i}" for i in range(COUNT)]
SAMPLE = CheckedSample(TOKENS, DENSE, texts=TEXTS)
LEARNING = FDE(repetitions=1, simhash_bits=1, projection_dim=4, partitioner="kmeans")
ADAPTER = Procrustes().fit(DENSE["a"], DENSE["b"])
PREVIOUS = PreviousModel(dim=DIM, stored_as="dense", adapter=ADAPTER)
UPGRADING = {"dense": VectorVersion(model=2, stored_as="dense_v2", previous=PREVIOUS)}
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # Each part as it learns, and as it has nothing to learn.
    "tokens": (
        {"tokens": Tokens(dim=DIM, encoding=LEARNING, multivector=Multivector(), codes=None)},
        {"tokens": Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None)},
    ),
    "dense": (
        {"dense": Dense(dim=DIM, transforms=[PCA(4)])},
        {"dense": Dense(dim=DIM, transforms=[Rotation()])},
    ),
    "sparse": ({"sparse": Sparse()}, {"sparse": Sparse(average_length=2.0)}),
}
SUBSETS = [names for size in range(1, 4) for names in combinations(PARTS, size)]


def fitted(recipe: Recipe, **options: Any) -> Pipeline:
    pipeline = Pipeline(recipe, **options)
    pipeline.fit(SAMPLE)
    return pipeline


def with_codes(order: list[str]) -> Recipe:
    bits = {"a": 8, "b": 4}
    return Recipe(dense={name: Dense(dim=DIM, codes=PowerQuantizer(bits=bits[name])) for name in order})


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]], ids="".join)
def test_codes_of_several_vectors_lie_in_the_order_of_their_names(order: list[str]) -> None:
    """A server does not keep the order of a recipe's fields, and the codes are read by it."""
    pipeline = fitted(with_codes(order))
    source = documents(COUNT, dense={name: DENSE[name] for name in order})
    _, payloads = pipeline.encode(source)
    sharing = [pipeline.branches[name].encode(source).codes[DENSE_CODES] for name in ("a", "b")]
    expected = [a + b for a, b in zip(*sharing, strict=True)]
    assert [base64.b85decode(payload[DENSE_CODES]) for payload in payloads] == expected
    assert len({len(codes[0]) for codes in sharing}) == 2


def test_codes_that_one_order_of_names_wrote_are_read_by_the_other() -> None:
    writer = fitted(with_codes(["b", "a"]))
    reader = Pipeline(with_codes(["a", "b"]))
    reader.set_state(writer.get_state())
    _, payloads = writer.encode(documents(COUNT, dense={name: DENSE[name] for name in "ab"}))
    strings = [base64.b85decode(payload[DENSE_CODES]) for payload in payloads]
    for name in "ab":
        query = Query(dense={name: DENSE[name][17]})
        pipeline_hits = [
            np.argmax(stage.rerank.score(strings))
            for pipeline in (writer, reader)
            for stage in _finders(pipeline, query).values()
        ]
        assert pipeline_hits == [17, 17]


def _finders(pipeline: Pipeline, query: Query) -> Any:
    (whole,) = checked_queries([query], pipeline.recipe, pipeline.branches, lambda: None, all_needed=False)
    return prepared_query(whole, pipeline.recipe, pipeline.branches, None, SearchOptions()).finders


def test_describe_forgets_nothing() -> None:
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=LEARNING,
            query_weights=TokenIDF(cells=4),
            reduction=(FirstTokens(count=8), HierarchicalPooling()),
            query_reduction=BallCarving(),
            codes=BinaryQuantizer(),
        ),
        dense={
            "dense": Dense(dim=DIM),
            "a": Dense(dim=DIM, transforms=[PCA(4), Rotation()], codes=PowerQuantizer()),
        },
        sparse=Sparse(),
    )
    described = fitted(recipe, versions=UPGRADING).describe()
    assert {place: method["method"] for place, method in described.items()} == {
        "tokens.encoding": "fde",
        "tokens.query_weights": "idf",
        "tokens.codes": "binary",
        "tokens.query_reduction": "ball_carving",
        "tokens.reduction.0": "first",
        "tokens.reduction.1": "hierarchical",
        "dense.dense.previous.adapter": "procrustes",
        "dense.a.transforms.0": "pca",
        "dense.a.transforms.1": "rotation",
        "dense.a.codes": "power",
        "sparse": "bm25",
    }


def test_nothing_is_described_before_all_has_learned() -> None:
    with pytest.raises(NotFittedError):
        Pipeline(Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))).describe()


@pytest.mark.parametrize("names", SUBSETS, ids="-".join)
def test_it_is_fitted_when_every_branch_is(names: tuple[str, ...]) -> None:
    for learning in range(2 ** len(names)):
        fields: dict[str, Any] = {}
        for place, name in enumerate(names):
            fields |= PARTS[name][0 if learning >> place & 1 else 1]
        pipeline = Pipeline(Recipe(**fields))
        assert pipeline.fitted == (learning == 0)
        tokens_learn = "tokens" in names and bool(learning >> names.index("tokens") & 1)
        assert pipeline.learns_from_tokens == tokens_learn
        pipeline.fit(SAMPLE)
        assert pipeline.fitted and not pipeline.learns_from_tokens
        assert bool(pipeline.get_state()) == (learning > 0)


def test_only_what_is_not_fitted_needs_a_sample() -> None:
    recipe = Recipe(**PARTS["tokens"][1], **PARTS["dense"][0])
    pipeline = Pipeline(recipe)
    pipeline.fit(CheckedSample(None, {"dense": DENSE["dense"]}))
    assert pipeline.fitted
    with pytest.raises(InvalidArgumentError) as raised:
        Pipeline(recipe).fit(CheckedSample(TOKENS, {}))
    assert raised.value.argument == "sample.dense['dense']"


ALL_LEARN = Recipe(**{key: value for part in PARTS.values() for key, value in part[0].items()})
WHOLE = documents(COUNT, tokens=TOKENS, dense={"dense": DENSE["dense"]}, texts=TEXTS)


def test_the_same_state_stores_the_same() -> None:
    mine, other = fitted(ALL_LEARN), Pipeline(ALL_LEARN)
    other.set_state(mine.get_state())
    assert other.fitted
    vectors_of, payloads = mine.encode(WHOLE)
    others, other_payloads = other.encode(WHOLE)
    assert [*vectors_of] == [*others] == ["fde", "tokens", "dense", "sparse"]
    np.testing.assert_array_equal(vectors_of["fde"], others["fde"])
    np.testing.assert_array_equal(vectors_of["dense"], others["dense"])
    assert vectors_of["sparse"].lists() == others["sparse"].lists()
    assert payloads == other_payloads


def test_the_recipe_keeps_nothing_that_was_learned() -> None:
    pca = PCA(4).fit(DENSE["dense"])
    pipeline = Pipeline(Recipe(dense=Dense(dim=DIM, transforms=[pca])))
    assert pipeline.fitted and pipeline.get_state()
    assert not pipeline.recipe.dense["dense"].transforms[0].fitted
    assert pca.fitted and pipeline.dense("dense").transforms[0] is not pca


def test_the_encoding_that_the_recipe_leaves_open_is_decided() -> None:
    tokens = Pipeline(Recipe(tokens=Tokens(dim=DIM))).recipe.tokens
    assert tokens is not None and isinstance(tokens.encoding, AdaptiveEncoding)
    assert isinstance(tokens.codes, AdaptiveQuantizer) and tokens.multivector is None


def test_nothing_is_encoded_or_planned_before_all_has_learned() -> None:
    pipeline = Pipeline(ALL_LEARN)
    with pytest.raises(NotFittedError):
        pipeline.encode(WHOLE)
    with pytest.raises(
        NotFittedError, match=r"^no document was added yet, so the recipe's methods are not fitted$"
    ):
        pipeline.plan([Query(dense=np.ones(DIM), tokens=np.ones((1, DIM)))], SearchOptions())


def test_payloads_get_codes_and_models_of_all_branches() -> None:
    recipe = Recipe(
        tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=None, codes=BinaryQuantizer()),
        dense={"dense": Dense(dim=DIM), "a": Dense(dim=DIM, codes=PowerQuantizer())},
    )
    source = documents(
        COUNT,
        tokens=TOKENS,
        dense={"dense": DENSE["dense"], "a": DENSE["a"]},
        payloads=[{"n": i} for i in range(COUNT)],
    )
    stored, payloads = fitted(recipe, versions=UPGRADING).encode(source)
    assert {*stored} == {"fde", "dense_v2", "a"}
    assert [payload["n"] for payload in payloads] == [*range(COUNT)]
    assert all({*payload} == {"n", CODES, DENSE_CODES, MODEL} for payload in payloads)
    assert {payload[MODEL] for payload in payloads} == {2}
    assert source.payloads[0] == {"n": 0}


def test_numbers_of_all_branches_are_added_up() -> None:
    pipeline = fitted(ALL_LEARN)
    expected = sum(branch.count_numbers(WHOLE) for branch in pipeline.branches.values())
    counted = pipeline.count_numbers(WHOLE)
    np.testing.assert_array_equal(counted, expected)
    assert counted.dtype == np.int64 and (counted > 4 + 8 * 10).all()


def test_qdrant_is_told_of_the_vectors_of_all_branches() -> None:
    pipeline = Pipeline(ALL_LEARN)
    assert [*pipeline.vectors_config()] == ["fde", "tokens", "dense"]
    assert [*(pipeline.sparse_vectors_config() or ())] == ["sparse"]
    assert Pipeline(Recipe(dense=Dense(dim=DIM))).sparse_vectors_config() is None


def scorer(query: str, texts: Any) -> list[float]:
    return [0.0 for _ in texts]


def test_a_changed_pipeline_keeps_models_device_and_engine() -> None:
    encoder = RecordingEncoder()
    pipeline = Pipeline(Recipe(dense=Dense(dim=DIM)), encoder, cross_encoder=scorer, device=None)
    pipeline.device = "cpu"
    pipeline.capabilities = Capabilities.of("edge", "0.9")
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))
    pytest.importorskip("torch")
    changed = pipeline.changed(recipe, UPGRADING)
    assert changed.recipe == recipe and changed.versions == UPGRADING and not changed.fitted
    assert changed.models.passed_encoder is encoder and changed.models.passed_scorer is scorer
    assert changed.device == "cpu"
    assert changed.capabilities is pipeline.capabilities
    other = RecordingEncoder()
    assert pipeline.changed(recipe, {}, other).models.encoder is other
    assert pipeline.versions == {}


def test_nothing_fitted_goes_along_to_a_changed_pipeline() -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))
    changed = fitted(recipe).changed(recipe, {})
    assert not changed.fitted and changed.get_state() == {}


def test_texts_are_encoded_as_one_dense_vector_is_stored() -> None:
    pipeline = Pipeline(Recipe(dense={"a": Dense(dim=DIM, funnel=(2,))}), RecordingEncoder())
    stored = pipeline.encode_dense("a", ["text 5", "text 6"])
    assert {name: rows.shape for name, rows in stored.items()} == {"a_2": (2, 2), "a": (2, DIM)}
    assert stored["a_2"][:, 0].tolist() == [5, 6]


def test_a_query_gets_the_vectors_that_the_encoder_makes() -> None:
    pipeline = Pipeline(
        Recipe(tokens=Tokens(dim=DIM, multivector=Multivector(), codes=None), dense=Dense(dim=DIM)),
        RecordingEncoder(),
    )
    (query,) = pipeline.with_query_vectors([Query(text="text 5")])
    assert query.text == "text 5" and np.asarray(query.tokens)[:, 0].tolist() == [5, 5]
    assert query.dense is not None and query.dense["dense"][0] == 5
    words = Pipeline(Recipe(sparse=Sparse(average_length=2.0)))
    assert words.with_query_vectors([Query(text="text 5")])[0].text == "text 5"


def test_documents_are_compared_by_the_first_branch_that_the_query_has_something_for() -> None:
    pipeline = fitted(ALL_LEARN)
    assert pipeline.compared(Query(tokens=np.ones((1, DIM)), dense=np.ones(DIM))) == "tokens"
    assert pipeline.compared(Query(dense=np.ones(DIM), text="word")) == "dense"
    with pytest.raises(InvalidArgumentError) as raised:
        pipeline.compared(Query(text="word"))
    assert raised.value.argument == "text"
    stored, _ = pipeline.encode(WHOLE)
    records = [models.Record(id=i, vector={"dense": stored["dense"][i].tolist()}) for i in (1, 2)]
    relevance, _ = pipeline.similarities(Query(dense=DENSE["dense"][2]), records)
    assert np.argmax(relevance) == 1


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 2.0}, "limit"),
        ({"candidates": 0}, "candidates"),
        ({"fusion": Fusion(weights={"words": 1.0})}, "fusion.weights"),
        ({"branches": ["words"]}, "branches[0]"),
        ({"filter": {"must": []}}, "filter"),
    ],
)
def test_options_of_a_search_are_checked(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Pipeline(Recipe(dense=Dense(dim=DIM))).plan([Query(dense=np.ones(DIM))], SearchOptions(**options))
    assert raised.value.argument == argument


def test_a_filter_is_checked_with_the_indexes_of_the_recipe() -> None:
    pipeline = Pipeline(Recipe(dense=Dense(dim=DIM), payload_indexes={"year": "integer"}))
    word = models.FieldCondition(key="year", match=models.MatchValue(value="1999"))
    with pytest.raises(FilterError):
        pipeline.checked_filter(models.Filter(must=[word]))
    number = models.FieldCondition(key="year", match=models.MatchValue(value=1999))
    pipeline.checked_filter(models.Filter(must=[number]))
    pipeline.checked_filter(None)


def test_a_cross_encoder_reads_the_text_of_the_query() -> None:
    recipe = Recipe(dense=Dense(dim=DIM), rerank=Rerank(cross_encoder=CrossEncoderStage()))
    pipeline = Pipeline(recipe, cross_encoder=scorer)
    query = Query(dense=np.ones(DIM))
    with pytest.raises(InvalidArgumentError) as raised:
        pipeline.plan([query], SearchOptions())
    assert raised.value.argument == "text"
    assert len(pipeline.plan([query], SearchOptions(cross_encode=False))) == 1


def test_each_query_has_a_plan_of_its_own() -> None:
    pipeline = Pipeline(Recipe(dense=Dense(dim=DIM)))
    plans = pipeline.plan([Query(dense=row) for row in DENSE["a"][:3]], SearchOptions(limit=4))
    requests = [next(plan)[0] for plan in plans]
    assert [request.query.tolist() for request in requests] == DENSE["a"][:3].tolist()
    assert {(request.using, request.limit) for request in requests} == {("dense", 4)}


def test_drift_needs_tokens_with_a_learned_encoding() -> None:
    for recipe in (
        Recipe(dense=Dense(dim=DIM)),
        Recipe(tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None)),
    ):
        with pytest.raises(InvalidArgumentError) as raised:
            Pipeline(recipe).drift(TOKENS)
        assert raised.value.argument == "recipe.tokens.encoding"
