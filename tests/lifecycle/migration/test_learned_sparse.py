"""Sparse vectors of a source are copied: over every protocol, from collections of other libraries too."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langchain_embplug import EmbplugVectorStore
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings
from langchain_qdrant import SparseVector as LangChainSparseVector
from qdrant_client import models

from embplug import Collection, Dense, Encoded, Recipe, Sparse, migrate
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.errors import InvalidArgumentError, NonFiniteError
from embplug.lifecycle.migration.reader import Point, Reader
from embplug.lifecycle.migration.source import documents
from embplug.lifecycle.migration.wire import TERMS, terms
from tests.words import DIM, Words

RECIPE = Recipe(dense=Dense(dim=2), sparse=Sparse(kind="learned"))
COUNT = 60


def weights(text: str) -> dict[int, float]:
    return {zlib.crc32(word.encode()): float(len(word)) for word in text.split()}


TEXTS = [f"alpha{i} beta{i % 7} gamma{i % 11}" for i in range(COUNT)]


def source(engine: Engine, modifier: models.Modifier | None = None) -> None:
    """A collection of another library: point 5 has no sparse vector, point 6 an empty one."""
    create = Call.of(
        "create_collection",
        collection_name="source",
        vectors_config={"v": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={"words": models.SparseVectorParams(modifier=modifier)},
    )
    run(engine, retried(create))
    points = []
    for i, text in enumerate(TEXTS):
        vector: dict[str, Any] = {"v": [float(np.cos(i)), float(np.sin(i))]}
        if i != 5:
            own = {} if i == 6 else weights(text)
            vector["words"] = models.SparseVector(indices=[*own], values=[*own.values()])
        points.append(models.PointStruct(id=i, vector=vector, payload={"text": text}))
    run(engine, retried(Call.of("upsert", collection_name="source", points=points, wait=True)))


def stored_weights(engine: Engine, name: str, vector: str) -> dict[Any, dict[int, float]]:
    points = [point for page in Reader(engine, name, [vector]).pages() for point in page.points]
    return {
        point.id: dict(zip(own["index"].tolist(), own["weight"].tolist(), strict=True))
        for point in points
        if (own := point.vectors.get(vector)) is not None and len(own)
    }


@pytest.mark.parametrize("modifier", [None, models.Modifier.IDF])
def test_weights_and_their_modifier_are_copied_on_every_engine(engine: Engine, modifier: Any) -> None:
    source(engine, modifier)
    rehearsed = migrate("source", "target", RECIPE, engine=engine, dry_run=True, progress=False)
    report = migrate("source", "target", RECIPE, engine=engine, progress=False)
    for measured in (rehearsed, report):
        assert measured.recall is not None and measured.recall.by_vector == {"dense": 1.0, "sparse": 1.0}
        assert not any("not copied" in note for note in measured.notes)
    assert report.vectors == {"dense": "v", "sparse": "words"}
    assert stored_weights(engine, "target", "sparse") == stored_weights(engine, "source", "words")
    assert len(stored_weights(engine, "target", "sparse")) == COUNT - 2
    collection = Collection.open("target", engine)
    assert collection.recipe.sparse == Sparse(kind="learned", modifier=modifier)
    assert collection.search(sparse=weights("alpha17"), branches=["sparse"])[0].id == 17
    collection.add([1000], dense=[[0.6, 0.8]], sparse=[{7: 2.0}])
    assert collection.search(sparse={7: 1.0}, branches=["sparse"])[0].id == 1000


def test_a_recipe_of_weights_alone_copies_them_on_every_engine(engine: Engine) -> None:
    source(engine)
    alone = Recipe(sparse=Sparse(kind="learned"))
    report = migrate("source", "target", alone, engine=engine, progress=False)
    assert report.recall is not None and report.recall.by_vector == {"sparse": 1.0}
    # Times are measured by a dense vector.
    assert report.search_ms == {}
    assert Collection.open("target", engine).search(sparse=weights("alpha17"))[0].id == 17


def test_a_migration_goes_on_where_weights_change(memory_client: Any) -> None:
    source(memory_client)
    migrate("source", "target", RECIPE, engine=memory_client, progress=False)
    changed = models.PointVectors(id=3, vector={"words": models.SparseVector(indices=[9], values=[4.0])})
    memory_client.update_vectors("source", points=[changed])
    report = migrate("source", "target", RECIPE, engine=memory_client, progress=False, finish=True)
    assert report.changed == 1 and stored_weights(memory_client, "target", "sparse")[3] == {9: 4.0}


def test_what_is_left_out_is_said(memory_client: Any) -> None:
    source(memory_client)
    report = migrate("source", "target", Recipe(dense=Dense(dim=2)), engine=memory_client, progress=False)
    assert any("['words'] are not copied" in note for note in report.notes)
    with pytest.raises(InvalidArgumentError, match=r"sparse vectors .*'words'"):
        migrate("source", "other", RECIPE, engine=memory_client, vector={"sparse": "v"}, progress=False)
    with pytest.raises(InvalidArgumentError, match="sparse vectors, which 'target' lacks"):
        migrate("target", "third", RECIPE, engine=memory_client, progress=False)


def test_weights_that_cannot_be_stored_name_their_point() -> None:
    good, bad = terms([1, 2], [1.0, 2.0]), terms([3, 4], [1.0, np.nan])
    assert good.dtype == TERMS
    points = [Point(7, {}, {"w": good}), Point(8, {}, {"w": bad})]
    with pytest.raises(NonFiniteError, match=r"^point 8: .*nan at index 4 in vector 'w'"):
        list(documents(points, {"sparse": "w"}, Recipe(sparse=Sparse(kind="learned")), None))


class WordEmbeddings(Embeddings):
    """The tests' words for LangChain."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        dense = Words().encode_documents(texts).dense
        assert dense is not None
        return dense.tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class WordWeights(SparseEmbeddings):
    """Weights of words for langchain-qdrant."""

    def embed_documents(self, texts: list[str]) -> list[LangChainSparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> LangChainSparseVector:
        own = weights(text)
        return LangChainSparseVector(indices=[*own], values=[*own.values()])


class WordEncoder(Words):
    """The same dense vectors and weights for embplug."""

    spec = "word-encoder"

    def encode_documents(self, texts: Any) -> Encoded:
        import scipy.sparse as sp

        dense = super().encode_documents(texts).dense
        rows = [(row, *pair) for row, text in enumerate(texts) for pair in weights(text).items()]
        row, index, weight = zip(*rows, strict=True)
        shape = (len(texts), 1 << 32)
        return Encoded(dense=dense, sparse=sp.coo_array((weight, (row, index)), shape=shape).tocsr())

    encode_queries = encode_documents


def langchain_store(client: Any) -> QdrantVectorStore:
    return QdrantVectorStore(
        client,
        "hybrid",
        embedding=WordEmbeddings(),
        sparse_embedding=WordWeights(),
        retrieval_mode=RetrievalMode.HYBRID,
        vector_name="dense",
    )


def test_a_hybrid_collection_of_langchain_is_searched_extended_and_migrated(memory_client: Any) -> None:
    memory_client.create_collection(
        "hybrid",
        vectors_config={"dense": models.VectorParams(size=DIM, distance=models.Distance.COSINE)},
        sparse_vectors_config={"langchain-sparse": models.SparseVectorParams()},
    )
    theirs = langchain_store(memory_client)
    theirs.add_texts(TEXTS, ids=[*range(COUNT)])
    expected = [document.page_content for document in theirs.similarity_search("alpha17 gamma6", k=3)]
    assert expected[0] == TEXTS[17]

    plain = Collection.open_plain(
        "hybrid",
        memory_client,
        encoder=WordEncoder(),
        sparse_encoder=WordEncoder(),
        text_key="page_content",
    )
    hits = plain.search(text="alpha17 gamma6", limit=3, with_stages=True)
    assert hits[0].payload is not None and hits[0].payload["page_content"] == TEXTS[17]
    assert hits[0].stages is not None and hits[0].stages.keys() >= {"dense", "sparse"}
    plain.add([500], texts=["omega omicron"])
    found = theirs.similarity_search("omicron", k=1)
    assert [document.page_content for document in found] == ["omega omicron"]
    vector = memory_client.retrieve("hybrid", [500], with_vectors=True)[0].vector
    assert {*vector["langchain-sparse"].indices} == {*weights("omega omicron")}

    ours = EmbplugVectorStore(
        memory_client, "hybrid", WordEmbeddings(), sparse_embedding=WordWeights(), vector_name="dense"
    )
    both = [store.similarity_search("alpha17 gamma6", k=1)[0].page_content for store in (theirs, ours)]
    assert both == [TEXTS[17]] * 2
    ours.add_texts(["lambda mu"], ids=[503])
    assert theirs.similarity_search("mu", k=1)[0].page_content == "lambda mu"
    with pytest.raises(InvalidArgumentError, match=r"^sparse_embedding"):
        EmbplugVectorStore(memory_client, "new", WordEmbeddings(), sparse_embedding=WordWeights())
    memory_client.delete("hybrid", points_selector=[503])

    dense_only = Collection.open_plain(
        "hybrid", memory_client, encoder=WordEncoder(), text_key="page_content"
    )
    with pytest.warns(UserWarning, match="langchain-sparse"):
        dense_only.add([501], texts=["lone words"])
    memory_client.delete("hybrid", points_selector=[501])
    weighted = Collection.open_plain(
        "hybrid", memory_client, sparse_vector="langchain-sparse", text_key="page_content"
    )
    weighted.add([502], dense=np.eye(1, DIM), sparse=[{3: 1.0}])
    assert weighted.search(sparse={3: 1.0}, branches=["sparse"])[0].id == 502
    with pytest.raises(InvalidArgumentError, match=r"^sparse_vector: .*langchain-sparse"):
        Collection.open_plain("hybrid", memory_client, sparse_vector="other")
    with pytest.raises(InvalidArgumentError, match=r"^sparse_vector: .*langchain-sparse"):
        Collection.open_plain("hybrid", memory_client, sparse_vector=["langchain-sparse"])  # type: ignore[arg-type]

    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"), text_key="page_content")
    migrate("hybrid", "small", recipe, engine=memory_client, progress=False)
    copied = stored_weights(memory_client, "small", "sparse")
    assert copied == stored_weights(memory_client, "hybrid", "langchain-sparse")
    assert len(copied) == COUNT + 2
    small = Collection.open("small", memory_client, encoder=WordEncoder())
    again = small.search(text="alpha17 gamma6", limit=3)
    assert [hit.payload["page_content"] for hit in again if hit.payload] == [
        hit.payload["page_content"] for hit in hits if hit.payload
    ]
    small.add([900], texts=["sigma tau"])
    assert small.search(text="tau", branches=["sparse"], limit=1)[0].id == 900


@pytest.mark.parametrize("mode", ["sparse", "hybrid"])
def test_a_recipe_with_learned_weights_takes_the_model_of_langchain(memory_client: Any, mode: str) -> None:
    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"), text_key="page_content")
    Collection.create("docs", recipe, memory_client)
    options = {"sparse_embedding": WordWeights(), "retrieval_mode": mode}
    store = EmbplugVectorStore(memory_client, "docs", WordEmbeddings(), **options)
    store.add_texts(TEXTS, ids=[*range(COUNT)])
    assert store.similarity_search("alpha17 gamma6", k=1)[0].page_content == TEXTS[17]
    assert weights(TEXTS[17]) in stored_weights(memory_client, "docs", "sparse").values()
    Collection.create("bm25", Recipe(dense=Dense(dim=DIM), sparse=Sparse()), memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^sparse_embedding"):
        EmbplugVectorStore(memory_client, "bm25", WordEmbeddings(), **options)
