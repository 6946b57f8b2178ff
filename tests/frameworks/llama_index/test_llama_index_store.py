"""What the suite does not see: tokens, engines of queries, foreign collections, keys, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import pickle
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from llama_index.core import Document, MockEmbedding, Settings, StorageContext, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.indices.query.query_transform.base import BaseQueryTransform
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine, TransformQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery
from llama_index.vector_stores.qdrant import QdrantVectorStore
from llama_index_embplug import EmbplugReranker, EmbplugRetriever, EmbplugVectorStore, to_filter
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug import (
    Collection,
    CrossEncoderStage,
    Dense,
    Recipe,
    Rerank,
    Sparse,
    TokenBatch,
    register_cross_encoder,
    register_encoder,
)
from embplug.engines import EdgeClient
from embplug.errors import (
    CollectionNotFoundError,
    FilterError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
)
from embplug.methods import PCA
from embplug.search import CrossEncoder
from tests.frameworks.conftest import DIM, ENCODER, TOKENS_RECIPE
from tests.frameworks.llama_index.llama_index_suite import (
    BLUE,
    GREEN,
    METADATA,
    RED,
    TEXTS,
    HashedEmbedding,
    contents,
    embed,
    filters,
    ids_of,
    node,
    query,
    three,
    where,
)
from tests.frameworks.pages import run_example, run_page

KEY = "a-very-secret-key"

on_one_engine = pytest.mark.parametrize("engine_path", ["memory"], indirect=True)
"""Marks tests of what happens before the engine."""

with_tokens = pytest.mark.parametrize("recipe_name", ["tokens"], indirect=True)
"""Marks tests that need only the more demanding recipe."""


@pytest.fixture(autouse=True)
def _no_language_model(monkeypatch):
    monkeypatch.setattr(Settings, "_llm", MockLLM())


@pytest.fixture
def make(recipe_name, client):
    def open_store(name="docs", **options):
        if recipe_name == "dense":
            return EmbplugVectorStore(name, client, recipe=Recipe(dense=Dense(dim=DIM)), **options)
        return EmbplugVectorStore(name, client, encoder=ENCODER, recipe=TOKENS_RECIPE, **options)

    return open_store


@pytest.fixture
def filled(make):
    store = make()
    store.add(three())
    return store


def tokens_of(text):
    return ENCODER.encode_queries([text]).tokens[0]


def retriever_of(store, recipe_name, **options):
    model = HashedEmbedding() if recipe_name == "dense" else None
    return EmbplugRetriever(store, embed_model=model, **options)


async def test_tokens_that_are_there_already_are_taken(memory_client):
    class NoEncoder:
        spec = "none"

        def encode_documents(self, texts):
            raise AssertionError("the encoder is called")

        encode_queries = encode_documents

    matrices = {node_id: tokens_of(text) for node_id, text in TEXTS.items()}
    for i, token_embeddings in enumerate(
        (matrices, [*matrices.values()], TokenBatch.from_list([*matrices.values()]))
    ):
        store = EmbplugVectorStore(f"docs{i}", memory_client, encoder=NoEncoder(), recipe=TOKENS_RECIPE)
        store.add(three(), token_embeddings=token_embeddings)
        await store.async_add(iter(three()), token_embeddings=token_embeddings)
        search = VectorStoreQuery(similarity_top_k=1)
        for results in (
            store.query(search, query_tokens=tokens_of(TEXTS[GREEN])),
            await store.aquery(search, query_tokens=tokens_of(TEXTS[GREEN])),
        ):
            assert results.ids == [GREEN] and results.similarities[0] == pytest.approx(5, abs=1e-2)
        for wrong, name in [
            ({RED: matrices[RED]}, f"token_embeddings[{GREEN!r}]"),
            ([matrices[RED]], "token_embeddings"),
            ([*matrices.values(), matrices[RED]], "token_embeddings"),
        ]:
            with pytest.raises(ValueError) as raised:
                store.add(three(), token_embeddings=wrong)
            assert raised.value.argument == name
        with pytest.raises(ValueError, match="query_str"):
            store.query(VectorStoreQuery(query_embedding=embed("red")))
    index = VectorStoreIndex.from_vector_store(store, MockEmbedding(embed_dim=1))
    index.insert_nodes(three(), token_embeddings=matrices)
    assert store.collection.count() == 3


def test_tokens_are_encoded_in_batches_with_the_metadata_that_embedding_models_see(memory_client):
    seen = []

    class Listening(type(ENCODER)):
        def encode_documents(self, texts):
            seen.append(list(texts))
            return super().encode_documents(texts)

    store = EmbplugVectorStore("docs", memory_client, encoder=Listening(), recipe=TOKENS_RECIPE, batch_size=2)
    nodes = [TextNode(text="red", metadata={"color": "seen", "hidden": 1}) for _ in range(3)]
    for item in nodes:
        item.excluded_embed_metadata_keys = ["hidden"]
    store.add(nodes)
    assert [len(texts) for texts in seen] == [2, 1]
    assert seen[0][0] == nodes[0].get_content(MetadataMode.EMBED) == "color: seen\n\nred"
    assert store.get_nodes([nodes[0].node_id])[0].get_content() == "red"


@on_one_engine
async def test_an_index_of_tokens_needs_no_embedding_model(make, recipe_name):
    store = make()
    model = HashedEmbedding() if recipe_name == "dense" else MockEmbedding(embed_dim=1)
    documents = [Document(text=text, id_=node_id) for node_id, text in TEXTS.items()]
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(
        documents, storage_context=context, embed_model=model, show_progress=False
    )
    retriever = index.as_retriever(similarity_top_k=1, vector_store_kwargs={"with_stages": True})
    for results in (retriever.retrieve(TEXTS[BLUE]), await retriever.aretrieve(TEXTS[BLUE])):
        assert [item.node.ref_doc_id for item in results] == [BLUE]
        stages = results[0].node.metadata["_stages"]
        assert set(stages) == ({"dense"} if recipe_name == "dense" else {"fde", "maxsim"})
        assert "_stages" not in results[0].node.get_content(MetadataMode.LLM)
    if recipe_name != "dense":
        explained = index.as_retriever(similarity_top_k=1, vector_store_kwargs={"explain": True})
        node = explained.retrieve(TEXTS[BLUE])[0].node
        known = node.metadata["_explanation"]
        assert sum(match["share"] for match in known["matches"]) == pytest.approx(1)
        assert "_explanation" not in node.get_content(MetadataMode.LLM)
    answer = index.as_query_engine(similarity_top_k=1).query(TEXTS[BLUE])
    assert TEXTS[BLUE] in answer.response and answer.source_nodes[0].node.ref_doc_id == BLUE


@on_one_engine
async def test_a_pipeline_hands_nodes_over(make, recipe_name):
    store = make()
    model = HashedEmbedding() if recipe_name == "dense" else MockEmbedding(embed_dim=1)
    documents = [Document(text=text, id_=node_id, metadata={"n": 1}) for node_id, text in TEXTS.items()]
    pipeline = IngestionPipeline(transformations=[model], vector_store=store)
    pipeline.run(documents=documents[:2])
    await pipeline.arun(documents=documents[2:])
    results = {item.node_id: item for item in store.get_nodes()}
    assert {node_id: node.get_content() for node_id, node in results.items()} == TEXTS
    assert results[RED].metadata == {"n": 1}


@on_one_engine
async def test_nodes_are_read_page_by_page(filled, monkeypatch):
    monkeypatch.setattr("embplug.frameworks.collection.PAGE", 2)
    for limit, count in ((None, 3), (3, 3), (2, 2), (1, 1)):
        assert len(filled.get_nodes(limit=limit)) == len(await filled.aget_nodes(limit=limit)) == count
    among = filters(where("year", ">", 1))
    assert ids_of(await filled.aget_nodes([BLUE, RED, GREEN], among, limit=2)) == [BLUE, RED]
    assert ids_of(filled.get_nodes([BLUE, RED, GREEN], limit=2)) == [BLUE, RED]


@on_one_engine
async def test_the_retriever_answers_questions(filled, recipe_name):
    retriever = retriever_of(filled, recipe_name, similarity_top_k=1)
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    for answer in (engine.query(TEXTS[GREEN]), await engine.aquery(TEXTS[GREEN])):
        assert [item.node.node_id for item in answer.source_nodes] == [GREEN]
        assert TEXTS[GREEN] in answer.response
    fusion = QueryFusionRetriever(
        [
            retriever,
            retriever_of(filled, recipe_name, similarity_top_k=2, filters=filters(where("year", "<", 2021))),
        ],
        llm=MockLLM(),
        num_queries=1,
        similarity_top_k=3,
        use_async=False,
        mode="reciprocal_rerank",
    )
    for results in (fusion.retrieve(TEXTS[GREEN]), await fusion.aretrieve(TEXTS[GREEN])):
        assert [item.node.node_id for item in results] == [GREEN, RED]


@on_one_engine
async def test_the_retriever_takes_the_options_of_a_query(filled, recipe_name):
    debug = LlamaDebugHandler(print_trace_on_end=False)
    retriever = retriever_of(
        filled,
        recipe_name,
        similarity_top_k=3,
        filters=filters(where("year", ">", 2019)),
        doc_ids=["apples"],
        with_stages=True,
        callback_manager=CallbackManager([debug]),
    )
    results = retriever.retrieve(TEXTS[RED])
    assert [item.node.node_id for item in results] == [GREEN] and results[0].node.metadata["_stages"]
    assert len(debug.get_event_pairs(CBEventType.RETRIEVE)) == 1
    assert results == await retriever.aretrieve(QueryBundle(TEXTS[RED]))
    among = retriever_of(filled, recipe_name, node_ids=[BLUE])
    assert [item.node.node_id for item in among.retrieve(TEXTS[RED])] == [BLUE]
    varied = retriever_of(
        filled,
        recipe_name,
        vector_store_query_mode="mmr",
        vector_store_kwargs={"mmr_threshold": 1.0, "mmr_prefetch_factor": 2.0},
    )
    assert varied.retrieve(TEXTS[RED])[0].node.node_id == RED
    best = retriever_of(filled, recipe_name).retrieve(TEXTS[RED])
    threshold = {"score_threshold": (best[0].score + best[1].score) / 2}
    over = retriever_of(filled, recipe_name, vector_store_kwargs=threshold)
    assert [item.node.node_id for item in over.retrieve(TEXTS[RED])] == [RED]
    for wrong in ({"similarity_top_k": 0}, {"vector_store_query_mode": "best"}):
        with pytest.raises(ValueError):
            EmbplugRetriever(filled, **wrong)
    with pytest.raises(ValueError):
        EmbplugRetriever(MockLLM())
    with pytest.raises(TypeError, match=r"^unexpected argument 'top'; the options are query_tokens, "):
        retriever_of(filled, recipe_name, vector_store_kwargs={"top": 3}).retrieve("x")


@on_one_engine
async def test_what_a_query_transform_put_in_the_place_of_a_question_is_searched_for(filled, recipe_name):
    class Imagined(BaseQueryTransform):
        def _get_prompts(self):
            return {}

        def _update_prompts(self, prompts):
            pass

        def _run(self, query_bundle, metadata):
            return QueryBundle(query_bundle.query_str, custom_embedding_strs=[TEXTS[BLUE], TEXTS[BLUE]])

    retriever = retriever_of(filled, recipe_name, similarity_top_k=1)
    engine = TransformQueryEngine(RetrieverQueryEngine.from_args(retriever, llm=MockLLM()), Imagined())
    for answer in (engine.query("red apple"), await engine.aquery("red apple")):
        assert [item.node.node_id for item in answer.source_nodes] == [BLUE]


@on_one_engine
async def test_filters_of_qdrant_and_search_params_are_taken(filled):
    german = models.FieldCondition(key="color", match=models.MatchValue(value="green"))
    for options in (
        {"qdrant_filters": models.Filter(must=[german])},
        {"qdrant_filters": models.Filter(must=[german]), "search_params": {"exact": True}},
        {"qdrant_filters": models.Filter(must=[german]), "search_params": models.SearchParams(hnsw_ef=10)},
    ):
        assert filled.query(query("red apple"), **options).ids == [GREEN]
        both = query("red apple", filters=filters(where("year", "==", 2019)))
        assert (await filled.aquery(both, **options)).ids == []


@on_one_engine
def test_wrong_queries_are_value_errors_that_name_the_argument(filled, recipe_name):
    search = query("red apple")
    for options, name in [
        ({"mmr_threshold": 0.5}, "mmr_threshold"),
        ({"mmr_prefetch_k": 5}, "mmr_prefetch_k"),
    ]:
        with pytest.raises(ValueError) as raised:
            filled.query(search, **options)
        assert raised.value.argument == name
    for changes, options, name in [
        ({"similarity_top_k": 0}, {}, "similarity_top_k"),
        ({"output_fields": ["year"]}, {}, "output_fields"),
        ({"mode": "hybrid"}, {}, "query.mode"),
        ({"mode": "mmr"}, {"mmr_threshold": 2}, "mmr_threshold"),
        ({"mode": "mmr"}, {"with_stages": True}, "with_stages"),
        ({"mode": "mmr"}, {"mmr_prefetch_k": 3, "mmr_prefetch_factor": 2.0}, "mmr_prefetch_factor"),
        ({"query_embedding": None, "query_str": None}, {}, "query"),
        ({"filters": {"year": 2020}}, {}, "filters"),
    ]:
        with pytest.raises(ValueError) as raised:
            filled.query(VectorStoreQuery(**{**vars(search), **changes}), **options)
        assert raised.value.argument == name
    with pytest.raises(ValueError, match="sparse"):
        filled.query(query("red apple", mode="hybrid"))
    with pytest.raises(TypeError):
        filled.query(search, top_k=3)


@pytest.mark.parametrize(
    ("item", "place"),
    [
        (where("", "==", 1), "filters.filters[0].key"),
        (where("year", "in", 3), "filters.filters[0].value"),
        (where("year", "in", "2019,2020"), "filters.filters[0].value"),
        (where("year", ">", "soon"), "filters.filters[0].value"),
        (where("title", "text_match", 3), "filters.filters[0].value"),
        (filters(where("year", "all", 3)), "filters.filters[0].filters[0].value"),
    ],
)
def test_a_wrong_filter_is_a_value_error_that_names_its_place(item, place):
    with pytest.raises(ValueError) as raised:
        to_filter(filters(item))
    assert isinstance(raised.value, FilterError) and raised.value.argument == place


def test_dates_are_compared_and_no_filter_is_none(memory_client):
    store = EmbplugVectorStore("docs", memory_client)
    store.add([node("a b", RED, {"when": "2021-05-01T00:00:00Z"})])
    assert ids_of(store.get_nodes(filters=filters(where("when", ">=", "2021-01-01")))) == [RED]
    assert ids_of(store.get_nodes(filters=filters(where("when", "<", "2021-01-01")))) == []
    assert to_filter(None) is None and to_filter(filters(filters())) is None


def test_a_server_compares_text_without_case_by_an_index(server_client):
    plain = EmbplugVectorStore("plain", server_client)
    plain.add(three())
    conditions = filters(where("title", "text_match_insensitive", "apple"))
    with pytest.raises(FilterError, match="payload_indexes"):
        plain.get_nodes(filters=conditions)
    recipe = Recipe(dense=Dense(dim=DIM), payload_indexes={"title": "text"})
    indexed = EmbplugVectorStore("indexed", server_client, recipe=recipe)
    indexed.add(three())
    assert ids_of(indexed.get_nodes(filters=conditions)) == [RED]


async def test_without_recipe_the_first_embedding_makes_the_collection(client):
    store = EmbplugVectorStore("new", client)
    assert store.query(query("x")).ids == [] == store.get_nodes() == await store.aget_nodes([RED])
    assert (await store.aquery(query("x"))).ids == []
    store.delete("x")
    store.delete_nodes([RED])
    await store.adelete("x")
    await store.adelete_nodes([RED])
    store.clear()
    await store.aclear()
    with pytest.raises(CollectionNotFoundError):
        store.collection.count()
    with pytest.raises(ValueError, match=r"nodes\[0\]\.embedding"):
        store.add([TextNode(text="no embedding")])
    await asyncio.gather(*(store.async_add([item]) for item in three()))
    dense = store.collection.recipe.dense["dense"]
    assert dense.dim == DIM and dense.datatype == models.Datatype.FLOAT16 and store.collection.count() == 3
    again = EmbplugVectorStore("new", client)
    assert again.query(query(TEXTS[BLUE], k=1)).ids == [BLUE]
    with pytest.raises(CollectionNotFoundError):
        EmbplugVectorStore("nowhere", client, create=False)
    with pytest.raises(RecipeMismatchError):
        EmbplugVectorStore("new", client, recipe=Recipe(dense=Dense(dim=3)))
    tokens = EmbplugVectorStore("tokens", client, encoder=ENCODER)
    tokens.add([TextNode(text="red apple", id_="a")])
    assert tokens.query(VectorStoreQuery(query_str="apple")).ids == ["a"]


def test_a_directory_is_free_again_after_an_error(tmp_path):
    EmbplugVectorStore("docs", tmp_path, recipe=Recipe(dense=Dense(dim=3))).client.close()
    for wrong in ({"recipe": Recipe(dense=Dense(dim=4))}, {"vector_name": "body"}):
        with pytest.raises((RecipeMismatchError, ValueError)) as raised:
            EmbplugVectorStore("docs", tmp_path, **wrong)
        assert raised.value
    EmbplugVectorStore("docs", tmp_path).client.close()


@on_one_engine
def test_wrong_nodes_are_value_errors_that_name_them(make, recipe_name):
    store = make()
    for nodes, error in [
        (node("a"), InvalidArgumentError),
        ([TextNode(text="\ud800", embedding=embed("a"))], ValueError),
    ]:
        with pytest.raises(error):
            store.add(nodes)
    if recipe_name == "dense":
        for nodes, name in [
            ([node("a"), TextNode(text="b")], "nodes[1].embedding"),
            ([TextNode(text="b")], "nodes[0].embedding"),
        ]:
            with pytest.raises(ValueError) as raised:
                store.add(nodes)
            assert raised.value.argument == name
    for call in (store.delete_nodes, lambda: store.delete_nodes(filters=filters())):
        with pytest.raises(ValueError, match="clear"):
            call()
    with pytest.raises(TypeError):
        store.delete("x", shard=1)
    assert store.collection.count() == 0


@pytest.mark.parametrize("engine_path", ["memory", "rest", "grpc"], indirect=True)
async def test_collections_of_the_stock_store_open_as_they_are(client, caplog):
    theirs = QdrantVectorStore("theirs", client)
    theirs.add(three())
    client.upsert("theirs", [models.PointStruct(id=8, vector=embed("odd"), payload={"text": "odd", "a": 1})])
    with caplog.at_level(logging.WARNING):
        store = EmbplugVectorStore("theirs", client)
    assert "recipe=" in caplog.text
    results = store.query(query(TEXTS[GREEN], k=1))
    expected = theirs.query(query(TEXTS[GREEN], k=1))
    assert results.ids == expected.ids and contents(results.nodes[0]) == contents(expected.nodes[0])
    assert results.similarities == pytest.approx(expected.similarities, abs=1e-5)
    odd = (await store.aquery(query("odd", k=1))).nodes[0]
    assert odd.node_id == "8" and odd.get_content() == "odd" and odd.metadata == {"a": 1}
    assert store.query(query("red", filters=filters(where("tags", "all", ["fruit", "tree"])))).ids == [RED]
    assert store.query(query("red apple", k=2, mode="mmr")).ids[0] == RED
    added = str(uuid.uuid4())
    store.add([node("yellow sun", added, document="the sky")])
    assert theirs.query(query("yellow sun", k=1)).nodes[0].get_content() == "yellow sun"
    store.delete_nodes([RED])
    await store.adelete("the sky")
    assert sorted(ids_of(store.get_nodes())) == sorted([GREEN, "8"])
    with pytest.raises(NotAnEmbplugCollectionError):
        EmbplugVectorStore("theirs", client, encoder=ENCODER, recipe=TOKENS_RECIPE)
    small = EmbplugVectorStore("ours", client, encoder=ENCODER, recipe=TOKENS_RECIPE)
    VectorStoreIndex(
        store.get_nodes(),
        storage_context=StorageContext.from_defaults(vector_store=small),
        embed_model=MockEmbedding(embed_dim=1),
    )
    assert small.query(query(TEXTS[GREEN], k=1)).ids == [GREEN]


def test_collections_that_the_core_made_are_searched(memory_client):
    collection = Collection.create("docs", TOKENS_RECIPE, memory_client, encoder=ENCODER)
    collection.add([7, "x"], texts=["red apple", "blue sky"], payloads=[{"year": 2020}, None])
    store = EmbplugVectorStore("docs", memory_client, encoder=ENCODER, recipe=TOKENS_RECIPE)
    results = store.query(VectorStoreQuery(query_str="red apple", similarity_top_k=1)).nodes[0]
    assert (
        results.node_id == "7" and results.metadata == {"year": 2020} and results.get_content() == "red apple"
    )
    assert contents(store.get_nodes(["7"])[0]) == contents(results)
    store.delete_nodes(["7"])
    assert ids_of(store.get_nodes(["7", "x"])) == ["x"]


async def test_a_recipe_of_dense_vectors_and_tokens(memory_client):
    recipe = Recipe(tokens=TOKENS_RECIPE.tokens, dense={"text": Dense(dim=DIM), "title": Dense(dim=DIM)})
    with pytest.raises(ValueError, match="vector_name"):
        EmbplugVectorStore("both", memory_client, recipe=recipe, vector_name="body")
    recipe = Recipe(tokens=TOKENS_RECIPE.tokens, dense=Dense(dim=DIM))
    store = EmbplugVectorStore("one", memory_client, recipe=recipe, encoder=ENCODER)
    assert store.is_embedding_query
    store.add(three())
    results = store.query(query(TEXTS[GREEN], k=1), with_stages=True)
    assert results.ids == [GREEN] and {"fde", "dense", "maxsim"} <= {*results.nodes[0].metadata["_stages"]}
    search = query(TEXTS[GREEN], k=1, embedding_field="dense")
    assert (await store.aquery(search)).ids == [GREEN]


async def test_words_are_searched_for_alone_and_beside_vectors(client, recipe_name):
    vectors = {"dense": Dense(dim=DIM)} if recipe_name == "dense" else {"tokens": TOKENS_RECIPE.tokens}
    store = EmbplugVectorStore("words", client, encoder=ENCODER, recipe=Recipe(sparse=Sparse(), **vectors))
    store.add([node("red apple tree", RED), node("red apple bowl", GREEN), node("sky number9", BLUE)])
    # The embedding, and the tokens, say red apple tree; the words say sky.
    tokens = {} if recipe_name == "dense" else {"query_tokens": tokens_of("red apple tree")}
    arguments = dict(query_embedding=embed("red apple tree"), query_str="number9", similarity_top_k=2)
    for mode in ("sparse", "text_search"):
        for results in (
            store.query(VectorStoreQuery(**arguments, mode=mode)),
            await store.aquery(VectorStoreQuery(query_str="number9", similarity_top_k=2, mode=mode)),
        ):
            assert results.ids == [BLUE]
    assert store.query(VectorStoreQuery(**arguments), **tokens, with_stages=True).ids == [RED, GREEN]
    hybrid = store.query(
        VectorStoreQuery(**arguments, mode="hybrid", hybrid_top_k=3), **tokens, with_stages=True
    )
    assert len(hybrid.ids) == 3 and {"sparse", "fusion"} <= {
        *hybrid.nodes[hybrid.ids.index(BLUE)].metadata["_stages"]
    }
    for alpha, first in ((0.1, BLUE), (0.9, RED)):
        weighed = VectorStoreQuery(**arguments, mode="hybrid", alpha=alpha, sparse_top_k=3)
        assert (await store.aquery(weighed, **tokens)).ids[0] == first
    text = {**arguments, "query_str": None}
    for wrong, name in [
        ({**arguments, "mode": "hybrid", "alpha": 2.0}, "alpha"),
        ({**text, "mode": "sparse"}, "query"),
        ({**text, "mode": "hybrid"}, "query"),
        ({**arguments, "mode": "semantic_hybrid"}, "query.mode"),
        ({**arguments, "mode": "svm"}, "query.mode"),
    ]:
        with pytest.raises(ValueError) as raised:
            store.query(VectorStoreQuery(**wrong), **tokens)
        assert raised.value.argument == name
    retriever = retriever_of(store, recipe_name, vector_store_query_mode="sparse")
    assert [item.node.node_id for item in retriever.retrieve("number9")] == [BLUE]


def test_a_cross_encoder_has_the_last_word(memory_client):
    register_cross_encoder("exact", lambda: lambda query, texts: [float(query in text) for text in texts])
    stage = Rerank(cross_encoder=CrossEncoderStage(name="exact"))
    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(), rerank=stage)
    store = EmbplugVectorStore("docs", memory_client, recipe=recipe)
    store.add(three())
    for mode in ("default", "hybrid", "semantic_hybrid", "sparse"):
        results = store.query(query("apple on", mode=mode))
        assert results.ids[0] == RED and results.similarities[0] == 1.0
    with pytest.raises(ValueError, match="query_str"):
        store.query(VectorStoreQuery(query_embedding=embed("x")))
    words = EmbplugVectorStore("words", memory_client, recipe=Recipe(sparse=Sparse()))
    words.add([TextNode(text="red apple", id_=RED), TextNode(text="blue sky", id_=BLUE)])
    assert words.query(VectorStoreQuery(query_str="sky", similarity_top_k=2)).ids == [BLUE]
    with pytest.raises(ValueError, match="beside the sparse vector"):
        words.query(VectorStoreQuery(query_str="sky", mode="hybrid"))


def test_the_key_is_never_shown(caplog, qdrant_address):
    url, grpc_port = qdrant_address
    with caplog.at_level(logging.DEBUG), pytest.warns(UserWarning, match="insecure"):
        store = EmbplugVectorStore(
            "keys", url=url, api_key=KEY, client_kwargs={"grpc_port": grpc_port, "prefer_grpc": False}
        )
        store.add(three())
        asyncio.run(store.aquery(query("x")))
        retriever = EmbplugRetriever(store, embed_model=HashedEmbedding())
        retriever.retrieve("red apple")
        shown = [repr(store), str(store), store.to_json(), str(store.to_dict()), str(store.model_dump())]
        shown += [
            store.model_dump_json(),
            pickle.dumps(store).decode(errors="replace"),
            repr(store.collection),
        ]
        shown += [repr(vars(retriever)), str(StorageContext.from_defaults(vector_store=store))]
        for wrong in ({"batch_size": 0}, {"recipe": 3}, {"client_kwargs": {"x": KEY}}, {"path": "x"}):
            with pytest.raises(ValueError) as raised:
                EmbplugVectorStore("keys", **{"url": url, "api_key": KEY, **wrong})
            shown += [str(raised.value), repr(raised.value)]
    assert KEY not in "".join([*shown, caplog.text])
    store.collection.drop()


def test_a_store_is_written_down_and_opened_again(tmp_path):
    register_encoder("hashed-words", lambda: ENCODER)
    path = tmp_path / "edge"
    store = EmbplugVectorStore("docs", path, encoder=ENCODER, recipe=TOKENS_RECIPE, batch_size=7)
    store.add(three())
    data = json.loads(store.to_json())
    assert data["class_name"] == "EmbplugVectorStore" and data["path"] == str(path)
    assert EmbplugVectorStore.class_name() == "EmbplugVectorStore"
    pickled = pickle.dumps(store)
    assert copy.copy(store).query(query(TEXTS[RED], k=1)).ids == [RED]
    store.client.close()
    for reopen in (lambda: EmbplugVectorStore.from_json(json.dumps(data)), lambda: pickle.loads(pickled)):
        again = reopen()
        assert again.batch_size == 7 and again.recipe == TOKENS_RECIPE
        assert again.query(query(TEXTS[RED], k=1)).ids == [RED]
        again.client.close()
    with contextlib.closing(QdrantClient(":memory:")) as client:
        in_memory = EmbplugVectorStore("docs", client).to_json()
        with pytest.raises(ValueError, match="client, url or path"):
            EmbplugVectorStore.from_json(in_memory)
        assert EmbplugVectorStore.from_json(in_memory, client=client).client is client


async def test_engines_in_the_words_of_the_stock_store(tmp_path, qdrant_address):
    url, grpc_port = qdrant_address
    options = {"grpc_port": grpc_port}
    aclient = AsyncQdrantClient(url, check_compatibility=False)
    stores = [
        EmbplugVectorStore("words", client=QdrantClient(url, check_compatibility=False), aclient=aclient),
        EmbplugVectorStore("words", aclient=aclient),
        EmbplugVectorStore("words", url, client_kwargs=options),
        EmbplugVectorStore("words", url=url, client_kwargs={**options, "prefer_grpc": False, "timeout": 60}),
    ]
    await stores[0].async_add(three())
    for store in (stores[0], EmbplugVectorStore("words", aclient=aclient)):
        assert (await store.aquery(query(TEXTS[RED], k=1))).ids == [RED]
        await store.aclose()
        assert (await store.aquery(query(TEXTS[RED], k=1))).ids == [RED]
        await store.aclose()
    stores[0].collection.drop()
    edge = EmbplugVectorStore("words", path=tmp_path / "edge")
    assert isinstance(edge.client, EdgeClient) and edge.path == str(tmp_path / "edge")
    edge.client.close()
    assert EmbplugVectorStore("words", ":memory:").path is None
    for wrong in (
        {},
        {"url": url, "path": "x"},
        {"client": "x", "url": url},
        {"aclient": AsyncQdrantClient(":memory:")},
        {"path": "x", "client_kwargs": {"prefix": "y"}},
    ):
        with pytest.raises(InvalidArgumentError):
            EmbplugVectorStore("words", **wrong)
    expected = r"^enable_hybrid: expected nothing: pass .*sparse_doc_fn.*Sparse\(\)"
    with pytest.raises(InvalidArgumentError, match=expected):
        EmbplugVectorStore("words", ":memory:", enable_hybrid=True, dense_config=None)
    with pytest.raises(TypeError, match=r"^unexpected argument 'other'"):
        EmbplugVectorStore("words", ":memory:", other=True)


@with_tokens
async def test_a_long_ingest_shows_progress_and_resumes(make, capsys):
    store = make(batch_size=10)

    def nodes(count, stop):
        for i in range(count):
            if i == stop:
                raise KeyboardInterrupt
            yield node(f"word{i} common", f"{i}")

    with pytest.raises(KeyboardInterrupt):
        store.add(nodes(40, 25), show_progress=True)
    assert "adding to docs" in capsys.readouterr().err
    assert store.collection.count() <= 25
    for _ in range(2):
        assert await store.async_add(nodes(40, None), show_progress=False) == [f"{i}" for i in range(40)]
    assert store.collection.count() == 40 and "adding" not in capsys.readouterr().err


@with_tokens
def test_ten_threads_search_while_another_adds(make):
    store = make()
    store.add([node(f"word{i} common", f"{i}") for i in range(20)])

    def search(i):
        for j in range(4):
            n = (i * 4 + j) % 20
            results = store.query(query(f"word{n} common", k=1)).nodes[0]
            assert results.node_id == f"{n}" and results.get_content() == f"word{n} common"

    with ThreadPoolExecutor(11) as pool:
        adding = pool.submit(lambda: [store.add([node(f"word{i} common", f"{i}")]) for i in range(20, 30)])
        for searched in [pool.submit(search, i) for i in range(10)]:
            searched.result()
        adding.result()
    assert store.collection.count() == 30


@with_tokens
async def test_a_hundred_tasks_search_while_another_adds(make):
    store = make()
    await store.async_add([node(f"word{i} common", f"{i}") for i in range(20)])

    async def search(i):
        results = (await store.aquery(query(f"word{i % 20} common", k=1))).nodes[0]
        assert results.node_id == f"{i % 20}" and results.get_content() == f"word{i % 20} common"

    async def add():
        for i in range(20, 24):
            await store.async_add([node(f"word{i} common", f"{i}")])

    await asyncio.gather(add(), *(search(i) for i in range(100)))
    assert store.collection.count() == 24


@on_one_engine
async def test_rerankers_order_what_any_retriever_found(filled, recipe_name):
    nodes = [NodeWithScore(node=item, score=float(i)) for i, item in enumerate(three())]
    for reranker in (
        EmbplugReranker(ENCODER, keep_retrieval_score=True),
        EmbplugReranker(cross_encoder=lambda query, texts: [float(query == text) for text in texts]),
        EmbplugReranker(cross_encoder=CrossEncoder(lambda q, texts: [q == text for text in texts])),
    ):
        ranked = reranker.postprocess_nodes(nodes, query_str=TEXTS[RED])
        assert ranked == await reranker.apostprocess_nodes(nodes, QueryBundle(TEXTS[RED]))
        assert ranked[0].node.node_id == RED and len(ranked) == 2 and ranked[0].score > 0
        assert reranker.postprocess_nodes([], query_str="x") == []
        assert reranker.class_name() == json.loads(reranker.to_json())["class_name"] == "EmbplugReranker"
    scored = EmbplugReranker(ENCODER, keep_retrieval_score=True).postprocess_nodes(
        nodes, query_str=TEXTS[BLUE]
    )
    assert (
        scored[0].node.metadata["retrieval_score"] == 2.0 and "retrieval_score" not in nodes[2].node.metadata
    )
    assert len(EmbplugReranker(ENCODER, top_n=None).postprocess_nodes(nodes, query_str="x")) == 3

    def fails(query, texts):
        raise RuntimeError("no")

    kept = EmbplugReranker(cross_encoder=CrossEncoder(fails, on_failure="keep"), top_n=3)
    assert kept.postprocess_nodes(nodes, query_str="x") == nodes
    engine = RetrieverQueryEngine.from_args(
        retriever_of(filled, recipe_name, similarity_top_k=3),
        llm=MockLLM(),
        node_postprocessors=[EmbplugReranker(ENCODER, top_n=1)],
    )
    for answer in (engine.query(TEXTS[GREEN]), await engine.aquery(TEXTS[GREEN])):
        assert [item.node.node_id for item in answer.source_nodes] == [GREEN]
        assert answer.source_nodes[0].score == pytest.approx(5, abs=1e-2)
    for wrong in ({}, {"encoder": ENCODER, "cross_encoder": len}, {"cross_encoder": 3}, {"encoder": 3}):
        with pytest.raises(ValueError):
            EmbplugReranker(**wrong)
    for wrong in ({"top_n": 0}, {"best": 3}):
        with pytest.raises(ValueError):
            EmbplugReranker(ENCODER, **wrong)
    with pytest.raises(ValueError, match="query_bundle"):
        EmbplugReranker(ENCODER).postprocess_nodes(nodes)


def test_the_page_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, names = run_page("llama_index.md")
    assert count >= 9
    names["store"].client.close()


@pytest.mark.parametrize("name", ["llama_index_rag.py", "llama_index_rag_plain_qdrant.py"])
def test_the_examples_run_and_answer(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [name])
    run_example(name)
    assert "(stand-in model) Bees find their way" in capsys.readouterr().out


def test_errors_name_the_place_in_the_call(make):
    store = make()
    nodes = [node(f"text {i}", f"id {i}") for i in range(300)]
    nodes[216] = node("text", "id 216", {"value": [1.0, float("nan")]})
    with pytest.raises(InvalidArgumentError, match=r"nan under \['value'\]\[1\]$") as raised:
        store.add(nodes)
    assert raised.value.argument == "nodes[216].metadata"


def test_a_store_that_has_yet_to_learn_answers_with_nothing(client):
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)]))
    store = EmbplugVectorStore("learning", client, recipe=recipe)
    assert ids_of(store.query(query("sky"))) == []


def test_filters_that_are_nested_very_deep_are_refused():
    nested = MetadataFilters(filters=[MetadataFilter(key="a", value=1)])
    for _ in range(5000):
        nested = MetadataFilters.model_construct(filters=[nested], condition="and")
    with pytest.raises(FilterError, match=r"^filters: expected at most"):
        to_filter(nested)


async def test_metadata_change_without_embedding_again(filled):
    store = filled
    before = store.query(query(TEXTS[RED]))
    store.set_metadata({"year": 2030, "new": [1]}, [RED])
    await store.aset_metadata({"color": "dark"}, filters=filters(where("year", "==", 2020)))
    red, green = store.get_nodes([RED, GREEN])
    assert red.metadata == {**METADATA[RED], "year": 2030, "new": [1]}
    assert green.metadata == {**METADATA[GREEN], "color": "dark"}
    assert [red.get_content(), red.ref_doc_id] == [TEXTS[RED], "apples"]
    changed = filters(where("year", "==", 2030), where("new", "contains", 1))
    assert store.query(query(TEXTS[RED], filters=changed)).ids == [RED]
    store.delete_metadata(["new", "title"], [RED])
    await store.adelete_metadata(["color"], [GREEN], filters(where("year", "==", 2020)))
    kept = {key: value for key, value in METADATA[RED].items() if key != "title"}
    assert store.get_nodes([RED])[0].metadata == {**kept, "year": 2030}
    assert "color" not in store.get_nodes([GREEN])[0].metadata
    assert not store.query(query(TEXTS[RED], filters=filters(where("title", "==", "A Red Apple")))).ids
    after = store.query(query(TEXTS[RED]))
    assert (after.ids, after.similarities) == (before.ids, before.similarities)
    store.delete("apples")
    assert ids_of(store.get_nodes()) == [BLUE]


def test_what_is_wrong_in_a_change_of_metadata_is_named(filled):
    for argument, call in [
        (r"ids\[1\]", lambda: filled.set_metadata({"a": 1}, [RED, "nobody"])),
        ("node_ids|ids", lambda: filled.set_metadata({"a": 1})),
        ("metadata", lambda: filled.set_metadata({"a": float("nan")}, [RED])),
        ("metadata", lambda: filled.set_metadata([1], [RED])),
        ("keys", lambda: filled.delete_metadata("year", [RED])),
    ]:
        with pytest.raises(InvalidArgumentError, match=f"^({argument}): "):
            call()
    assert filled.get_nodes([RED])[0].metadata == METADATA[RED]


@pytest.mark.parametrize("engine_path", ["memory", "grpc"], indirect=True)
def test_metadata_in_a_collection_of_the_stock_store_change_for_it_too(client):
    theirs = QdrantVectorStore("theirs", client)
    theirs.add(three())
    store = EmbplugVectorStore("theirs", client)
    store.set_metadata({"year": 2030}, [RED])
    (found,) = theirs.query(query(TEXTS[RED], k=1, filters=filters(where("year", "==", 2030)))).nodes
    assert found.metadata == {**METADATA[RED], "year": 2030} and found.get_content() == TEXTS[RED]
