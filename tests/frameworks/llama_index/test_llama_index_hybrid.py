"""Hybrid collections of LlamaIndex's own store: searched, extended and migrated with nothing lost."""

from __future__ import annotations

import pickle
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from llama_index.vector_stores.qdrant import QdrantVectorStore
from llama_index_embplug import EmbplugVectorStore
from llama_index_embplug.sparse import SparseFunctions
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Recipe, Sparse, migrate, register_encoder
from embplug.errors import InvalidArgumentError
from tests.words import Words

pytestmark = pytest.mark.parametrize("engine_path", ["memory", "rest", "grpc"], indirect=True)

DIM = 4
WORDS = ["apple", "pear", "plum", "cherry", "quince"]


def weights(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
    """A weight for each word of a text, by the hash of the word."""
    rows = [
        {zlib.crc32(word.encode()): 1 + len(word) / 4 for word in re.findall(r"\w+", text)} for text in texts
    ]
    return [[*row] for row in rows], [[*row.values()] for row in rows]


def node(i: int) -> TextNode:
    angle = i / 4
    related = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"source{i}")}
    return TextNode(
        id_=f"00000000-0000-4000-8000-{i:012}",
        text=f"the {WORDS[i]} is number n{i}",
        metadata={"n": i, "list": [1, "a"]},
        embedding=[np.cos(angle), np.sin(angle), 0.25, 0.0],
        relationships=related,
    )


def filled(client: QdrantClient, **options: Any) -> QdrantVectorStore:
    """The collection as LlamaIndex's own store makes and fills it."""
    store = QdrantVectorStore(
        "docs", client, enable_hybrid=True, sparse_doc_fn=weights, sparse_query_fn=weights, **options
    )
    store.add([node(i) for i in range(4)])
    return store


def query(word: str, mode: str, i: int = 0, **options: Any) -> VectorStoreQuery:
    embedding = node(i).embedding
    return VectorStoreQuery(
        query_str=word, query_embedding=embedding, mode=VectorStoreQueryMode(mode), **options
    )


def points(client: QdrantClient, name: str = "docs") -> dict[Any, models.Record]:
    records, _ = client.scroll(name, limit=100, with_vectors=True)
    return {record.id: record for record in records}


@pytest.mark.parametrize("name", [None, "text-sparse", "words"])
def test_a_hybrid_collection_is_searched_by_both_vectors(client: Any, name: str | None) -> None:
    theirs = filled(client, **({} if name is None else {"sparse_vector_name": name}))
    ours = EmbplugVectorStore("docs", client, sparse_doc_fn=weights)
    for word in WORDS[:4]:
        expected = theirs.query(query(word, "sparse", similarity_top_k=1))
        got = ours.query(query(word, "sparse", similarity_top_k=1))
        assert got.ids == expected.ids
        assert got.similarities == pytest.approx(expected.similarities, rel=1e-5)
        assert got.nodes[0].get_content() == expected.nodes[0].get_content()
        assert got.nodes[0].metadata == expected.nodes[0].metadata
    both = ours.query(query("cherry", "hybrid", i=0, similarity_top_k=4), with_stages=True)
    stages = {id_: own.metadata["_stages"] for id_, own in zip(both.ids, both.nodes, strict=True)}
    assert {"text-dense", "sparse"} <= {*stages[node(3).node_id]}
    for alpha, best in ((0.05, 3), (0.95, 0)):
        weighed = ours.query(query("cherry", "hybrid", i=0, similarity_top_k=4, alpha=alpha))
        assert weighed.ids[0] == node(best).node_id
    assert ours.query(query("cherry", "default", i=1)).ids[0] == node(1).node_id


async def test_nodes_that_are_added_become_points_as_theirs(client: Any) -> None:
    theirs = filled(client)
    ours = EmbplugVectorStore("docs", client, sparse_doc_fn=weights, sparse_query_fn=weights)
    theirs.add([node(4)])
    expected = points(client)[node(4).node_id]
    ours.delete_nodes([node(4).node_id])
    for add in (ours.add, ours.async_add):
        done = add([node(4)])
        assert (done if isinstance(done, list) else await done) == [node(4).node_id]
        got = points(client)[node(4).node_id]
        assert got.payload == expected.payload
        assert {*got.vector} == {"text-dense", "text-sparse-new"}
        for name in ("indices", "values"):
            own = getattr(expected.vector["text-sparse-new"], name)
            assert getattr(got.vector["text-sparse-new"], name) == pytest.approx(own, rel=1e-6)
        np.testing.assert_allclose(got.vector["text-dense"], expected.vector["text-dense"], rtol=1e-6)
        assert theirs.query(query("quince", "sparse", similarity_top_k=1)).ids == [node(4).node_id]
        assert (await ours.aquery(query("quince", "sparse", similarity_top_k=1))).ids == [node(4).node_id]
        ours.delete_nodes([node(4).node_id])


def test_without_a_model_it_is_said_what_to_pass(client: Any) -> None:
    filled(client)
    ours = EmbplugVectorStore("docs", client)
    with pytest.warns(UserWarning, match=r"text-sparse-new.*sparse_doc_fn or fastembed_sparse_model"):
        ours.add([node(4)])
    assert {*points(client)[node(4).node_id].vector} == {"text-dense"}
    for mode in ("hybrid", "sparse"):
        with pytest.raises(InvalidArgumentError, match=r"^query\.mode: .*sparse_doc_fn.*got a store without"):
            ours.query(query("plum", mode))
    assert ours.query(query("plum", "default", i=2)).ids[0] == node(2).node_id


def test_a_migration_loses_nothing(client: Any) -> None:
    filled(client)
    before = points(client)
    report = migrate(
        "docs", "small", Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned")), engine=client
    )
    assert report.copied == 4
    after = points(client, "small")
    assert after.keys() == before.keys()
    for id_, record in before.items():
        payload = {key: value for key, value in after[id_].payload.items() if not key.startswith("_embplug_")}
        assert payload == record.payload
        np.testing.assert_allclose(after[id_].vector["dense"], record.vector["text-dense"], rtol=1e-5)
        stored, source = after[id_].vector["sparse"], record.vector["text-sparse-new"]
        pairs = [dict(zip(own.indices, own.values, strict=True)) for own in (stored, source)]
        assert pairs[0] == pytest.approx(pairs[1], rel=1e-6)
    ours = EmbplugVectorStore("small", client, sparse_doc_fn=weights)
    assert ours.query(query("cherry", "sparse", similarity_top_k=1)).ids == [node(3).node_id]
    ours.add([node(4)])
    assert ours.query(query("quince", "hybrid", i=4)).ids[0] == node(4).node_id
    assert [own.metadata for own in ours.get_nodes([node(4).node_id])] == [node(4).metadata]


def test_a_new_collection_stores_the_weights_too(client: Any) -> None:
    ours = EmbplugVectorStore("new", client, sparse_doc_fn=weights)
    ours.add([node(i) for i in range(4)])
    assert ours.query(query("plum", "sparse", similarity_top_k=1)).ids == [node(2).node_id]
    recipe = Collection.open("new", client).recipe
    assert recipe.sparse == Sparse(kind="learned")
    without = EmbplugVectorStore("new", client)
    with pytest.raises(InvalidArgumentError, match=r"^query\.mode: .*sparse_doc_fn"):
        without.query(query("plum", "sparse"))
    with pytest.raises(InvalidArgumentError, match=r"^sparse_doc_fn: .*fastembed_sparse_model"):
        without.add([node(4)])
    assert without.query(query("plum", "default", i=2)).ids[0] == node(2).node_id


def test_a_model_of_fastembed_is_loaded_by_its_name(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def load(name: str) -> SparseFunctions:
        names.append(name)
        return SparseFunctions(weights, weights)

    monkeypatch.setattr("llama_index_embplug.sparse.load_encoder", load)
    filled(client)
    ours = EmbplugVectorStore("docs", client, fastembed_sparse_model="owner/model")
    assert names == ["fastembed:owner/model"] and ours.to_dict()["fastembed_sparse_model"] == "owner/model"
    assert ours.query(query("plum", "sparse", similarity_top_k=1)).ids == [node(2).node_id]


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"sparse_doc_fn": 7}, "sparse_doc_fn"),
        ({"sparse_query_fn": weights}, "sparse_doc_fn"),
        ({"sparse_doc_fn": weights, "fastembed_sparse_model": "a/b"}, "fastembed_sparse_model"),
        ({"fastembed_sparse_model": "no/such"}, "fastembed_sparse_model"),
        ({"fastembed_sparse_model": ""}, "fastembed_sparse_model"),
        ({"sparse_doc_fn": weights, "sparse_vector_name": "absent"}, "sparse_vector_name"),
        ({"vector_name": "absent"}, "vector_name"),
    ],
)
def test_wrong_arguments_are_named(client: Any, options: dict[str, Any], argument: str) -> None:
    filled(client)
    with pytest.raises(InvalidArgumentError) as raised:
        EmbplugVectorStore("docs", client, **options)
    assert raised.value.argument == argument


RETURNED: list[Any] = [
    None,
    ([[1]],),
    ([[1]], [[1.0], [2.0]]),
    ([[1, 1]], [[1.0, 2.0]]),
    ([[-1]], [[1.0]]),
    ([], []),
]


@pytest.mark.parametrize("returned", RETURNED)
def test_what_a_function_returns_is_checked(client: Any, returned: Any) -> None:
    filled(client)
    ours = EmbplugVectorStore("docs", client, sparse_doc_fn=weights, sparse_query_fn=lambda texts: returned)
    with pytest.raises(InvalidArgumentError, match=r"^sparse_query_fn"):
        ours.query(query("plum", "sparse"))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (Recipe(dense=Dense(dim=DIM)), "unless the recipe has"),
        (Recipe(dense=Dense(dim=DIM), sparse=Sparse(average_length=3.0)), "unless the recipe has"),
        (Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned", encoder="minilm")), "names the model"),
        (
            Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"), encoder="wordless"),
            "nothing beside an encoder",
        ),
    ],
)
def test_recipes_without_a_place_for_a_model_refuse_it(client: Any, recipe: Recipe, said: str) -> None:
    register_encoder("wordless", Words)
    Collection.create("docs", recipe, client)
    with pytest.raises(InvalidArgumentError, match=rf"^sparse_doc_fn: .*{said}"):
        EmbplugVectorStore("docs", client, sparse_doc_fn=weights)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": Words()},
        {"recipe": Recipe(dense=Dense(dim=DIM))},
        {"recipe": Recipe(dense=Dense(dim=DIM), sparse=Sparse())},
        {"recipe": Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned")), "encoder": Words()},
    ],
)
def test_a_store_that_refuses_a_model_creates_no_collection(client: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^sparse_doc_fn: "):
        EmbplugVectorStore("new", client, sparse_doc_fn=weights, **options)
    assert not client.collection_exists("new")


async def test_a_model_that_the_recipe_names_stands_beside_an_encoder(client: Any) -> None:
    register_encoder("words", Words)
    register_encoder(SparseFunctions.spec, lambda: pytest.fail("the model of the store is not taken"))
    sparse = Sparse(kind="learned", encoder=SparseFunctions.spec)
    recipe = Recipe(dense=Dense(dim=32), sparse=sparse, encoder="words")
    store = EmbplugVectorStore("new", client, recipe=recipe, sparse_doc_fn=weights)
    nodes = [TextNode(id_=str(i), text=f"the {word}") for i, word in enumerate(WORDS)]
    store.add(nodes[:3])
    await store.async_add(nodes[3:])
    for mode in ("sparse", "hybrid", "default"):
        own = VectorStoreQuery(query_str="the cherry", similarity_top_k=1, mode=VectorStoreQueryMode(mode))
        assert store.query(own).ids == (await store.aquery(own)).ids == ["3"]


def test_a_model_of_sparse_vectors_makes_no_embeddings(client: Any) -> None:
    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"))
    store = EmbplugVectorStore("new", client, recipe=recipe, sparse_doc_fn=weights)
    with pytest.raises(InvalidArgumentError, match=r"^nodes\[0\]\.embedding: "):
        store.add([TextNode(text="the plum")])


def test_a_store_keeps_its_functions_when_it_is_pickled(client: Any, tmp_path: Path) -> None:
    store = EmbplugVectorStore("docs", path=tmp_path / "edge", sparse_doc_fn=weights)
    store.add([node(i) for i in range(4)])
    pickled = pickle.dumps(store)
    store.client.close()
    again = pickle.loads(pickled)
    assert again.query(query("plum", "sparse", similarity_top_k=1)).ids == [node(2).node_id]
    again.client.close()
