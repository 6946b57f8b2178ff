"""Haystack's own components on the store: each of them, on every engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from haystack import Document, Pipeline, component
from haystack.components.caching import CacheChecker
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter, HierarchicalDocumentSplitter
from haystack.components.rankers import LostInTheMiddleRanker, MetaFieldRanker
from haystack.components.retrievers import (
    AutoMergingRetriever,
    FilterRetriever,
    MultiQueryTextRetriever,
    MultiRetriever,
    SentenceWindowRetriever,
    TextEmbeddingRetriever,
)
from haystack.components.routers import ConditionalRouter, MetadataRouter
from haystack.components.writers import DocumentWriter
from haystack.document_stores.types import DuplicatePolicy
from haystack.tools import ComponentTool, PipelineTool
from haystack_embplug import (
    EmbplugDocumentStore,
    EmbplugEmbeddingRetriever,
    EmbplugHybridRetriever,
    EmbplugRanker,
    EmbplugTokenRetriever,
)

from embplug import Recipe, Sparse
from embplug.engines import Engine
from tests.frameworks.conftest import DENSE_RECIPE, EMBEDDINGS, ENCODER, TOKENS_RECIPE

TEXTS = ["bees dance for flowers", "ants follow scents", "wasps build nests of paper"]
QUERY = TEXTS[2]
LATE = {"field": "meta.year", "operator": ">=", "value": 2021}


@component
class Embedder:
    """Embeds texts without a model."""

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        return {"embedding": EMBEDDINGS.embed_query(text)}


@component
class DocumentEmbedder:
    """Embeds documents without a model."""

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        vectors = EMBEDDINGS.embed_documents([document.content or "" for document in documents])
        pairs = zip(documents, vectors, strict=True)
        return {"documents": [replace(document, embedding=vector) for document, vector in pairs]}


def documents() -> list[Document]:
    return [Document(id=str(i), content=text, meta={"year": 2020 + i}) for i, text in enumerate(TEXTS)]


@pytest.fixture
def dense(engine: Engine) -> EmbplugDocumentStore:
    """A store of embeddings, filled by a pipeline."""
    store = EmbplugDocumentStore(client=engine, index="dense", recipe=DENSE_RECIPE, progress_bar=False)
    indexing = Pipeline()
    indexing.add_component("embedder", DocumentEmbedder())
    indexing.add_component("writer", DocumentWriter(store, DuplicatePolicy.SKIP))
    indexing.connect("embedder", "writer")
    assert indexing.run({"embedder": {"documents": documents()}})["writer"]["documents_written"] == 3
    assert indexing.run({"embedder": {"documents": documents()}})["writer"]["documents_written"] == 0
    return store


@pytest.fixture
def tokens(engine: Engine) -> EmbplugDocumentStore:
    """A store of tokens and BM25."""
    recipe = Recipe(tokens=TOKENS_RECIPE.tokens, sparse=Sparse())
    store = EmbplugDocumentStore(
        client=engine, index="tokens", encoder=ENCODER, recipe=recipe, progress_bar=False
    )
    store.write_documents(documents())
    return store


def texts(result: dict[str, Any]) -> list[str]:
    return [document.content for document in result["documents"]]


async def both(retriever: Any, **inputs: Any) -> list[str]:
    """Texts that a component returns, waiting and awaited."""
    waiting, awaited = texts(retriever.run(**inputs)), texts(await retriever.run_async(**inputs))
    assert waiting == awaited
    return waiting


async def test_retrievers_on_retrievers(dense: EmbplugDocumentStore, tokens: EmbplugDocumentStore) -> None:
    by_text = TextEmbeddingRetriever(
        retriever=EmbplugEmbeddingRetriever(dense, top_k=1), text_embedder=Embedder()
    )
    by_tokens = EmbplugTokenRetriever(tokens, top_k=1)
    words = EmbplugHybridRetriever(tokens, branches=["sparse"], top_k=1)
    for retriever in (by_text, by_tokens, words):
        assert await both(retriever, query=QUERY) == [QUERY]
    fused = MultiRetriever(retrievers={"dense": by_text, "tokens": by_tokens, "words": words}, top_k=1)
    assert await both(fused, query=QUERY) == [QUERY]
    several = MultiQueryTextRetriever(retriever=by_tokens)
    assert set(await both(several, queries=TEXTS[:2])) == {*TEXTS[:2]}


async def test_filters_windows_and_caches(tokens: EmbplugDocumentStore) -> None:
    assert sorted(await both(FilterRetriever(tokens), filters=LATE)) == sorted(TEXTS[1:])
    cached = CacheChecker(tokens, cache_field="year").run(items=[2020, 1999])
    assert [document.content for document in cached["hits"]] == TEXTS[:1] and cached["misses"] == [1999]


async def test_a_window_around_a_sentence(engine: Engine) -> None:
    store = EmbplugDocumentStore(client=engine, index="docs", encoder=ENCODER, recipe=TOKENS_RECIPE)
    splitter = DocumentSplitter(split_by="period", split_length=1)
    text = "Bees dance. Ants follow. Wasps build."
    store.write_documents(splitter.run([Document(content=text)])["documents"])
    found = EmbplugTokenRetriever(store, top_k=1).run(query="Ants follow.")["documents"]
    window = SentenceWindowRetriever(store, window_size=1)
    for result in (window.run(found), await window.run_async(found)):
        assert result["context_windows"] == [text]


def test_leaves_are_merged_to_their_parent(engine: Engine) -> None:
    store = EmbplugDocumentStore(client=engine, index="docs", encoder=ENCODER, recipe=TOKENS_RECIPE)
    splitter = HierarchicalDocumentSplitter(block_sizes={8, 2}, split_overlap=0, split_by="word")
    text = "bees dance for the others to tell of flowers while ants follow scents on the ground"
    whole = splitter.run([Document(content=text)])["documents"]
    store.write_documents(whole)
    leaves = [document for document in whole if not document.meta["__children_ids"]]
    merged = AutoMergingRetriever(store, threshold=0.5).run(leaves)["documents"]
    assert len(merged) < len(leaves)


async def test_fusion_rankers_and_routers(dense: EmbplugDocumentStore, tokens: EmbplugDocumentStore) -> None:
    pipeline = Pipeline()
    pipeline.add_component("embedder", Embedder())
    pipeline.add_component("dense", EmbplugEmbeddingRetriever(dense))
    pipeline.add_component("tokens", EmbplugTokenRetriever(tokens))
    pipeline.add_component("joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion"))
    pipeline.add_component("ranker", EmbplugRanker(ENCODER))
    pipeline.add_component("late", MetaFieldRanker("year", weight=0.0, top_k=3))
    pipeline.add_component("order", LostInTheMiddleRanker())
    pipeline.add_component("router", MetadataRouter({"late": LATE}))
    pipeline.connect("embedder", "dense.query_embedding")
    for sender, receiver in [
        ("dense", "joiner"),
        ("tokens", "joiner"),
        ("joiner", "ranker.documents"),
        ("ranker", "late.documents"),
        ("late", "order.documents"),
        ("order", "router.documents"),
    ]:
        pipeline.connect(sender, receiver)
    inputs = {"embedder": {"text": QUERY}, "tokens": {"query": QUERY}, "ranker": {"query": QUERY}}
    for result in (pipeline.run(inputs), await pipeline.run_async(inputs)):
        assert {document.content for document in result["router"]["late"]} == {*TEXTS[1:]}
        assert [document.content for document in result["router"]["unmatched"]] == TEXTS[:1]


def test_a_router_chooses_the_retriever(tokens: EmbplugDocumentStore) -> None:
    routes = [
        {"condition": condition, "output": "{{ query }}", "output_name": name, "output_type": str}
        for condition, name in (("{{ query|length < 5 }}", "words"), ("{{ True }}", "tokens"))
    ]
    pipeline = Pipeline()
    pipeline.add_component("router", ConditionalRouter(routes))
    pipeline.add_component("words", EmbplugHybridRetriever(tokens, branches=["sparse"], top_k=1))
    pipeline.add_component("tokens", EmbplugTokenRetriever(tokens, top_k=1))
    pipeline.connect("router.words", "words.query")
    pipeline.connect("router.tokens", "tokens.query")
    assert texts(pipeline.run({"router": {"query": "ants"}})["words"]) == [TEXTS[1]]
    assert texts(pipeline.run({"router": {"query": QUERY}})["tokens"]) == [QUERY]


def test_tools_of_agents(tokens: EmbplugDocumentStore) -> None:
    retriever = EmbplugTokenRetriever(tokens, top_k=1)
    tool = ComponentTool(retriever, name="insects", description="Reads about insects.")
    assert "query" in tool.parameters["properties"]
    assert texts(tool.invoke(query=QUERY)) == [QUERY]
    early = {"field": "meta.year", "operator": "<", "value": 2021}
    assert texts(tool.invoke(query=QUERY, filters=early)) == TEXTS[:1]
    assert texts(asyncio.run(tool.invoke_async(query=QUERY))) == [QUERY]
    pipeline = Pipeline()
    pipeline.add_component("retriever", EmbplugTokenRetriever(tokens, top_k=1))
    whole = PipelineTool(
        pipeline,
        name="insects",
        description="Reads about insects.",
        input_mapping={"query": ["retriever.query"]},
        output_mapping={"retriever.documents": "documents"},
    )
    assert texts(whole.invoke(query=QUERY)) == [QUERY]
