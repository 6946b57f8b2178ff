"""LangChain's own components on the store: each of them, on every engine."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from langchain_classic.chains.router.embedding_router import EmbeddingRouterChain
from langchain_classic.retrievers import (
    ContextualCompressionRetriever,
    EnsembleRetriever,
    MergerRetriever,
    MultiQueryRetriever,
    MultiVectorRetriever,
    ParentDocumentRetriever,
    RePhraseQueryRetriever,
    SelfQueryRetriever,
    TimeWeightedVectorStoreRetriever,
)
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker, DocumentCompressorPipeline
from langchain_classic.retrievers.document_compressors.cross_encoder import BaseCrossEncoder
from langchain_core.documents import Document
from langchain_core.example_selectors import (
    MaxMarginalRelevanceExampleSelector,
    SemanticSimilarityExampleSelector,
)
from langchain_core.indexing import InMemoryRecordManager, aindex, index
from langchain_core.language_models import FakeListLLM
from langchain_core.runnables import RunnableLambda
from langchain_core.stores import InMemoryStore
from langchain_core.structured_query import Comparator, Comparison, StructuredQuery
from langchain_core.tools import create_retriever_tool
from langchain_embplug import EmbplugReranker, EmbplugRetriever, EmbplugTranslator, EmbplugVectorStore
from langchain_text_splitters import CharacterTextSplitter

from embplug.engines import Engine
from tests.frameworks.conftest import DENSE_RECIPE, EMBEDDINGS, ENCODER, TOKENS_RECIPE

TEXTS = ["bees dance for flowers", "ants follow scents", "wasps build nests of paper"]
QUERY = TEXTS[2]
DOCUMENTS = [
    Document(text, metadata={"year": 2020 + i, "source": f"page {i // 2}"}, id=str(i))
    for i, text in enumerate(TEXTS)
]


@pytest.fixture(params=["dense", "tokens"])
def empty(request: pytest.FixtureRequest, engine: Engine) -> EmbplugVectorStore:
    """A store of embeddings, and one of tokens."""
    if request.param == "dense":
        return EmbplugVectorStore(engine, "docs", EMBEDDINGS, recipe=DENSE_RECIPE)
    return EmbplugVectorStore(engine, "docs", encoder=ENCODER, recipe=TOKENS_RECIPE)


@pytest.fixture
def store(empty: EmbplugVectorStore) -> EmbplugVectorStore:
    empty.add_documents(DOCUMENTS)
    return empty


async def both(retriever: Any, query: str = QUERY) -> list[str]:
    """Texts that a retriever finds, waiting and awaited."""
    waiting = [document.page_content for document in retriever.invoke(query)]
    awaited = [document.page_content for document in await retriever.ainvoke(query)]
    assert waiting == awaited
    return waiting


@pytest.mark.parametrize(
    "options",
    [
        {"search_kwargs": {"k": 1}},
        {"search_type": "mmr", "search_kwargs": {"k": 1, "fetch_k": 3}},
        {"search_type": "similarity_score_threshold", "search_kwargs": {"k": 1, "score_threshold": 0.5}},
        {"search_kwargs": {"k": 1, "filter": {"year": 2022}}},
    ],
)
async def test_the_stores_retrievers(store: EmbplugVectorStore, options: dict[str, Any]) -> None:
    assert await both(store.as_retriever(**options)) == [QUERY]


async def test_retrievers_on_retrievers(store: EmbplugVectorStore) -> None:
    retriever = EmbplugRetriever(vectorstore=store, k=1)
    other = EmbplugRetriever(vectorstore=store, k=1, filter={"year": {"$lt": 2022}})
    assert (await both(EnsembleRetriever(retrievers=[retriever, other])))[0] == QUERY
    assert (await both(MergerRetriever(retrievers=[retriever, other])))[0] == QUERY
    model = FakeListLLM(responses=[f"{TEXTS[0]}\n{TEXTS[1]}"])
    assert set(await both(MultiQueryRetriever.from_llm(retriever, model))) == {*TEXTS[:2]}
    rephrased = RePhraseQueryRetriever.from_llm(retriever, FakeListLLM(responses=[TEXTS[1]]))
    assert [document.page_content for document in rephrased.invoke("x")] == [TEXTS[1]]


class SharedWords(BaseCrossEncoder):
    """A cross-encoder that counts the words which two texts share."""

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        return [float(len({*text.split()} & {*other.split()})) for text, other in text_pairs]


async def test_compressors(store: EmbplugVectorStore) -> None:
    base = store.as_retriever(search_kwargs={"k": 3})
    reranker = EmbplugReranker(encoder=ENCODER, top_n=1)
    scored = CrossEncoderReranker(model=SharedWords(), top_n=2)
    for compressor in (reranker, DocumentCompressorPipeline(transformers=[scored, reranker])):
        compressing = ContextualCompressionRetriever(base_compressor=compressor, base_retriever=base)
        assert await both(compressing) == [QUERY]


async def test_self_query(store: EmbplugVectorStore) -> None:
    late = Comparison(comparator=Comparator.GT, attribute="year", value=2020)
    query = StructuredQuery(query=QUERY, filter=late, limit=None)
    retriever = SelfQueryRetriever(
        query_constructor=RunnableLambda(lambda _: query),
        vectorstore=store,
        structured_query_translator=EmbplugTranslator(),
        search_kwargs={"k": 3},
    )
    assert set(await both(retriever, "x")) == {*TEXTS[1:]}


async def test_parents_and_several_vectors(empty: EmbplugVectorStore) -> None:
    parents = ParentDocumentRetriever(
        vectorstore=empty,
        docstore=InMemoryStore(),
        child_splitter=CharacterTextSplitter(separator=" ", chunk_size=10, chunk_overlap=0),
        search_kwargs={"k": 1},
    )
    parents.add_documents([Document(" ".join(TEXTS[:2])), Document(TEXTS[2])])
    assert await both(parents, "paper") == [TEXTS[2]]
    whole = MultiVectorRetriever(vectorstore=empty, docstore=InMemoryStore(), id_key="whole")
    whole.docstore.mset([("a", Document("all about termites"))])
    empty.add_documents([Document("termites", metadata={"whole": "a"})])
    assert await both(whole, "termites") == ["all about termites"]


def test_time_weights(empty: EmbplugVectorStore) -> None:
    retriever = TimeWeightedVectorStoreRetriever(vectorstore=empty, k=1, decay_rate=1e-9)
    retriever.add_documents([Document(text) for text in TEXTS])
    assert len(retriever.invoke(QUERY)) == 1


def test_example_selectors(empty: EmbplugVectorStore) -> None:
    selector = SemanticSimilarityExampleSelector(vectorstore=empty, k=1)
    for text in TEXTS:
        selector.add_example({"text": text})
    assert selector.select_examples({"text": QUERY}) == [{"text": QUERY}]
    diverse = MaxMarginalRelevanceExampleSelector(vectorstore=empty, k=2, fetch_k=3)
    assert {"text": QUERY} in diverse.select_examples({"text": QUERY})


async def test_tools_of_agents(store: EmbplugVectorStore) -> None:
    retriever = store.as_retriever(search_kwargs={"k": 1})
    tool = create_retriever_tool(retriever, "insects", "Reads about insects.")
    assert tool.invoke({"query": QUERY}) == await tool.ainvoke({"query": QUERY}) == QUERY


async def test_routers(empty: EmbplugVectorStore) -> None:
    empty.add_texts([TEXTS[0], TEXTS[2]], [{"name": "bees"}, {"name": "wasps"}])
    router = EmbeddingRouterChain(vectorstore=empty, routing_keys=["input"])
    for routed in (router.invoke({"input": QUERY}), await router.ainvoke({"input": QUERY})):
        assert routed["destination"] == "wasps"


CleanUp = Literal["incremental", "full", "scoped_full"]


@pytest.mark.parametrize("cleanup", [None, "incremental", "full", "scoped_full"])
@pytest.mark.parametrize("awaited", [False, True])
async def test_the_indexing_api(empty: EmbplugVectorStore, cleanup: CleanUp | None, awaited: bool) -> None:
    """What the second run no longer has is removed, as far as the mode says."""
    records = InMemoryRecordManager("docs")
    records.create_schema()

    async def run(documents: list[Document]) -> dict[str, int]:
        options: dict[str, Any] = {
            "cleanup": cleanup,
            "source_id_key": "source",
            "batch_size": 2,
            "key_encoder": "sha256",
        }
        if awaited:
            return dict(await aindex(documents, records, empty, **options))
        return dict(index(documents, records, empty, **options))

    fresh = [document.model_copy(update={"id": None}) for document in DOCUMENTS]
    assert (await run(fresh))["num_added"] == 3
    assert (await run(fresh))["num_skipped"] == 3
    assert empty.collection.count() == 3
    # One page has changed, and the other one is not among the documents any more.
    changed = [Document("bees dance for honey", metadata=fresh[0].metadata)]
    counts = await run(changed)
    left = {None: 4, "incremental": 2, "full": 1, "scoped_full": 2}[cleanup]
    assert counts["num_added"] == 1 and empty.collection.count() == left
    assert empty.similarity_search("bees dance for honey", k=1)[0].page_content == "bees dance for honey"
