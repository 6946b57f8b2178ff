"""LlamaIndex's own components on the store: each of them, on every engine."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llama_index.core import Document, Settings, StorageContext, VectorStoreIndex
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.indices.vector_store.retrievers import VectorIndexAutoRetriever
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata, MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    get_leaf_nodes,
)
from llama_index.core.postprocessor import MetadataReplacementPostProcessor, SimilarityPostprocessor
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    RouterRetriever,
    TransformRetriever,
)
from llama_index.core.schema import IndexNode, TextNode
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import QueryEngineTool, RetrieverTool
from llama_index.core.vector_stores.types import MetadataInfo, VectorStoreInfo
from llama_index_embplug import (
    EmbplugIngestionPipeline,
    EmbplugReranker,
    EmbplugRetriever,
    EmbplugVectorStore,
)

from embplug import Dense, Recipe
from embplug.engines import Engine
from tests.frameworks.conftest import DIM, ENCODER, TOKENS_RECIPE
from tests.frameworks.llama_index.llama_index_suite import HashedEmbedding

TEXTS = ["bees dance for flowers", "ants follow scents", "wasps build nests of paper"]
QUERY = TEXTS[2]
MODEL = HashedEmbedding()


class Scripted(CustomLLM):
    """A language model that answers with one text."""

    answer: str = ""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self.answer)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text=self.answer)


@pytest.fixture(autouse=True)
def _models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "_llm", MockLLM())
    monkeypatch.setattr(Settings, "_embed_model", MODEL)


@pytest.fixture(params=["dense", "tokens"])
def store(request: pytest.FixtureRequest, engine: Engine) -> EmbplugVectorStore:
    """An empty store of embeddings, and one of tokens."""
    if request.param == "dense":
        return EmbplugVectorStore("docs", engine, recipe=Recipe(dense=Dense(dim=DIM)))
    return EmbplugVectorStore("docs", engine, encoder=ENCODER, recipe=TOKENS_RECIPE)


def documents() -> list[Document]:
    return [Document(text=text, id_=str(i), metadata={"year": 2020 + i}) for i, text in enumerate(TEXTS)]


@pytest.fixture
def index(store: EmbplugVectorStore) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex.from_documents(documents(), storage_context=context)


async def both(retriever: Any, query: str = QUERY) -> list[str]:
    """Texts that a retriever finds, waiting and awaited."""
    waiting = [item.node.get_content() for item in retriever.retrieve(query)]
    awaited = [item.node.get_content() for item in await retriever.aretrieve(query)]
    assert waiting == awaited
    return waiting


async def test_retrievers(index: VectorStoreIndex, store: EmbplugVectorStore) -> None:
    own = EmbplugRetriever(store, similarity_top_k=1, embed_model=MODEL)
    for retriever in (
        own,
        index.as_retriever(similarity_top_k=1),
        index.as_retriever(similarity_top_k=1, vector_store_query_mode="mmr"),
        RecursiveRetriever("root", retriever_dict={"root": own}),
        TransformRetriever(own, HyDEQueryTransform(llm=Scripted(answer=QUERY))),
    ):
        assert await both(retriever) == [QUERY]


@pytest.mark.parametrize("mode", ["simple", "reciprocal_rerank", "relative_score", "dist_based_score"])
async def test_fusion(index: VectorStoreIndex, store: EmbplugVectorStore, mode: Any) -> None:
    retrievers = [
        index.as_retriever(similarity_top_k=2),
        EmbplugRetriever(store, similarity_top_k=2, embed_model=MODEL),
    ]
    fusion = QueryFusionRetriever(retrievers, num_queries=1, mode=mode, similarity_top_k=1, use_async=False)
    assert await both(fusion) == [QUERY]


@pytest.mark.parametrize("question", ["", QUERY])
async def test_a_language_model_writes_the_filter(index: VectorStoreIndex, question: str) -> None:
    spec = {"query": question, "filters": [{"key": "year", "value": 2021, "operator": ">="}], "top_k": 2}
    info = VectorStoreInfo(
        content_info="insects", metadata_info=[MetadataInfo(name="year", type="integer", description="year")]
    )
    retriever = VectorIndexAutoRetriever(
        index, vector_store_info=info, llm=Scripted(answer=json.dumps(spec)), similarity_top_k=2
    )
    waiting = {item.node.get_content() for item in retriever.retrieve("after 2020")}
    awaited = {item.node.get_content() for item in await retriever.aretrieve("after 2020")}
    assert waiting == awaited == {*TEXTS[1:]}


async def test_routers(index: VectorStoreIndex, store: EmbplugVectorStore) -> None:
    retriever = EmbplugRetriever(store, similarity_top_k=1, embed_model=MODEL)
    tools = [
        RetrieverTool.from_defaults(retriever, name="insects", description=QUERY),
        RetrieverTool.from_defaults(retriever, name="stones", description="stones and metals"),
    ]
    selector = EmbeddingSingleSelector.from_defaults(embed_model=MODEL)
    assert await both(RouterRetriever(selector, tools)) == [QUERY]
    engine = index.as_query_engine(similarity_top_k=1)
    engines = [
        QueryEngineTool.from_defaults(engine, name="insects", description=QUERY),
        QueryEngineTool.from_defaults(engine, name="stones", description="stones and metals"),
    ]
    router = RouterQueryEngine(selector, engines)
    for response in (router.query(QUERY), await router.aquery(QUERY)):
        assert response.source_nodes[0].node.get_content() == QUERY


async def test_tools_of_agents(store: EmbplugVectorStore, index: VectorStoreIndex) -> None:
    retriever = EmbplugRetriever(store, similarity_top_k=1, embed_model=MODEL)
    tool = RetrieverTool.from_defaults(retriever, name="insects", description="Reads about insects.")
    for output in (tool.call(QUERY), await tool.acall(QUERY)):
        assert QUERY in output.content
    engine = QueryEngineTool.from_defaults(index.as_query_engine(similarity_top_k=1), name="insects")
    assert QUERY in engine.call(QUERY).content


async def test_postprocessors(index: VectorStoreIndex) -> None:
    reranker = EmbplugReranker(ENCODER, top_n=1)
    best = SimilarityPostprocessor(similarity_cutoff=-1.0)
    engine = index.as_query_engine(similarity_top_k=3, node_postprocessors=[best, reranker])
    for response in (engine.query(QUERY), await engine.aquery(QUERY)):
        assert [item.node.get_content() for item in response.source_nodes] == [QUERY]


def test_windows_and_merged_parents(store: EmbplugVectorStore) -> None:
    parser = SentenceWindowNodeParser.from_defaults(window_size=1)
    nodes = parser.get_nodes_from_documents([Document(text="Bees dance. Ants follow scents. Wasps build.")])
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex(nodes, storage_context=context)
    window = MetadataReplacementPostProcessor(target_metadata_key="window")
    response = index.as_query_engine(similarity_top_k=1, node_postprocessors=[window]).query(
        "Ants follow scents."
    )
    assert "Bees dance." in response.source_nodes[0].node.get_content()


def test_leaves_are_merged_to_their_parent(store: EmbplugVectorStore) -> None:
    text = "Bees dance for the others to tell of flowers far away. " * 12
    nodes = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 32]).get_nodes_from_documents(
        [Document(text=text)]
    )
    context = StorageContext.from_defaults(vector_store=store, docstore=SimpleDocumentStore())
    context.docstore.add_documents(nodes)
    index = VectorStoreIndex(get_leaf_nodes(nodes), storage_context=context)
    merging = AutoMergingRetriever(index.as_retriever(similarity_top_k=40), context, simple_ratio_thresh=0.1)
    merged = merging.retrieve("Bees dance")
    assert merged and max(len(item.node.get_content()) for item in merged) > 200


def test_an_index_node_leads_to_another_retriever(store: EmbplugVectorStore) -> None:
    node = IndexNode(text=QUERY, index_id="wasps", id_="w", embedding=MODEL.get_text_embedding(QUERY))
    store.add([node])
    stored = EmbplugRetriever(store, similarity_top_k=1, embed_model=MODEL).retrieve(QUERY)[0].node
    assert isinstance(stored, IndexNode) and stored.index_id == "wasps"


async def test_documents_are_refreshed_and_deleted(
    index: VectorStoreIndex, store: EmbplugVectorStore
) -> None:
    changed = [Document(text="wasps eat wood", id_="2"), Document(text="termites", id_="3")]
    index.update_ref_doc(changed[0])
    index.insert(changed[1])
    assert await both(EmbplugRetriever(store, similarity_top_k=1, embed_model=MODEL), "wasps eat wood") == [
        "wasps eat wood"
    ]
    index.delete_ref_doc("3")
    assert sorted(node.ref_doc_id or "" for node in store.get_nodes()) == ["0", "1", "2"]


@pytest.mark.parametrize("strategy", [*DocstoreStrategy])
@pytest.mark.parametrize("awaited", [False, True])
async def test_ingestion_pipelines(
    store: EmbplugVectorStore, strategy: DocstoreStrategy, awaited: bool
) -> None:
    """What a second run no longer has is removed, as far as the strategy says."""

    async def run(pipeline: IngestionPipeline, items: list[Document]) -> int:
        return len(await pipeline.arun(documents=items) if awaited else pipeline.run(documents=items))

    for kind in (IngestionPipeline, EmbplugIngestionPipeline):
        store.clear()
        pipeline = kind(
            transformations=[SentenceSplitter(), MODEL],
            vector_store=store,
            docstore=SimpleDocumentStore(),
            docstore_strategy=strategy,
        )
        assert await run(pipeline, documents()) == 3
        assert await run(pipeline, documents()) == 0
        changed = [Document(text="bees dance for honey", id_="0")]
        assert await run(pipeline, changed) == 1
        left = {"upserts": 3, "duplicates_only": 3, "upserts_and_delete": 1}[strategy.value]
        assert len({node.ref_doc_id for node in store.get_nodes()}) == left


def test_nodes_come_back_with_all_that_they_had(store: EmbplugVectorStore) -> None:
    node = TextNode(
        text=QUERY, id_="n", metadata={"a": [1, {"b": None}]}, embedding=MODEL.get_text_embedding(QUERY)
    )
    store.add([node])
    assert store.get_nodes(["n"])[0].metadata == node.metadata
