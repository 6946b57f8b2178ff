"""Transforms, funnels and originals of dense vectors, on each engine in turn."""

from __future__ import annotations

import numpy as np
import pytest

from embplug import Collection, Dense, Recipe, Rerank, Sample, models
from embplug.errors import DimensionError, InvalidArgumentError, NotFittedError, RecipeError
from embplug.methods import PCA, ITQRotation, LearnedTruncation, Rotation, SparseRandomProjection, Truncation
from embplug.methods.numeric.rows import unit_rows

DIM = 24


def vectors(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spread = (
        np.linalg.qr(np.random.default_rng(9).standard_normal((DIM, DIM)))[0]
        * np.geomspace(2, 0.1, DIM)[:, None]
    )
    return (rng.standard_normal((count, DIM)) @ spread + 0.3).astype(np.float32)


DOCUMENTS = vectors(120)
QUERIES = vectors(6, seed=1)
COSINES = unit_rows(QUERIES) @ unit_rows(DOCUMENTS).T


def best(query: int, count: int = 5) -> list[int]:
    return np.argsort(-COSINES[query], kind="stable")[:count].tolist()


def filled(engine, recipe: Recipe) -> Collection:
    collection = Collection.create("dense", recipe, engine)
    payloads = [{"even": i % 2 == 0} for i in range(len(DOCUMENTS))]
    collection.add(range(len(DOCUMENTS)), dense=DOCUMENTS, payloads=payloads)
    return collection


@pytest.mark.parametrize(
    "transforms", [[Rotation()], [PCA()], [PCA(), Rotation(seed=4)], [PCA(whiten="documents")]], ids=repr
)
def test_transforms_that_lose_nothing_rank_by_the_cosine(engine, transforms) -> None:
    collection = filled(engine, Recipe(dense=Dense(dim=DIM, transforms=transforms)))
    for i, query in enumerate(QUERIES):
        assert [hit.id for hit in collection.search(dense=query, limit=5)] == best(i)


def test_a_collection_with_learned_transforms_is_opened_by_name(engine) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6), Rotation()]))
    before = filled(engine, recipe).search(dense=QUERIES[0], limit=5)
    opened = Collection.open("dense", engine)
    assert opened.recipe == recipe
    assert opened.search(dense=QUERIES[0], limit=5) == before
    assert opened.info().vectors["dense"]["size"] == 6
    assert opened.info().state_bytes > 0


def test_the_original_on_disk_ranks_the_candidates(engine) -> None:
    dense = Dense(dim=DIM, transforms=[PCA(4)], keep_original="disk")
    collection = filled(engine, Recipe(dense=dense, rerank=Rerank(candidates=60)))
    assert collection.info().vectors["dense_original"]["on_disk"]
    for i, query in enumerate(QUERIES):
        hits = collection.search(dense=query, limit=5, with_stages=True)
        assert [hit.id for hit in hits] == best(i)
        np.testing.assert_allclose([hit.score for hit in hits], COSINES[i, best(i)], atol=1e-5)
        assert all(set(hit.stages or ()) == {"dense", "dense_original"} for hit in hits)
        assert [hit.id for hit in collection.search(dense=query, limit=5, exact=True)] == best(i)


def test_few_candidates_are_those_of_the_small_vector(engine) -> None:
    dense = Dense(dim=DIM, transforms=[PCA(4)], keep_original="disk")
    collection = filled(engine, Recipe(dense=dense))
    pca = PCA(4).fit(unit_rows(DOCUMENTS))
    small = pca.transform_query(unit_rows(QUERIES[:1])) @ pca.transform(unit_rows(DOCUMENTS)).T
    hits = collection.search(dense=QUERIES[0], limit=8, candidates=8)
    assert {hit.id for hit in hits} == set(np.argsort(-small[0], kind="stable")[:8].tolist())


def test_a_funnel_searches_the_shortest_prefix_and_ranks_in_longer_ones(engine) -> None:
    dense = Dense(dim=DIM, transforms=[PCA(16)], funnel=[4, 8], keep_original="disk")
    collection = filled(engine, Recipe(dense=dense, rerank=Rerank(candidates=30)))
    sizes = {name: parameters["size"] for name, parameters in collection.info().vectors.items()}
    assert sizes == {"dense_4": 4, "dense_8": 8, "dense": 16, "dense_original": DIM}
    for i, query in enumerate(QUERIES):
        hits = collection.search(dense=query, limit=5, with_stages=True)
        assert [hit.id for hit in hits] == best(i)
        assert all(set(hit.stages or ()) == set(sizes) for hit in hits)


def test_a_filter_holds_through_all_stages(engine) -> None:
    dense = Dense(dim=DIM, transforms=[PCA(8)], funnel=[4], keep_original="disk")
    recipe = Recipe(dense=dense, payload_indexes={"even": "bool"})
    collection = filled(engine, recipe)
    even = models.Filter(must=[models.FieldCondition(key="even", match=models.MatchValue(value=True))])
    hits = collection.search(dense=QUERIES[0], limit=5, filter=even)
    assert [hit.id for hit in hits] == [i for i in best(0, 120) if i % 2 == 0][:5]


def test_prefixes_of_a_model_that_was_trained_for_it_need_no_transform(engine) -> None:
    collection = filled(engine, Recipe(dense=Dense(dim=DIM, funnel=[12]), rerank=Rerank(candidates=120)))
    assert [hit.id for hit in collection.search(dense=QUERIES[0], limit=5)] == best(0)


def test_transforms_learn_from_a_sample_that_is_given(edge_client) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6)]))
    collection = Collection.create("dense", recipe, edge_client, sample=Sample(dense=DOCUMENTS))
    assert collection.info().fitted
    with pytest.raises(InvalidArgumentError, match="sample"):
        two = Recipe(dense={"a": recipe.dense["dense"], "b": recipe.dense["dense"]})
        Collection.create("two", two, edge_client, sample=Sample(dense={"a": DOCUMENTS}))


def test_a_search_before_anything_was_learned_says_so(edge_client) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6)]))
    with pytest.raises(NotFittedError):
        Collection.create("dense", recipe, edge_client).search(dense=QUERIES[0])


def test_a_recipe_with_transforms_survives_yaml() -> None:
    transforms = [PCA(16, whiten="documents"), Rotation(seed=3), SparseRandomProjection(12), Truncation(8)]
    dense = Dense(dim=DIM, transforms=transforms, funnel=[4], keep_original="disk")
    recipe = Recipe(dense=dense)
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.dense["dense"].stored_dim == 8


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"transforms": [PCA(25)]}, "dense.transforms"),
        ({"transforms": [PCA(8), Truncation(9)]}, "dense.transforms"),
        ({"transforms": [{"kind": "pca", "dims": 8}]}, "dense.transforms.0.dims"),
        ({"transforms": [{"kind": "unknown"}]}, "dense.transforms.0"),
        ({"transforms": [PCA(8)], "distance": models.Distance.EUCLID}, "dense.distance"),
        ({"funnel": [24]}, "dense.funnel"),
        ({"funnel": [8, 4]}, "dense.funnel"),
        ({"keep_original": "disk"}, "dense.keep_original"),
        ({"transforms": [PCA(8)], "datatype": "uint8"}, "dense.datatype"),
    ],
)
def test_contradictions_are_named(fields: dict, field: str) -> None:
    with pytest.raises(RecipeError) as raised:
        Recipe(dense={"dense": {"dim": DIM, **fields}})
    assert raised.value.argument.removeprefix("dense.") == field


def test_names_of_prefixes_and_other_vectors_do_not_meet() -> None:
    with pytest.raises(RecipeError, match="a_8"):
        Recipe(dense={"a": Dense(dim=DIM, funnel=[8]), "a_8": Dense(dim=8)})


def test_learned_truncation_is_compared_by_cosine() -> None:
    dense = Dense(dim=DIM, transforms=[LearnedTruncation(8)])
    assert dense.stored_distance == models.Distance.COSINE
    assert Dense(dim=DIM, transforms=[PCA(8)]).stored_distance == models.Distance.DOT


def test_bytes_are_for_vectors_of_bytes(engine) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, datatype="uint8"))
    collection = Collection.create("bytes", recipe, engine)
    byte_vectors = np.random.default_rng(2).integers(0, 256, (50, DIM)).astype(np.float32)
    with pytest.raises(InvalidArgumentError, match=r"dense\[3\].*ScalarQuantization"):
        collection.add(range(4), dense=np.concatenate([byte_vectors[:3], unit_rows(DOCUMENTS[:1])]))
    collection.add(range(50), dense=byte_vectors)
    for query in (unit_rows(byte_vectors)[5], byte_vectors[5] + 0.5, -byte_vectors[5], byte_vectors[5] * 2):
        with pytest.raises(InvalidArgumentError, match=r"^dense: .*0 to 255"):
            collection.search(dense=query)
    cosines = unit_rows(byte_vectors[5:6]) @ unit_rows(byte_vectors).T
    hits = collection.search(dense=byte_vectors[5], limit=3)
    assert [hit.id for hit in hits] == np.argsort(-cosines[0])[:3].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(cosines[0])[::-1][:3], atol=1e-5)


def in_batches(dim: int, **options) -> PCA:
    pca = PCA(dim, **options)
    for batch in np.split(unit_rows(vectors(90, seed=6)), 3):
        pca.partial_fit(batch)
    return pca


def test_what_has_learned_already_is_taken_as_it_is(engine) -> None:
    fitted = in_batches(6)
    collection = Collection.create("dense", Recipe(dense=Dense(dim=DIM, transforms=[fitted])), engine)
    assert collection.info().fitted
    assert collection.search(dense=QUERIES[0]) == []
    collection.add(range(len(DOCUMENTS)), dense=DOCUMENTS)
    small = fitted.transform_query(unit_rows(QUERIES)) @ fitted.transform(unit_rows(DOCUMENTS)).T
    for opened in (collection, Collection.open("dense", engine)):
        hits = opened.search(dense=QUERIES[0], limit=5)
        assert [hit.id for hit in hits] == np.argsort(-small[0], kind="stable")[:5].tolist()
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(small[0])[::-1][:5], atol=1e-4)
    assert collection.recipe.dense["dense"].transforms[0].get_state() == {}


def test_what_has_not_learned_yet_learns_behind_what_has(edge_client) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[in_batches(8), ITQRotation()]))
    collection = Collection.create("dense", recipe, edge_client)
    assert not collection.info().fitted
    collection.add(range(len(DOCUMENTS)), dense=DOCUMENTS)
    small = in_batches(8)
    expected = small.transform_query(unit_rows(QUERIES)) @ small.transform(unit_rows(DOCUMENTS)).T
    hits = collection.search(dense=QUERIES[0], limit=3)
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected[0])[::-1][:3], atol=1e-4)


def test_a_collection_that_learned_nothing_yet_takes_what_is_given_later(edge_client) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6)]))
    Collection.create("dense", recipe, edge_client)
    fitted = Recipe(dense=Dense(dim=DIM, transforms=[in_batches(6)]))
    assert Collection.create("dense", fitted, edge_client).info().fitted
    assert Collection.open("dense", edge_client).search(dense=QUERIES[0]) == []


def test_what_learned_from_other_vectors_is_refused() -> None:
    with pytest.raises(RecipeError, match="transforms"):
        Dense(dim=DIM + 1, transforms=[in_batches(6)])


def test_transforms_learn_from_queries_too(edge_client) -> None:
    pytest.importorskip("torch")
    transforms = [PCA(12), LearnedTruncation(4, steps=5, batch=16)]
    recipe = Recipe(dense=Dense(dim=DIM, transforms=transforms))
    queries = vectors(40, seed=12)
    sample = Sample(dense=DOCUMENTS, dense_queries=queries)
    scores = {}
    for name, learning_sample in (("with", sample), ("without", Sample(dense=DOCUMENTS))):
        collection = Collection.create(name, recipe, edge_client, sample=learning_sample)
        collection.add(range(len(DOCUMENTS)), dense=DOCUMENTS)
        scores[name] = [hit.score for hit in collection.search(dense=QUERIES[0], limit=20)]
    assert scores["with"] != scores["without"]
    pca = PCA(12).fit(unit_rows(DOCUMENTS))
    learned = LearnedTruncation(4, steps=5, batch=16)
    short = pca.transform(unit_rows(DOCUMENTS))
    learned.fit(short, pca.transform_query(unit_rows(queries)))
    query = learned.transform_query(pca.transform_query(unit_rows(QUERIES[:1])))
    expected = np.sort((query @ learned.transform(short).T)[0])[::-1][:20]
    np.testing.assert_allclose(scores["with"], expected, atol=1e-4)
    with pytest.raises(DimensionError, match=r"sample\.dense_queries"):
        Collection.create("wrong", recipe, edge_client, sample=Sample(dense_queries=queries[:, :5]))
