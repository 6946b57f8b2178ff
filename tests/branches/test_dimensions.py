"""A dimension that does not fit is named when a collection or store is opened, where it is known."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore
from qdrant_client import models

from embplug import AsyncCollection, Collection, Dense, Recipe, Sparse, Tokens, connect_async
from embplug.encoders.info import EncoderInfo
from embplug.errors import DimensionError
from tests.branches.parts import DIM, RecordingEncoder


class DeclaringEncoder(RecordingEncoder):
    """Says what it makes, and encodes nothing before it has to."""

    def __init__(self, token_dim: int | None, dense_dim: int | None) -> None:
        super().__init__()
        self.info = EncoderInfo(("tokens", "dense"), token_dim, dense_dim)


def test_collections_name_it_when_they_are_created_and_opened(memory_client: Any) -> None:
    recipe = Recipe(dense=Dense(dim=DIM))
    wrong, right = DeclaringEncoder(None, DIM + 1), DeclaringEncoder(None, DIM)
    said = rf"^encoder: expected {DIM} dimensions for dense\.dense, got {DIM + 1} .* from 'recording'"
    with pytest.raises(DimensionError, match=said):
        Collection.create("docs", recipe, memory_client, encoder=wrong)
    assert not memory_client.collection_exists("docs")
    docs = Collection.create("docs", recipe, memory_client, encoder=right)
    for other in (wrong, "minilm"):
        with pytest.raises(DimensionError, match=rf"^encoder: expected {DIM} dimensions"):
            Collection.open("docs", memory_client, encoder=other)
        with pytest.raises(DimensionError, match=rf"^encoder: expected {DIM} dimensions"):
            docs.reload(encoder=other)
    assert right.calls == wrong.calls == []
    Collection.open("docs", memory_client, encoder=right)
    with pytest.raises(DimensionError, match=r"got 384 for dense\.dense from 'minilm'"):
        Collection.create("named", recipe.replaced(encoder="minilm"), memory_client)
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    memory_client.create_collection("plain", vectors_config=params)
    with pytest.raises(DimensionError, match=said):
        Collection.open_plain("plain", memory_client, encoder=wrong)


async def test_awaited_collections_name_it_alike() -> None:
    client = await connect_async(":memory:")
    recipe = Recipe(tokens=Tokens(dim=DIM))
    await AsyncCollection.create("docs", recipe, client, encoder=DeclaringEncoder(DIM, None))
    with pytest.raises(DimensionError, match=rf"^encoder: expected {DIM} dimensions for tokens, got 4"):
        await AsyncCollection.open("docs", client, encoder=DeclaringEncoder(4, None))


def test_vectors_that_the_user_passes_may_have_another_dimension(memory_client: Any) -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM), dense=Dense(dim=2), sparse=Sparse())
    Collection.create("docs", recipe, memory_client, encoder=DeclaringEncoder(DIM, 4))
    with pytest.raises(DimensionError, match=r"2 dimensions for dense\.dense"):
        Collection.create("other", recipe, memory_client, encoder=DeclaringEncoder(4, 4))
    words = Recipe(sparse=Sparse(), dense=Dense(dim=2))
    Collection.create("words", words, memory_client, encoder=DeclaringEncoder(4, None))


def test_stores_name_it_when_they_are_opened(memory_client: Any) -> None:
    LangChainStore(memory_client, "docs", DeterministicFakeEmbedding(size=DIM)).add_texts(["a 1"])
    said = rf"^embedding: expected embeddings of {DIM} dimensions, .* 'dense', got 5"
    with pytest.raises(DimensionError, match=said):
        LangChainStore(memory_client, "docs", DeterministicFakeEmbedding(size=5))
    with pytest.raises(DimensionError, match=said):
        LangChainStore.from_existing_collection(
            "docs", DeterministicFakeEmbedding(size=5), client=memory_client
        )
    with pytest.raises(DimensionError, match=said):
        LangChainStore.from_texts(
            ["a 2"], DeterministicFakeEmbedding(size=5), client=memory_client, collection_name="docs"
        )
    with pytest.raises(DimensionError, match=r"^encoder: "):
        LangChainStore(memory_client, "docs", DeclaringEncoder(None, 5))
    with pytest.raises(DimensionError, match=r"^encoder: "):
        LlamaIndexStore("docs", memory_client, encoder=DeclaringEncoder(None, 5))


def test_a_store_opens_while_the_service_of_its_embeddings_is_away(memory_client: Any) -> None:
    LangChainStore(memory_client, "docs", DeterministicFakeEmbedding(size=DIM)).add_texts(["a"], ids=["1"])

    class Away(DeterministicFakeEmbedding):
        def embed_query(self, text: str) -> list[float]:
            raise ConnectionError("away")

    assert LangChainStore(memory_client, "docs", Away(size=DIM)).get_by_ids(["1"])[0].page_content == "a"
