"""Codes of dense vectors: in the payload, back with the candidates, ranking them, on each engine in turn."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Fusion,
    Multivector,
    Query,
    Recipe,
    Rerank,
    Sample,
    TokenBatch,
    Tokens,
    models,
    recode,
)
from embplug.common.ids import DENSE_CODES
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError, NotFittedError, RecipeError, StateError
from embplug.methods import (
    FDE,
    PCA,
    BitAllocationQuantizer,
    OptimizedProductQuantizer,
    PowerQuantizer,
    ProductQuantizer,
    PyramidQuantizer,
    RecurrentBinaryQuantizer,
    ResidualQuantizer,
)
from embplug.methods.numeric.rows import unit_rows
from tests.collection.watched import killed_before_last_note

DIM = 24
COUNT = 150
CODES: list[Any] = [
    BitAllocationQuantizer(size=20),
    ProductQuantizer(subspaces=12, bits=6),
    OptimizedProductQuantizer(subspaces=12, bits=6, rotation_iterations=2),
    PyramidQuantizer(bits=6),
    PowerQuantizer(bits=6),
    RecurrentBinaryQuantizer(levels=4, hidden=8),
]
GOOD = PowerQuantizer(bits=8)


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    spread = np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0]
    return (rng.standard_normal((count, DIM)) @ (spread * np.geomspace(2, 0.4, DIM)[:, None])).astype(
        np.float32
    )


DOCUMENTS = vectors(COUNT)
QUERIES = vectors(6, seed=1)
COSINES = unit_rows(QUERIES) @ unit_rows(DOCUMENTS).T
EVEN = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])


def best(query: int, count: int = 5) -> list[int]:
    return np.argsort(-COSINES[query], kind="stable")[:count].tolist()


def recipe(codes: Any = GOOD, **fields: Any) -> Recipe:
    dense = {"dim": DIM, "transforms": [PCA(6)], "codes": codes, **fields}
    return Recipe(dense=Dense(**dense), rerank=Rerank(candidates=80), payload_indexes={"even": "bool"})


def filled(engine: Engine, coded_recipe: Recipe, **arrays: Any) -> Collection:
    collection = Collection.create("coded", coded_recipe, engine)
    payloads = [{"even": i % 2 == 0} for i in range(COUNT)]
    collection.add(range(COUNT), payloads=payloads, **{"dense": DOCUMENTS, **arrays})
    return collection


def recall(collection: Collection, **options: Any) -> float:
    found = [collection.search(dense=query, limit=10, **options) for query in QUERIES]
    return float(
        np.mean([len({hit.id for hit in hits} & {*best(i, 10)}) / 10 for i, hits in enumerate(found)])
    )


def test_codes_rank_the_candidates_as_the_vectors_that_are_not_stored(engine: Engine) -> None:
    collection = filled(engine, recipe())
    opened = Collection.open("coded", engine)
    assert opened.recipe == collection.recipe
    assert opened.info().fitted
    assert opened.info().state_bytes == collection.info().state_bytes > 0
    assert opened.info().vectors["dense"]["size"] == 6
    for i, query in enumerate(QUERIES):
        hits = opened.search(dense=query, limit=5, candidates=COUNT, with_stages=True)
        assert [hit.id for hit in hits] == best(i)
        np.testing.assert_allclose([hit.score for hit in hits], COSINES[i, best(i)], atol=0.01)
        for hit in hits:
            assert hit.stages is not None
            assert set(hit.stages) == {"dense", "dense_codes"}
            assert hit.stages["dense_codes"] == hit.score
            assert hit.payload == {"even": int(hit.id) % 2 == 0}
        few = opened.search(dense=query, limit=4, candidates=4, with_stages=True)
        by_pca = sorted((hit.stages["dense"] for hit in few if hit.stages), reverse=True)
        alone = Collection.open("coded", engine).search(
            dense=query, limit=COUNT, candidates=COUNT, with_stages=True
        )
        assert by_pca == sorted((hit.stages["dense"] for hit in alone if hit.stages), reverse=True)[:4]


@pytest.mark.parametrize("codes", CODES, ids=lambda codes: codes.kind)
def test_every_kind_of_codes_finds_more_than_the_vector_that_found_the_candidates(
    edge_client: EdgeClient, codes: Any
) -> None:
    if codes.kind == "recurrent_binary":
        pytest.importorskip("torch")
    coded_recipe = recipe(codes)
    assert Recipe.from_yaml(coded_recipe.to_yaml()) == coded_recipe
    collection = filled(edge_client, coded_recipe)
    before = recall(collection, candidates=COUNT)
    assert before > 0.75
    assert recall(collection, candidates=10) < before
    assert recall(Collection.open("coded", edge_client), candidates=COUNT) == before


def test_codes_stay_out_of_sight(engine: Engine) -> None:
    collection = filled(engine, recipe())
    assert collection.retrieve([3])[0].payload == {"even": False}
    assert all(set(record.payload or ()) == {"even"} for record in collection.scroll()[0])
    query = DOCUMENTS[3]
    assert [hit.payload for hit in collection.search(dense=query, limit=1, with_payload=False)] == [None]
    assert collection.search(dense=query, limit=1, with_payload=["even"])[0].payload == {"even": False}
    with pytest.raises(InvalidArgumentError, match=DENSE_CODES):
        collection.add([1], dense=DOCUMENTS[:1], payloads=[{DENSE_CODES: "x"}])


def test_filters_thresholds_batches_and_diversity_hold(engine: Engine) -> None:
    collection = filled(engine, recipe())
    even = [i for i in best(0, COUNT) if i % 2 == 0]
    found = collection.search(dense=QUERIES[0], filter=EVEN, limit=5)
    assert [hit.id for hit in found] == even[:5]
    high = collection.search(dense=QUERIES[0], filter=EVEN, limit=5, score_threshold=found[2].score)
    assert high == found[:3]
    both = collection.batch_search([Query(dense=QUERIES[1]), Query(dense={"dense": QUERIES[2]})], limit=3)
    assert [[hit.id for hit in hits] for hits in both] == [best(1, 3), best(2, 3)]
    chosen = collection.search(dense=QUERIES[0], limit=3, mmr=models.Mmr(diversity=0.0, candidates_limit=100))
    assert [hit.id for hit in chosen] == best(0, 3)


def test_the_asynchronous_collection_ranks_alike(engine: Engine) -> None:
    expected = filled(engine, recipe()).search(dense=QUERIES[0])

    async def search() -> Any:
        collection = Collection.open("coded", engine).to_async()
        return await collection.search(dense=QUERIES[0])

    assert asyncio.run(search()) == expected


def test_asynchronously_filled_is_filled_alike(edge_client: EdgeClient) -> None:
    async def fill() -> Any:
        collection = await AsyncCollection.create("other", recipe(), edge_client)
        await collection.add(range(COUNT), dense=DOCUMENTS)
        return [hit.id for hit in await collection.search(dense=QUERIES[0], candidates=COUNT, limit=5)]

    assert asyncio.run(fill()) == best(0)


def test_an_exact_search_compares_the_vectors_as_given_where_they_are_stored(engine: Engine) -> None:
    collection = filled(engine, recipe(PowerQuantizer(bits=1), transforms=[]))
    coded = collection.search(dense=QUERIES[0], limit=5, with_stages=True)
    assert all(set(hit.stages or ()) == {"dense", "dense_codes"} for hit in coded)
    exact = collection.search(dense=QUERIES[0], limit=5, exact=True, with_stages=True)
    assert [hit.id for hit in exact] == best(0)
    assert all(set(hit.stages or ()) == {"dense"} for hit in exact)
    np.testing.assert_allclose([hit.score for hit in exact], COSINES[0, best(0)], atol=1e-5)


def test_dot_products_keep_the_lengths(edge_client: EdgeClient) -> None:
    for codes in (
        BitAllocationQuantizer(size=40, length="own"),
        PyramidQuantizer(bits=8),
        PowerQuantizer(bits=8),
    ):
        dot_recipe = recipe(codes, distance=models.Distance.DOT)
        collection = filled(edge_client, dot_recipe)
        products = QUERIES[0] @ DOCUMENTS.T
        hits = collection.search(dense=QUERIES[0], candidates=COUNT, limit=5)
        assert hits[0].id == products.argmax()
        np.testing.assert_allclose([hit.score for hit in hits], products[[hit.id for hit in hits]], rtol=0.1)
        collection.drop()


def test_several_vectors_have_their_own_codes(edge_client: EdgeClient) -> None:
    other = unit_rows(vectors(COUNT, seed=5))[:, :10]
    coded = Dense(dim=DIM, transforms=[PCA(6)], codes=GOOD)
    dense = {
        "first": coded,
        "plain": Dense(dim=DIM),
        "second": Dense(dim=10, codes=PyramidQuantizer(bits=8), transforms=[PCA(3)]),
    }
    recipe_of_three = Recipe(dense=dense, rerank=Rerank(candidates=COUNT))
    arrays = {"first": DOCUMENTS, "plain": DOCUMENTS, "second": other}
    collection = filled(edge_client, recipe_of_three, dense=arrays)
    assert [hit.id for hit in collection.search(dense={"first": QUERIES[0]}, limit=5)] == best(0)
    hits = collection.search(dense={"second": other[7]}, limit=1, with_stages=True)
    assert hits[0].id == 7
    assert set(hits[0].stages or ()) == {"second", "second_codes"}
    both = {"first": QUERIES[0], "plain": QUERIES[0]}
    fused = collection.search(dense=both, limit=5, with_stages=True, fusion=Fusion(method="rrf"))
    assert [hit.id for hit in fused] == best(0)
    assert {"first", "first_codes", "plain"} <= set(fused[0].stages or ())


@pytest.mark.parametrize("tokens_have", ["codes", "matrix"])
def test_tokens_rank_what_codes_of_dense_vectors_find(engine: Engine, tokens_have: str) -> None:
    rng = np.random.default_rng(3)
    matrices = TokenBatch.from_list(
        [unit_rows(rng.standard_normal((4, 8)).astype(np.float32)) for _ in range(COUNT)]
    )
    ranked: dict[str, Any] = {"codes": ResidualQuantizer(size=10), "multivector": None}
    if tokens_have == "matrix":
        ranked = {"multivector": Multivector()}
    tokens = Tokens(dim=8, encoding=FDE(repetitions=2, simhash_bits=2, projection_dim=4), **ranked)
    dense = Dense(dim=DIM, transforms=[PCA(6)], codes=GOOD)
    hybrid_recipe = Recipe(tokens=tokens, dense=dense, rerank=Rerank(candidates=20))
    collection = filled(engine, hybrid_recipe, tokens=matrices)
    stage = "codes" if tokens_have == "codes" else "maxsim"
    hits = collection.search(tokens=matrices[9], dense=DOCUMENTS[9], limit=3, with_stages=True)
    assert hits[0].id == 9
    assert {"dense", "dense_codes", stage} <= set(hits[0].stages or ())
    assert hits[0].score == (hits[0].stages or {})[stage]
    alone = collection.search(dense=DOCUMENTS[9], limit=1, with_stages=True)
    assert set(alone[0].stages or ()) == {"dense", "dense_codes"}
    assert alone[0].payload == {"even": False}


def test_a_sample_teaches_the_codes_and_queries_with_it(edge_client: EdgeClient) -> None:
    collection = Collection.create("coded", recipe(), edge_client, sample=Sample(dense=DOCUMENTS))
    assert collection.info().fitted
    with pytest.raises(InvalidArgumentError, match=r"sample\.dense"):
        Collection.create("none", recipe(transforms=[]), edge_client, sample=Sample())
    with pytest.raises(NotFittedError):
        Collection.create("empty", recipe(transforms=[]), edge_client).search(dense=QUERIES[0])


def test_codes_that_were_fitted_beforehand_stay_as_they_are(edge_client: EdgeClient) -> None:
    fitted = BitAllocationQuantizer(size=8).fit(unit_rows(vectors(60, seed=8)))
    collection = Collection.create("coded", recipe(fitted, transforms=[]), edge_client)
    assert collection.info().fitted
    collection.add(range(COUNT), dense=DOCUMENTS)
    expected = fitted.score(
        fitted.encode_query(unit_rows(QUERIES[:1])[0]), fitted.encode(unit_rows(DOCUMENTS))
    )
    hits = Collection.open("coded", edge_client).search(dense=QUERIES[0], candidates=COUNT, limit=5)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1][:5], atol=1e-6)
    with pytest.raises(RecipeError, match="codes"):
        Dense(dim=DIM + 1, codes=fitted)


@pytest.mark.parametrize("lost", ["?", "abc", None])
def test_lost_codes_are_named(edge_client: EdgeClient, lost: str | None) -> None:
    collection = filled(edge_client, recipe())
    collection.add([900], dense=QUERIES[:1])
    edge_client.set_payload("coded", {DENSE_CODES: lost}, points=[900], wait=True)
    with pytest.raises(StateError, match="900"):
        collection.search(dense=QUERIES[0])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"transforms": [PCA(6)], "keep_original": "disk"}, "codes"),
        ({"distance": models.Distance.EUCLID}, "distance"),
        ({"distance": models.Distance.DOT, "codes": BitAllocationQuantizer(size=8)}, "codes.length"),
        ({"distance": models.Distance.DOT, "codes": RecurrentBinaryQuantizer()}, "distance"),
        ({"codes": ProductQuantizer(subspaces=DIM + 1)}, "codes.subspaces"),
        ({"codes": {"kind": "residual"}}, "codes"),
        ({"codes": {"kind": "power", "bits": 9}}, "codes.bits"),
        ({"codes": None, "signs": True}, "signs"),
        ({"signs": True}, "signs"),
        ({"codes": RecurrentBinaryQuantizer(), "signs": True, "transforms": [PCA(6)]}, "transforms"),
        ({"codes": RecurrentBinaryQuantizer(), "signs": True, "funnel": [4]}, "funnel"),
    ],
)
def test_contradictions_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RecipeError) as raised:
        Dense(**{"dim": DIM, "codes": GOOD, **fields})
    assert raised.value.argument == field


def signs_recipe(**fields: Any) -> Recipe:
    codes = {"levels": 1, "dim_out": 64, "queries": "codes", "steps": 30, "hidden": 8, **fields}
    one_bit = models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(
            always_ram=True, query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS
        )
    )
    stored = {"signs": True, "quantization": one_bit, "on_disk": True, "datatype": models.Datatype.FLOAT16}
    dense = Dense(dim=DIM, codes=RecurrentBinaryQuantizer(**codes), **stored)
    return Recipe(dense=dense, rerank=Rerank(candidates=40))


@pytest.mark.parametrize("engine_name", ["edge", "server"], indirect=True)
@pytest.mark.parametrize("queries", ["codes", "exact"])
def test_signs_find_what_all_bits_rank(engine: Engine, queries: str) -> None:
    pytest.importorskip("torch")
    binary_recipe = signs_recipe(queries=queries)
    assert Recipe.from_yaml(binary_recipe.to_yaml()) == binary_recipe
    collection = filled(engine, binary_recipe)
    assert collection.info().vectors["dense"]["size"] == 64
    binarizer = RecurrentBinaryQuantizer(**binary_recipe.to_dict()["dense"]["dense"]["codes"]).fit(
        unit_rows(DOCUMENTS)
    )
    records = engine.retrieve("coded", ids=[0, 1], with_vectors=["dense"], with_payload=False)
    stored = np.array([record.vector["dense"] for record in records])  # type: ignore[call-overload, index]
    np.testing.assert_array_equal(stored, binarizer.signs(unit_rows(DOCUMENTS[:2])))
    scores = binarizer.score(
        binarizer.encode_query(unit_rows(QUERIES)), binarizer.encode(unit_rows(DOCUMENTS))
    )
    for i, query in enumerate(QUERIES):
        hits = collection.search(dense=query, limit=5, candidates=COUNT, with_stages=True)
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores[:, i])[::-1][:5], atol=1e-5)
        assert all(set(hit.stages or ()) == {"dense", "dense_codes"} for hit in hits)
    assert recall(collection) > 0.55


@pytest.mark.parametrize("engine_name", ["edge", "server"], indirect=True)
@pytest.mark.parametrize("awaited", [False, True])
def test_codes_of_two_models_live_in_one_collection(engine: Engine, awaited: bool) -> None:
    pytest.importorskip("torch")
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIM + 6, DIM + 6)))[0][:DIM]
    old, new = DOCUMENTS, (DOCUMENTS @ turn).astype(np.float32)
    collection = Collection.create("coded", signs_recipe(), engine, sample=Sample(dense=old))
    collection.add(range(100), dense=old[:100])
    if awaited:
        asyncio.run(_recoded(engine, new, old))
        collection.reload()
    else:
        recode(collection, new=new, old=old)
    collection.add(range(100, COUNT), dense=new[100:])
    opened = Collection.open("coded", engine)
    assert opened.recipe == collection.recipe
    assert (opened.recipe.dense["dense"].dim, opened.info().versions["dense"].model) == (DIM + 6, 2)
    first = [opened.search(dense=vector, limit=1)[0].id for vector in new]
    assert np.mean([found == i for i, found in enumerate(first[:100])]) > 0.6
    assert np.mean([found == i for i, found in enumerate(first[100:], 100)]) > 0.9
    with pytest.raises(InvalidArgumentError, match="dense"):
        opened.search(dense=old[0])


@pytest.mark.parametrize("engine_name", ["edge", "server"], indirect=True)
@pytest.mark.parametrize("killed", [False, True])
def test_handles_follow_new_codes(engine: Engine, killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIM + 6, DIM + 6)))[0][:DIM]
    old, new = DOCUMENTS, (DOCUMENTS @ turn).astype(np.float32)
    collection = Collection.create("coded", signs_recipe(), engine, sample=Sample(dense=old))
    collection.add(range(100), dense=old[:100])
    reader, writer, late = (Collection.open("coded", engine) for _ in range(3))
    if killed:
        killed_before_last_note(monkeypatch, lambda: recode(collection, new=new, old=old))
    else:
        recode(collection, new=new, old=old)
    with pytest.raises(InvalidArgumentError, match=r"^dense"):
        writer.add([100], dense=old[100:101])
    late.add(range(100, COUNT), dense=new[100:])
    assert reader.search(dense=new[140], limit=1)[0].id == 140
    with pytest.raises(InvalidArgumentError, match=r"^dense"):
        reader.search(dense=old[0])
    for handle in (writer, late, collection):
        assert handle.search(dense=new[140]) == reader.search(dense=new[140])
    assert collection.count() == COUNT


async def _recoded(engine: Engine, new: Any, old: Any) -> None:
    await asyncio.to_thread(recode, "coded", new=new, old=old, engine=engine)


def test_only_codes_that_two_models_can_share_are_recoded(edge_client: EdgeClient) -> None:
    pytest.importorskip("torch")
    exact = Collection.create("exact", signs_recipe(queries="exact"), edge_client)
    with pytest.raises(InvalidArgumentError, match="queries"):
        recode(exact, new=DOCUMENTS, old=DOCUMENTS)
    with pytest.raises(InvalidArgumentError, match="signs"):
        recode(Collection.create("plain", recipe(), edge_client), new=DOCUMENTS, old=DOCUMENTS)
    empty = Collection.create("empty", signs_recipe(), edge_client)
    with pytest.raises(NotFittedError, match="empty"):
        recode(empty, new=DOCUMENTS, old=DOCUMENTS)
