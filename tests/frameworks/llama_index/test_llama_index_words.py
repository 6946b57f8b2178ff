"""What LlamaIndex's own components ask of a store: queries without a text, nodes without embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from llama_index.core import Document, MockEmbedding, Settings, StorageContext, VectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery
from llama_index_embplug import EmbplugEmbedding, EmbplugIngestionPipeline, EmbplugVectorStore
from llama_index_embplug.embeddings import DefaultEmbedding

from embplug import Dense, Encoded, Recipe, Sparse
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from tests.frameworks.conftest import DIM, ENCODER, TOKENS_RECIPE
from tests.frameworks.llama_index.llama_index_suite import (
    BLUE,
    GREEN,
    RED,
    TEXTS,
    embed,
    filters,
    ids_of,
    node,
    three,
    where,
)


@pytest.fixture
def store(engine: Engine) -> EmbplugVectorStore:
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)
    store.add(three())
    return store


@pytest.fixture(params=["tokens", "dense"])
def either(request: pytest.FixtureRequest, engine: Engine) -> EmbplugVectorStore:
    """A store of tokens, and one of embeddings and BM25."""
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)
    if request.param == "dense":
        store = EmbplugVectorStore("dense", engine, recipe=Recipe(dense=Dense(dim=DIM), sparse=Sparse()))
    store.add(three())
    return store


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No embedding model is set, as when a program begins."""
    monkeypatch.setattr(Settings, "_embed_model", None)
    monkeypatch.delenv("IS_TESTING", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.mark.parametrize("text", [None, "", "  "])
async def test_filters_alone_choose_nodes(either: EmbplugVectorStore, text: str | None) -> None:
    store = either
    for condition, expected in [
        (filters(where("year", ">", 2019)), {GREEN, BLUE}),
        (filters(where("year", "==", 2019)), {RED}),
    ]:
        query = VectorStoreQuery(query_str=text, filters=condition, similarity_top_k=5)
        for result in (store.query(query), await store.aquery(query)):
            assert {*ids_of(result)} == expected and result.similarities is None
            assert {item.get_content() for item in result.nodes} == {TEXTS[id_] for id_ in expected}


def test_an_empty_text_returns_as_many_nodes_as_it_says(either: EmbplugVectorStore) -> None:
    assert len(ids_of(either.query(VectorStoreQuery(query_str="", similarity_top_k=2)))) == 2
    with pytest.raises(ValueError, match="query"):
        either.query(VectorStoreQuery(similarity_top_k=2))


async def test_an_index_on_a_store_of_tokens_needs_no_model(
    store: EmbplugVectorStore, no_model: None
) -> None:
    again = EmbplugVectorStore("docs", store.client, encoder=ENCODER)
    retriever = VectorStoreIndex.from_vector_store(again).as_retriever(similarity_top_k=1)
    for results in (retriever.retrieve(TEXTS[BLUE]), await retriever.aretrieve(TEXTS[BLUE])):
        assert [item.node.node_id for item in results] == [BLUE]
    assert isinstance(Settings.embed_model, DefaultEmbedding)


def test_the_default_model_is_loaded_when_something_is_embedded(
    memory_client: Engine, no_model: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    EmbplugVectorStore("docs", memory_client, encoder=ENCODER, recipe=TOKENS_RECIPE)
    with pytest.raises(InvalidArgumentError, match="embed_model"):
        Settings.embed_model.get_text_embedding("a")
    default = MockEmbedding(embed_dim=3)
    monkeypatch.setattr("llama_index_embplug.embeddings.resolve_embed_model", lambda name: default)
    assert Settings.embed_model.get_text_embedding("a") == default.get_text_embedding("a")
    assert Settings.embed_model.get_query_embedding("a") == default.get_query_embedding("a")


def test_a_model_that_is_set_stays(memory_client: Engine, no_model: None) -> None:
    Settings.embed_model = MockEmbedding(embed_dim=2)
    EmbplugVectorStore("docs", memory_client, encoder=ENCODER, recipe=TOKENS_RECIPE)
    assert isinstance(Settings.embed_model, MockEmbedding)


async def test_a_pipeline_stores_nodes_that_nothing_has_embedded(engine: Engine) -> None:
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)
    pipeline = EmbplugIngestionPipeline(transformations=[], vector_store=store)
    documents = [Document(text=text, id_=id_) for id_, text in TEXTS.items()]
    assert len(pipeline.run(documents=documents[:2])) == 2
    assert len(await pipeline.arun(documents=documents[2:])) == 1
    assert store.collection.count() == 3


async def test_a_pipeline_never_reports_nodes_that_are_not_stored(memory_client: Engine) -> None:
    store = EmbplugVectorStore("docs", memory_client, recipe=Recipe(dense=Dense(dim=DIM)))
    pipeline = EmbplugIngestionPipeline(transformations=[], vector_store=store)
    with pytest.raises(InvalidArgumentError, match=r"nodes\[0\]\.embedding"):
        pipeline.run(documents=[Document(text="a")])
    with pytest.raises(InvalidArgumentError, match=r"nodes\[0\]\.embedding"):
        await pipeline.arun(documents=[Document(text="a")])
    nodes = [TextNode(text="a", embedding=embed("a")), TextNode(text="b")]
    with pytest.raises(InvalidArgumentError, match=r"nodes\[0\]\.embedding"):
        EmbplugIngestionPipeline(transformations=[], vector_store=store).run(nodes=nodes)


async def test_what_the_own_pipeline_of_llama_index_drops_is_stored(engine: Engine) -> None:
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)
    own = IngestionPipeline(transformations=[], vector_store=store)
    documents = [Document(text=text, id_=id_) for id_, text in TEXTS.items()]
    assert len(own.run(documents=documents[:2])) == store.collection.count() == 2
    assert len(await own.arun(documents=documents[2:])) == 1
    assert store.collection.count() == 3


async def test_what_the_own_pipeline_drops_and_nothing_can_embed_is_logged(
    memory_client: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    store = EmbplugVectorStore("docs", memory_client, recipe=Recipe(dense=Dense(dim=DIM)))
    own = IngestionPipeline(transformations=[], vector_store=store)
    own.run(documents=[Document(text="a"), Document(text="b")])
    await own.arun(documents=[Document(text="a"), Document(text="b")])
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert all("left 2 nodes" in text and "nodes[0].embedding" in text for text in caplog.messages)
    assert store.collection.count() == 0


async def test_of_an_id_that_comes_twice_the_last_node_is_kept(engine: Engine) -> None:
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE, batch_size=2)
    nodes = [node(f"text {i}", f"id {i % 4}") for i in range(6)]
    ids = [f"id {i % 4}" for i in range(6)]
    assert store.add(nodes) == ids and await store.async_add(nodes) == ids
    stored = store.get_nodes([f"id {i}" for i in range(4)])
    assert [item.get_content() for item in stored] == ["text 4", "text 5", "text 2", "text 3"]
    assert store.collection.count() == 4


def test_an_index_of_nodes_with_the_same_id(engine: Engine) -> None:
    store = EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)
    context = StorageContext.from_defaults(vector_store=store)
    model = MockEmbedding(embed_dim=1)
    VectorStoreIndex([node("a", "1"), node("b", "1")], storage_context=context, embed_model=model)
    assert [item.get_content() for item in store.get_nodes()] == ["b"]


class TwoNumbers:
    """An encoder of dense vectors: the length of a text, and 1 for a query."""

    spec = "two-numbers"

    def encode_documents(self, texts: Any) -> Encoded:
        return Encoded(dense=np.array([[len(text), 0] for text in texts], np.float32))

    def encode_queries(self, texts: Any) -> Encoded:
        return Encoded(dense=np.array([[len(text), 1] for text in texts], np.float32))


async def test_an_encoder_is_an_embedding_model() -> None:
    model = EmbplugEmbedding(TwoNumbers(), embed_batch_size=2)
    assert model.get_text_embedding_batch(["a", "bc", "def"]) == [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]
    assert await model.aget_text_embedding_batch(["a", "bc"]) == [[1.0, 0.0], [2.0, 0.0]]
    assert model.get_query_embedding("abc") == await model.aget_query_embedding("abc") == [3.0, 1.0]
    assert model.get_text_embedding("abc") == await model.aget_text_embedding("abc") == [3.0, 0.0]
    assert model.model_name == "two-numbers" and model.to_dict()["encoder"] == "two-numbers"
    with pytest.raises(InvalidArgumentError, match="dense vectors"):
        EmbplugEmbedding(ENCODER).get_text_embedding("a")
    with pytest.raises(InvalidArgumentError, match="encoder"):
        EmbplugEmbedding(3)  # type: ignore[arg-type]
