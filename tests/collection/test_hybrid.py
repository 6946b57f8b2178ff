"""Words, dense vectors and tokens searched together, on every engine."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    Collection,
    CrossEncoderStage,
    Dense,
    Encoded,
    Fusion,
    Multivector,
    Query,
    Recipe,
    Rerank,
    Sample,
    Sparse,
    TokenBatch,
    Tokens,
    register_cross_encoder,
)
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError, NotFittedError, RerankError, StateError
from embplug.methods import FDE, ResidualQuantizer
from embplug.methods.maxsim import maxsim
from embplug.search import (
    distribution_based_fusion,
    reciprocal_rank_fusion,
    weighted_fusion,
    z_score_fusion,
)

DIM, COUNT = 8, 40
ANIMALS = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen"]
TEXTS = [f"The {ANIMALS[i % 8]} met {ANIMALS[(i // 8) % 8]} number{i}" + " again" * i for i in range(COUNT)]
generator = np.random.default_rng(3)
VECTORS = generator.standard_normal((COUNT, DIM)).astype(np.float32)
MATRICES = TokenBatch.from_list(
    [generator.standard_normal((4, DIM)).astype(np.float32) for _ in range(COUNT)]
)
WORDS = Recipe(sparse=Sparse())
PAIR = Recipe(dense=Dense(dim=DIM), sparse=Sparse())
FDE_SMALL = FDE(repetitions=4, simhash_bits=2, projection_dim=4)
TOKENS = Tokens(
    dim=DIM, encoding=FDE_SMALL, multivector=Multivector(datatype=models.Datatype.FLOAT32), codes=None
)
CODES = Tokens(
    dim=DIM,
    encoding=FDE_SMALL,
    multivector=None,
    codes=ResidualQuantizer(size=10, centroids=16),
    document_bytes=0,
)


def filled(engine: Engine, recipe: Recipe, **options: Any) -> Collection:
    collection = Collection.create("hybrid", recipe, engine, **options)
    vectors: dict[str, Any] = {"dense": VECTORS} if recipe.dense else {}
    if recipe.tokens:
        vectors["tokens"] = MATRICES
    payloads = [{"number": i} for i in range(COUNT)]
    collection.add([f"doc {i}" for i in range(COUNT)], texts=TEXTS, payloads=payloads, **vectors)
    return Collection.open("hybrid", engine, cross_encoder=options.get("cross_encoder"))


def numbers(hits: list[Any]) -> list[int]:
    return [int(str(hit.id).removeprefix("doc ")) for hit in hits]


def test_words_find_texts_and_survive_reopening(engine: Engine) -> None:
    collection = filled(engine, WORDS)
    hits = collection.search(text="NUMBER17", with_stages=True)
    assert numbers(hits) == [17]
    assert hits[0].stages == {"sparse": hits[0].score}
    assert hits[0].payload == {"number": 17, "text": TEXTS[17]}
    assert sorted(numbers(collection.search(text="a cat, a dog", limit=50))) == [
        i for i in range(COUNT) if {"cat", "dog"} & {*TEXTS[i].split()}
    ]
    assert collection.search(text="the and of") == []
    info = collection.info()
    assert info.fitted and info.state_bytes and info.vectors["sparse"]["modifier"] == "idf"
    with pytest.raises(InvalidArgumentError, match="compared"):
        collection.search(text="cat", mmr=models.Mmr(candidates_limit=100))


def test_rare_words_count_more_and_documents_come_and_go(engine: Engine) -> None:
    collection = filled(engine, WORDS)
    assert numbers(collection.search(text="cat number5", limit=1)) == [5]
    collection.delete(["doc 5"])
    assert 5 not in numbers(collection.search(text="cat number5", limit=50))
    collection.add(["doc 5"], texts=["a cat walks with number5"], payloads=[{"number": 5}])
    assert numbers(collection.search(text="cat number5", limit=1)) == [5]


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion(method="rrf"),
        Fusion(),
        Fusion(method="min_max"),
        Fusion(method="dbsf"),
        Fusion(method="dbsf", weights={"dense": 0.5}),
        Fusion(method="min_max", weights={"sparse": 0.3}),
        Fusion(method="rrf", weights={"dense": 2.0}, k=10),
        Fusion(weights={"sparse": 0.3}),
    ],
    ids=lambda fusion: " ".join([fusion.method, *fusion.weights]),
)
def test_words_and_vectors_are_fused_alike_everywhere(engine: Engine, fusion: Fusion) -> None:
    collection = filled(engine, PAIR.model_copy(update={"fusion": fusion, "rerank": Rerank(candidates=20)}))
    arguments: dict[str, Any] = {"dense": VECTORS[30], "text": "cat number9"}
    alone = {
        name: collection.search(**arguments, branches=[name], limit=20, exact=True)
        for name in ("dense", "sparse")
    }
    assert numbers(alone["dense"])[0] == 30 and numbers(alone["sparse"])[0] == 9
    hits = collection.search(**arguments, limit=6, with_stages=True)
    fuse = {
        "rrf": partial(reciprocal_rank_fusion, k=fusion.k, weights=fusion.weights),
        "dbsf": partial(distribution_based_fusion, weights=fusion.weights),
        "min_max": partial(weighted_fusion, weights=fusion.weights),
        "z_score": partial(z_score_fusion, weights=fusion.weights),
    }[fusion.method]
    expected = fuse(alone, limit=6)
    # Engines rank documents of the same score as they like.
    assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], rel=1e-3)
    assert {*numbers(hits[:2])} == {*numbers(expected[:2])}
    for hit in hits:
        assert hit.stages is not None and hit.stages["fusion"] == hit.score
        assert {"dense", "sparse"} & hit.stages.keys()
    few = models.Filter(must=[models.FieldCondition(key="number", range=models.Range(lt=20))])
    filtered = numbers(collection.search(**arguments, filter=few))
    assert filtered and max(filtered) < 20
    # Sums of floats differ with the order of equal scores.
    least = hits[1].score * (1 - 1e-6)
    high = collection.search(**arguments, score_threshold=least)
    assert len(high) >= 2 and all(hit.score >= least for hit in high)
    queries = [
        Query(dense=VECTORS[30], text="number9"),
        Query(dense=VECTORS[3], text="number4"),
        Query(dense=VECTORS[7]),
    ]
    together = collection.batch_search(queries, limit=2)
    for query, found in zip(queries, together, strict=True):
        single = collection.search(dense=query.dense, text=query.text, limit=2)
        assert sorted(numbers(found)) == sorted(numbers(single))
    assert numbers(together[2])[0] == 7


@pytest.mark.parametrize("method", ["z_score", "min_max", "dbsf"])
@pytest.mark.parametrize("distance", [models.Distance.EUCLID, models.Distance.MANHATTAN])
def test_the_nearest_by_distance_is_not_the_last_of_a_fusion(
    edge_client: Any, method: Any, distance: models.Distance
) -> None:
    dense = Dense(dim=DIM, distance=distance)
    collection = filled(edge_client, Recipe(dense=dense, sparse=Sparse(), fusion=Fusion(method=method)))
    # A document that is short is the first by the word "gnu".
    assert numbers(collection.search(dense=VECTORS[30] + 0.01, text="gnu", limit=1)) == [30]


def test_the_fusion_chooses_what_tokens_rank(engine: Engine) -> None:
    recipe = Recipe(
        tokens=TOKENS,
        dense=Dense(dim=DIM),
        sparse=Sparse(),
        fusion=Fusion(after_rerank=False),
        rerank=Rerank(candidates=4),
    )
    collection = filled(engine, recipe)
    query = np.asarray(MATRICES[11]) + 0.1
    arguments: dict[str, Any] = {"tokens": query, "dense": VECTORS[30], "text": "number9"}
    hits = collection.search(**arguments, limit=4, with_stages=True)
    exact = maxsim(query, MATRICES)
    assert {9, 30, 11} <= {*numbers(hits)}
    assert [hit.score for hit in hits] == pytest.approx(exact[numbers(hits)], rel=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    stages = {number: hit.stages for number, hit in zip(numbers(hits), hits, strict=True)}
    assert {"sparse", "fusion", "maxsim"} <= stages[9].keys() and "dense" in stages[30]
    assert numbers(collection.search(**arguments, branches=["sparse"], limit=1)) == [9]
    assert numbers(collection.search(**arguments, branches=["dense"], limit=1)) == [30]
    assert numbers(collection.search(**arguments, branches=["tokens"], limit=1)) == [11]
    both = collection.search(**arguments, branches=["sparse", "dense"], limit=2, with_stages=True)
    assert {*numbers(both)} == {9, 30} and all("maxsim" not in (hit.stages or {}) for hit in both)
    assert numbers(collection.search(**arguments, exact=True, limit=3)) == np.argsort(-exact)[:3].tolist()


def test_a_search_fuses_as_it_is_told(engine: Engine) -> None:
    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(), fusion=Fusion(weights={"sparse": 0.0}))
    collection = filled(engine, recipe)
    arguments: dict[str, Any] = {"dense": VECTORS[30], "text": "number9"}
    assert numbers(collection.search(**arguments, limit=1)) == [30]
    for weights, first in [({"dense": 1.0, "sparse": 0.1}, 30), ({"dense": 0.1, "sparse": 1.0}, 9)]:
        fusion = Fusion(method="min_max", weights=weights)
        assert numbers(collection.search(**arguments, limit=1, fusion=fusion)) == [first]
    with pytest.raises(InvalidArgumentError, match=r"fusion\.weights"):
        collection.search(**arguments, fusion=Fusion(weights={"words": 1.0}))


@pytest.mark.parametrize("tokens", [TOKENS, CODES], ids=["matrix", "codes"])
def test_tokens_have_the_last_word_unless_words_take_part(engine: Engine, tokens: Tokens) -> None:
    collection = filled(engine, Recipe(tokens=tokens, dense=Dense(dim=DIM), sparse=Sparse()))
    query: dict[str, Any] = {"tokens": np.asarray(MATRICES[11]) + 0.1, "dense": VECTORS[30]}
    vectors = collection.search(**query, limit=4, with_stages=True)
    last = "maxsim" if tokens.multivector else "codes"
    assert all(hit.stages is not None and hit.score == hit.stages[last] for hit in vectors)
    assert vectors[0].id == "doc 11"
    words = collection.search(**query, text="number9", limit=4, with_stages=True)
    assert all(hit.stages is not None and hit.score == hit.stages["fusion"] for hit in words)
    assert {9, 11, 30} <= {*numbers(words)}


@pytest.mark.parametrize("weights", [{}, {"sparse": 3.0}])
@pytest.mark.parametrize("tokens", [TOKENS, CODES], ids=["matrix", "codes"])
def test_tokens_need_not_have_the_last_word(
    engine: Engine, tokens: Tokens, weights: dict[str, float]
) -> None:
    fusion = Fusion(after_rerank=True, weights=weights)
    recipe = Recipe(tokens=tokens, sparse=Sparse(), fusion=fusion, rerank=Rerank(candidates=10))
    collection = filled(engine, recipe)
    query = np.asarray(MATRICES[11]) + 0.1
    hits = collection.search(tokens=query, text="number9", limit=4, with_stages=True)
    assert {*numbers(hits)[:2]} == ({9, 11} if not weights else {9, numbers(hits)[1]})
    last = "maxsim" if tokens.multivector else "codes"
    first = hits[0].stages
    assert first is not None and {last, "fusion"} <= first.keys()
    if weights:
        assert numbers(hits)[0] == 9
    assert collection.search(tokens=query, limit=1)[0].id == "doc 11"


def test_weights_and_codes_choose_candidates_too(engine: Engine) -> None:
    fusion = Fusion(weights={"sparse": 1e-6}, after_rerank=False)
    for tokens, last in ((TOKENS, "maxsim"), (CODES, "codes")):
        recipe = Recipe(tokens=tokens, sparse=Sparse(), fusion=fusion, rerank=Rerank(candidates=5))
        collection = filled(engine, recipe)
        arguments: dict[str, Any] = {"tokens": np.asarray(MATRICES[11]) + 0.1, "text": "number9 cat"}
        hits = collection.search(**arguments, limit=5, with_stages=True)
        by_fde = collection.search(**arguments, limit=5, branches=["tokens"], with_stages=True)
        assert {*numbers(hits)} == {*numbers(by_fde)}
        assert hits[0].stages is not None and hits[0].score == hits[0].stages[last]
        collection.drop()


class Letters:
    """An encoder of a fixed vector for every text."""

    spec = "letters"

    def encode_documents(self, texts: Any) -> Encoded:
        return Encoded(None, VECTORS[: len(texts)])

    encode_queries = encode_documents


def test_errors_say_what_is_missing(edge_client: Any) -> None:
    collection = Collection.create("hybrid", PAIR, edge_client)
    with pytest.raises(NotFittedError):
        collection.search(text="cat", branches=["sparse"])
    with pytest.raises(InvalidArgumentError, match=r"^texts"):
        collection.add([1], dense=VECTORS[:1])
    with pytest.raises(InvalidArgumentError, match=r"^sample\.texts"):
        Collection.create("other", PAIR, edge_client, sample=Sample(dense=VECTORS))
    collection = filled(edge_client, PAIR)
    for branches, message in (
        (["sparse"], "^text: "),
        (["dense", "sparse"], "^text: "),
        (["nonsense"], r"^branches\[0\]: expected one of \['dense', 'sparse'\]"),
        ([], "^branches: "),
        ("dense", "^branches: "),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            collection.search(dense=VECTORS[0], branches=branches)
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .*branches=\['sparse'\]"):
        collection.search(text="cat")
    with pytest.raises(InvalidArgumentError, match=r"^dense\['dense'\]"):
        collection.search(branches=["dense"])
    with_encoder = Collection.open("hybrid", edge_client, encoder=Letters())
    assert {*numbers(with_encoder.search(text="number9", limit=2))} == {0, 9}
    assert 9 in numbers(with_encoder.search(text="number9", limit=5, mmr=models.Mmr(candidates_limit=5)))


def test_a_collection_without_its_sparse_vector_is_refused(edge_client: Any) -> None:
    filled(edge_client, PAIR)
    edge_client.delete_vector_name("hybrid", "sparse")
    with pytest.raises(StateError, match="sparse vector 'sparse'"):
        Collection.open("hybrid", edge_client)


def scorer(query: str, texts: Any) -> list[float]:
    """The shorter the text and the more of the query it has, the better."""
    return [10.0 * (query in text) - len(text) / 100 for text in texts]


def test_a_cross_encoder_is_the_last_stage(engine: Engine) -> None:
    stages = Rerank(candidates=20, cross_encoder=CrossEncoderStage(candidates=20))
    recipe = Recipe(tokens=TOKENS, sparse=Sparse(), rerank=stages)
    collection = filled(engine, recipe, cross_encoder=scorer)
    arguments: dict[str, Any] = {"tokens": np.asarray(MATRICES[11]) + 0.1, "text": "number9"}
    hits = collection.search(**arguments, limit=3, with_stages=True)
    assert numbers(hits)[0] == 9 and hits[0].score == pytest.approx(10 - len(TEXTS[9]) / 100)
    assert hits[0].stages is not None
    assert {"sparse", "fusion", "maxsim", "cross_encoder"} <= hits[0].stages.keys()
    assert hits[0].payload == {"number": 9, "text": TEXTS[9]}
    bare = collection.search(**arguments, limit=3, with_payload=False)
    assert numbers(bare) == numbers(hits) and bare[0].payload is None and bare[0].stages is None
    assert collection.search(**arguments, with_payload=["number"], limit=1)[0].payload == {"number": 9}
    assert numbers(collection.search(**arguments, score_threshold=5.0)) == [9]
    with pytest.raises(InvalidArgumentError, match=r"^text: .*cross-encoder"):
        collection.search(tokens=arguments["tokens"])

    async def waiting() -> list[Any]:
        again = collection.to_async()
        return (await again.batch_search([Query(**arguments)] * 2, limit=3, with_stages=True))[1]

    assert asyncio.run(waiting()) == hits


@pytest.mark.parametrize("finder", ["tokens", "dense"])
def test_candidates_are_ranked_by_codes_then_by_a_cross_encoder(engine: Engine, finder: str) -> None:
    stages = Rerank(candidates=COUNT, cross_encoder=CrossEncoderStage(candidates=5, on_failure="keep"))
    plain = Recipe(tokens=CODES, dense=Dense(dim=DIM) if finder == "dense" else {})
    arguments: dict[str, Any] = {"tokens": np.asarray(MATRICES[11]), "text": "any"}
    if finder == "dense":
        arguments["dense"] = VECTORS[11]
    by_codes = filled(engine, plain).search(**arguments, candidates=COUNT, limit=5)
    engine.delete_collection("hybrid")
    recipe = plain.model_copy(update={"rerank": stages})
    collection = filled(engine, recipe, cross_encoder=lambda query, texts: [float(len(t)) for t in texts])
    hits = collection.search(**arguments, limit=3, with_stages=True)
    expected = sorted(numbers(by_codes), key=lambda i: -len(TEXTS[i]))
    assert numbers(hits) == expected[:3]
    scores = {hit.id: hit.score for hit in by_codes}
    for hit in hits:
        assert hit.stages is not None and {"fde", "codes", "cross_encoder"} <= hit.stages.keys()
        assert hit.stages["codes"] == pytest.approx(scores[hit.id], abs=1e-5)
        assert hit.score == hit.stages["cross_encoder"] == len(TEXTS[numbers([hit])[0]])
        assert hit.payload is not None and hit.payload.keys() == {"number", "text"}
    textless = by_codes[0].id
    collection.add([textless], tokens=[MATRICES[11]], **({"dense": VECTORS[:1]} if recipe.dense else {}))
    kept = collection.search(**arguments, limit=5, score_threshold=0.0)
    assert kept[0].id == textless and "payload['text']" in (kept[0].skipped or {})["cross_encoder"]
    assert numbers(kept[1:]) == [i for i in expected if f"doc {i}" != textless]
    assert all(hit.skipped is None for hit in kept[1:])


def test_a_cross_encoder_that_fails_raises_or_is_skipped(edge_client: Any) -> None:
    def broken(query: str, texts: Any) -> list[float]:
        raise RuntimeError("out of memory")

    register_cross_encoder("tests-shortest", lambda: scorer)
    filled(edge_client, WORDS.model_copy(update={"rerank": Rerank(cross_encoder=CrossEncoderStage())}))
    with pytest.raises(InvalidArgumentError, match=r"^cross_encoder: "):
        Collection.open("hybrid", edge_client).search(text="cat")
    with pytest.raises(RerankError, match="out of memory"):
        Collection.open("hybrid", edge_client, cross_encoder=broken).search(text="cat")
    edge_client.delete_collection("hybrid")
    keeping = Rerank(cross_encoder=CrossEncoderStage(name="tests-shortest", on_failure="keep"))
    collection = filled(edge_client, WORDS.model_copy(update={"rerank": keeping}))
    assert numbers(collection.search(text="number9 cat", limit=1, with_payload=False))
    kept = Collection.open("hybrid", edge_client, cross_encoder=broken).search(
        text="number9 cat", limit=2, score_threshold=99.0
    )
    assert numbers(kept)[0] == 9 and "out of memory" in (kept[0].skipped or {})["cross_encoder"]


def test_the_asynchronous_collection_searches_words_alike(engine: Engine) -> None:
    collection = filled(engine, PAIR)
    arguments: dict[str, Any] = {"dense": VECTORS[30], "text": "number9"}

    async def scenario() -> None:
        again = collection.to_async()
        assert {hit.id for hit in await again.search(**arguments, limit=2)} == {"doc 30", "doc 9"}
        assert (await again.search(**arguments, branches=["sparse"]))[0].id == "doc 9"
        await again.add(["doc 99"], texts=["only zebras"], dense=VECTORS[:1])
        assert (await again.search(text="zebra", branches=["sparse"]))[0].id == "doc 99"

    asyncio.run(scenario())
