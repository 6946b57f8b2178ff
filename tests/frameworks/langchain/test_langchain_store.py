"""What LangChain's suites do not see: filters, relevance, ids, foreign collections, many at once."""

from __future__ import annotations

import asyncio
import logging
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from functools import partial

import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_embplug import EmbplugReranker, EmbplugRetriever, EmbplugVectorStore, to_filter
from langchain_qdrant import QdrantVectorStore
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Documents, Recipe, Sparse, Tokens
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
from tests.frameworks.conftest import DIM, EMBEDDINGS, ENCODER, TOKENS_RECIPE
from tests.frameworks.pages import run_example, run_page

METADATAS = [
    {"year": 2019, "tags": ["a", "b"], "nested": {"lang": "en"}, "score": 0.5, "free": True},
    {"year": 2020, "tags": ["b"], "nested": {"lang": "de"}, "score": 1.5, "free": False},
    {"year": 2021, "tags": [], "none": None, "when": "2021-05-01T00:00:00Z", "two words": "x"},
]
TEXTS = ["red apple", "green apple", "blue sky"]
FILTERS = [
    ({"year": 2020}, {1}),
    ({"year": {"$gte": 2020}}, {1, 2}),
    ({"year": {"$gt": 2019, "$lt": 2021}}, {1}),
    ({"year": {"$between": [2019, 2020]}}, {0, 1}),
    ({"year": [2019, 2021]}, {0, 2}),
    ({"year": {"$in": []}}, set()),
    ({"year": {"$nin": [2019]}}, {1, 2}),
    ({"year": {"$ne": 2019}}, {1, 2}),
    ({"nested.lang": "de"}, {1}),
    ({"nested.lang": {"$in": ["de", 7]}}, {1}),
    ({"tags": {"$contains": "a"}}, {0}),
    ({"tags": "b"}, {0, 1}),
    ({"score": 1.5}, {1}),
    ({"free": True}, {0}),
    ({"free": {"$in": [False, "x"]}}, {1}),
    ({"none": None}, {2}),
    ({"none": {"$exists": True}}, {2}),
    ({"score": {"$exists": False}}, {2}),
    ({"two words": "x"}, {2}),
    ({"when": {"$gte": datetime(2021, 1, 1, tzinfo=timezone.utc)}}, {2}),
    ({"when": {"$lt": "2021-01-01T00:00:00Z"}}, set()),
    ({"$or": [{"year": 2019}, {"nested.lang": "de", "free": False}]}, {0, 1}),
    ({"$and": [{"year": {"$gte": 2020}}, {"$not": {"year": 2021}}]}, {1}),
    ({"nested.lang": {"$text": "de"}}, {1}),
    (models.Filter(must_not=to_filter({"year": 2019}).must), {1, 2}),
    ({}, {0, 1, 2}),
    (None, {0, 1, 2}),
]


def ids_of(documents: list[Document]) -> list[str]:
    return [str(document.id) for document in documents]


def test_filters_find_what_they_say(make_store):
    store = make_store()
    store.add_texts(TEXTS, METADATAS, ids=["0", "1", "2"])
    for filter, expected in FILTERS:
        results = store.similarity_search("red apple", k=3, filter=filter)
        assert set(ids_of(results)) == {str(i) for i in expected}, filter


@pytest.mark.parametrize(
    ("filter", "place"),
    [
        ({"year": {"$near": 1}}, "filter['year']"),
        ({"$nor": []}, "filter['$nor']"),
        ({"$or": {}}, "filter['$or']"),
        ({"year": {"$gte": None}}, "filter['year']['$gte']"),
        ({"year": {"$lt": "soon"}}, "filter['year']['$lt']"),
        ({"$and": [{"year": {"$in": 3}}]}, "filter['$and'][0]['year']['$in']"),
        ({"year": {"a": 1}}, "filter['year']"),
        ("year", "filter"),
    ],
)
def test_a_wrong_filter_is_a_value_error_that_names_the_place(filter, place):
    with pytest.raises(ValueError) as raised:
        to_filter(filter)
    assert isinstance(raised.value, FilterError) and raised.value.argument == place


async def test_metadata_comes_back_as_it_was_given(make_store):
    odd = {
        "": "empty key",
        "a.b": 1,
        "float": 1.0,
        "tiny": 5e-324,
        "big": 2**53 + 1,
        "negative": -1,
        "none": None,
        "list": [1, "x", None, [2.5]],
        "nested": {"page_content": "p", "metadata": {}},
        "_id": "mine",
        "ünï": "\u0000 ok \U0001f600",
    }
    store = make_store()
    await store.aadd_documents([Document("red apple", metadata=odd)], ids=["x"])
    for results in (store.get_by_ids(["x"]), await store.asimilarity_search("red apple", k=1)):
        assert results == [Document("red apple", metadata=odd, id="x")]
        assert type(results[0].metadata["float"]) is float and type(results[0].metadata["big"]) is int


def test_any_string_is_an_id_and_adding_twice_is_adding_once(make_store):
    store = make_store()
    ids = ["7", "a/b c", "Ünï", str(uuid.uuid4()), uuid.uuid4().hex, "x" * 500]
    texts = [f"text {i}" for i in range(6)]
    for _ in range(2):
        assert store.add_texts(iter(texts), ids=iter(ids), batch_size=2) == ids
    assert store.collection.count() == 6
    assert ids_of(store.get_by_ids(ids[::-1])) == ids[::-1]
    assert store.add_texts(["text 7"], ids=[7]) == ["7"] and store.collection.count() == 6
    assert store.delete(ids[:3]) and store.delete(["never there"]) and store.delete([])
    assert store.get_by_ids(ids[:3]) == [] and ids_of(store.get_by_ids(ids)) == ids[3:]


def test_numbers_that_others_gave_as_ids_are_found_by_their_strings(client):
    collection = Collection.create("docs", TOKENS_RECIPE, client, encoder=ENCODER)
    collection.add([7], texts=["red apple"], payloads=[{"year": 2020}])
    store = EmbplugVectorStore.from_existing_collection("docs", ENCODER, client=client)
    expected = [Document("red apple", metadata={"year": 2020}, id="7")]
    assert store.similarity_search("apple", k=1) == expected == store.get_by_ids(["7"])
    store.delete(["7"])
    assert store.get_by_ids(["7"]) == []


async def test_scores_thresholds_and_offsets(make_store):
    store = make_store()
    store.add_texts(TEXTS, ids=["0", "1", "2"])
    scored = store.similarity_search_with_score("green apple", k=3)
    assert scored == await store.asimilarity_search_with_score("green apple", k=3)
    assert scored[0][0].id == "1" and [s for _, s in scored] == sorted((s for _, s in scored), reverse=True)
    assert ids_of(store.similarity_search("green apple", k=1, offset=1)) == [scored[1][0].id]
    threshold = (scored[0][1] + scored[1][1]) / 2
    assert ids_of(store.similarity_search("green apple", score_threshold=threshold)) == ["1"]
    relevant = store.similarity_search_with_relevance_scores("green apple", k=3)
    assert relevant == await store.asimilarity_search_with_relevance_scores("green apple", k=3)
    assert relevant[0][1] == pytest.approx(1, abs=1e-2) and all(0 <= score <= 1 for _, score in relevant)
    assert [d for d, _ in relevant] == [d for d, _ in scored]
    exact = store.similarity_search("green apple", k=3, search_params=models.SearchParams(exact=True))
    assert ids_of(exact) == ids_of([d for d, _ in scored])
    for wrong in ({"k": 0}, {"k": 1, "offset": -1}):
        with pytest.raises(ValueError):
            store.similarity_search("apple", **wrong)
    with pytest.raises(TypeError):
        store.similarity_search("apple", retrieval_mode="sparse")


async def test_mmr_passes_over_a_duplicate(make_store):
    store = make_store()
    store.add_texts(["red apple", "red apple", "red car"], ids=["0", "1", "2"])
    both = ids_of(store.similarity_search("red apple", k=2))
    assert set(both) == {"0", "1"}
    for chosen in (
        store.max_marginal_relevance_search("red apple", k=2, lambda_mult=0.1),
        await store.amax_marginal_relevance_search("red apple", k=2, lambda_mult=0.1),
        await store.as_retriever(search_type="mmr", search_kwargs={"k": 2, "lambda_mult": 0.1}).ainvoke(
            "red apple"
        ),
    ):
        assert "2" in ids_of(chosen) and len(chosen) == 2
    assert set(ids_of(store.max_marginal_relevance_search("red apple", k=2, lambda_mult=1.0))) == {"0", "1"}
    filtered = store.max_marginal_relevance_search("red apple", k=2, filter={"none": 1})
    assert filtered == []
    with pytest.raises(ValueError):
        store.max_marginal_relevance_search("red apple", lambda_mult=2)


async def test_searching_by_a_vector_is_searching_by_its_text(make_store, recipe_name):
    store = make_store()
    store.add_texts(TEXTS, ids=["0", "1", "2"])
    vector = (
        EMBEDDINGS.embed_query("blue sky")
        if recipe_name == "dense"
        else ENCODER.encode_queries(["blue sky"]).tokens[0].tolist()
    )
    expected = store.similarity_search("blue sky", k=2)
    assert store.similarity_search_by_vector(vector, k=2) == expected
    assert await store.asimilarity_search_by_vector(vector, k=2) == expected
    assert ids_of(store.max_marginal_relevance_search_by_vector(vector, k=1)) == ["2"]
    scored = await store.amax_marginal_relevance_search_with_score_by_vector(vector, k=1)
    assert scored[0][0].id == "2"


async def test_retrievers_take_scores_filters_and_callbacks(make_store, recipe_name):
    store = make_store()
    store.add_texts(TEXTS, METADATAS, ids=["0", "1", "2"])
    seen: list[int] = []

    class Listener(BaseCallbackHandler):
        def on_retriever_end(self, documents, **kwargs):
            seen.append(len(documents))

    retriever = EmbplugRetriever(vectorstore=store, k=2, filter={"year": {"$gte": 2020}}, with_scores=True)
    results = retriever.invoke("blue sky", {"callbacks": [Listener()]})
    assert results == await retriever.ainvoke("blue sky", {"callbacks": [Listener()]}) and seen == [2, 2]
    assert set(results[0].metadata["_stages"]) == ({"dense"} if recipe_name == "dense" else {"fde", "maxsim"})
    assert results[0].metadata["_score"] > results[1].metadata["_score"]
    assert len(retriever.invoke("blue sky", k=1)) == 1
    if recipe_name != "dense":
        (explained,) = retriever.invoke("blue sky", k=1, explain=True)
        matches = explained.metadata["_explanation"]["matches"]
        assert sum(match["share"] for match in matches) == pytest.approx(1)
    assert "_score" not in retriever.invoke("blue sky", with_scores=False)[0].metadata
    threshold = store.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.95}
    )
    assert ids_of(threshold.invoke("blue sky")) == ["2"] == ids_of(await threshold.ainvoke("blue sky"))
    with pytest.raises(ValueError):
        store.as_retriever(search_type="nearest")
    with pytest.raises(ValueError):
        EmbplugRetriever(vectorstore=store, k=0)
    with pytest.raises(ValueError):
        EmbplugRetriever(vectorstore=store, top_k=3)


async def test_collections_of_langchain_qdrant_open_as_they_are(client, caplog):
    if isinstance(client, EdgeClient):
        pytest.skip("langchain-qdrant knows no Edge")
    hexadecimal = uuid.uuid4().hex
    client.create_collection(
        "theirs", vectors_config=models.VectorParams(size=6, distance=models.Distance.COSINE)
    )
    theirs = QdrantVectorStore(client, "theirs", EMBEDDINGS, validate_embeddings=False)
    theirs.add_texts(TEXTS, METADATAS, ids=[hexadecimal, 7, str(uuid.uuid4())])
    theirs.add_texts(["no metadata"])
    vector = EMBEDDINGS.embed_query("odd")
    client.upsert("theirs", [models.PointStruct(id=8, vector=vector, payload={"title": "odd"})])
    client.upsert("theirs", [models.PointStruct(id=9, vector=vector)])
    with caplog.at_level(logging.WARNING):
        store = EmbplugVectorStore.from_existing_collection(
            "theirs", EMBEDDINGS, client=client, point_metadata=False
        )
    assert "recipe=" in caplog.text
    results = store.similarity_search_with_score("green apple", k=1)
    assert results[0][0] == Document("green apple", metadata=METADATAS[1], id="7")
    assert results[0][1] == pytest.approx(
        theirs.similarity_search_with_score("green apple", k=1)[0][1], abs=1e-5
    )
    assert ids_of(await store.asimilarity_search("blue sky", k=1, filter={"year": 2021}))
    assert {d.page_content for d in store.similarity_search("odd", k=2)} == {""}
    assert store.get_by_ids(["8"])[0].metadata == {"title": "odd"}
    assert store.similarity_search("no metadata", k=1)[0].metadata == {}
    assert store.get_by_ids([hexadecimal])[0].page_content == "red apple"
    assert store.max_marginal_relevance_search("green apple", k=2)[0].id == "7"
    store.add_texts(["yellow sun"], ids=["any string"])
    assert store.similarity_search("yellow sun", k=1)[0].id == "any string"
    assert theirs.similarity_search("yellow sun", k=1)[0].page_content == "yellow sun"
    await store.adelete(["any string", hexadecimal])
    assert store.collection.count() == 5
    with pytest.raises(NotAnEmbplugCollectionError):
        EmbplugVectorStore(client, "theirs", encoder=ENCODER, recipe=TOKENS_RECIPE)
    small = EmbplugVectorStore(client, "ours", encoder=ENCODER, recipe=TOKENS_RECIPE)
    small.add_documents(store.documents(filter={"year": {"$exists": True}}, batch_size=1))
    assert small.similarity_search("green apple", k=1)[0] == results[0][0]


async def test_class_methods_make_and_open_collections(client, recipe_name):
    model = EMBEDDINGS if recipe_name == "dense" else ENCODER
    documents = [Document("red apple", id="a"), Document("blue sky")]
    store = EmbplugVectorStore.from_documents(documents, model, client=client, collection_name="new")
    assert store.collection.count() == 2
    same = await EmbplugVectorStore.afrom_texts(
        ["red apple"], model, ids=["a"], client=client, collection_name="new"
    )
    assert same.collection.count() == 2 and ids_of(await same.asimilarity_search("red apple", k=1)) == ["a"]
    fresh = EmbplugVectorStore.from_texts(
        ["x y"], model, client=client, collection_name="new", force_recreate=True, content_payload_key="body"
    )
    assert fresh.collection.count() == 1
    opened = await EmbplugVectorStore.afrom_existing_collection("new", model, client=client)
    assert opened.content_payload_key == "body"
    assert opened.similarity_search("x y", k=1)[0].page_content == "x y"
    with pytest.raises(CollectionNotFoundError):
        EmbplugVectorStore.from_existing_collection("nowhere", model, client=client)
    other = opened.collection.recipe.model_copy(update={"fit_sample": 5})
    with pytest.raises(RecipeMismatchError):
        EmbplugVectorStore(client, "new", model, recipe=other)
    await opened.aclose()
    assert ids_of(await opened.asimilarity_search("x y", k=1))


def test_an_alias_stands_for_its_collection_where_it_is_made_anew(client):
    old = EmbplugVectorStore.from_texts(["old"], EMBEDDINGS, client=client, collection_name="docs")
    alias = models.CreateAlias(collection_name="docs", alias_name="current")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert old.collection.count() == 1
    arguments = {"client": client, "collection_name": "current", "force_recreate": True}
    fresh = EmbplugVectorStore.from_texts(["new"], EMBEDDINGS, **arguments)
    assert [document.page_content for document in fresh.documents()] == ["new"]
    assert not client.collection_exists("docs")


def test_engines_in_the_words_of_langchain_qdrant(tmp_path):
    store = EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, path=tmp_path / "edge", collection_name="c")
    assert isinstance(store.client, EdgeClient)
    store.client.close()
    assert isinstance(
        EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, location=":memory:").client, QdrantClient
    )
    for wrong in ({"url": "http://x", "path": "y"}, {"path": "y", "prefix": "z"}):
        with pytest.raises(InvalidArgumentError):
            EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, **wrong)


def test_wrong_arguments_are_value_errors_that_name_them():
    client = QdrantClient(":memory:")
    for arguments, name in [
        ({"embedding": "minilm"}, "embedding"),
        ({"embedding": ENCODER, "encoder": ENCODER}, "encoder"),
        ({"encoder": 3}, "encoder"),
        ({}, "embedding"),
        ({"embedding": EMBEDDINGS, "recipe": TOKENS_RECIPE}, "embedding"),
    ]:
        with pytest.raises(ValueError) as raised:
            EmbplugVectorStore(client, "docs", **arguments)
        assert raised.value.argument == name
    store = EmbplugVectorStore(client, "fine", EMBEDDINGS)
    for texts, options, name in [
        (["a", "b"], {"ids": ["1"]}, "ids"),
        (["a"], {"metadatas": [{}, {}]}, "metadatas"),
        ("a", {}, "texts"),
        (["a"], {"batch_size": 0}, "batch_size"),
    ]:
        with pytest.raises(ValueError) as raised:
            store.add_texts(texts, **options)
        assert raised.value.argument == name
    for call in (store.delete, lambda: store.delete("1")):
        with pytest.raises(ValueError):
            call()
    assert store.add_texts(["", " "], ids=["1", "2"]) == ["1", "2"]
    assert len(store.similarity_search("", k=2)) == 2


def test_ten_threads_search_while_another_adds(make_store):
    store = make_store()
    store.add_texts([f"word{i} common" for i in range(20)], ids=[f"{i}" for i in range(20)])

    def search(i: int) -> None:
        for j in range(4):
            n = (i * 4 + j) % 20
            results = store.similarity_search(f"word{n} common", k=1)[0]
            assert results.id == f"{n}" and results.page_content == f"word{n} common"

    with ThreadPoolExecutor(11) as pool:
        adding = pool.submit(
            lambda: [store.add_texts([f"word{i} common"], ids=[f"{i}"]) for i in range(20, 30)]
        )
        for searched in [pool.submit(search, i) for i in range(10)]:
            searched.result()
        adding.result()
    assert store.collection.count() == 30


async def test_a_hundred_tasks_search_while_another_adds(make_store):
    store = make_store()
    await store.aadd_texts([f"word{i} common" for i in range(20)], ids=[f"{i}" for i in range(20)])

    async def search(i: int) -> None:
        results = (await store.asimilarity_search(f"word{i % 20} common", k=1))[0]
        assert results.id == f"{i % 20}" and results.page_content == f"word{i % 20} common"

    async def add() -> None:
        for i in range(20, 24):
            await store.aadd_texts([f"word{i} common"], ids=[f"{i}"])

    await asyncio.gather(add(), *(search(i) for i in range(100)))
    assert store.collection.count() == 24


def test_asynchronous_calls_work_in_one_loop_after_another(make_store):
    store = make_store()
    for i in range(3):
        asyncio.run(store.aadd_texts([f"text {i}"], ids=[f"{i}"]))
        assert ids_of(asyncio.run(store.asimilarity_search(f"text {i}", k=1))) == [f"{i}"]
    assert len(store._shared.event_loops) == 1


async def test_rerankers_order_what_any_retriever_found():
    documents = [Document(text, metadata={"n": i}, id=str(i)) for i, text in enumerate(TEXTS)]
    for reranker in (
        EmbplugReranker(encoder=ENCODER, top_n=2),
        EmbplugReranker(cross_encoder=lambda query, texts: [float(query == text) for text in texts], top_n=2),
        EmbplugReranker(cross_encoder=CrossEncoder(lambda q, texts: [q == t for t in texts]), top_n=2),
    ):
        ranked = reranker.compress_documents(documents, "blue sky")
        assert ranked == await reranker.acompress_documents(documents, "blue sky")
        assert ranked[0].id == "2" and len(ranked) == 2
        assert ranked[0].metadata["n"] == 2 and ranked[0].metadata["relevance_score"] > 0
        assert reranker.compress_documents([], "blue sky") == []
    assert documents[2].metadata == {"n": 2}
    plain = EmbplugReranker(encoder=ENCODER, top_n=None, score_key=None)
    assert len(plain.compress_documents(documents, "blue sky")) == 3
    for wrong in ({}, {"encoder": ENCODER, "cross_encoder": len}, {"cross_encoder": 3}, {"encoder": 3}):
        with pytest.raises(ValueError):
            EmbplugReranker(**wrong)


async def test_the_reranker_works_inside_a_compression_retriever(make_store):
    store = make_store()
    store.add_texts(TEXTS, METADATAS, ids=["0", "1", "2"])
    for method in ({"encoder": ENCODER}, {"cross_encoder": lambda query, texts: [query == t for t in texts]}):
        retriever = ContextualCompressionRetriever(
            base_compressor=EmbplugReranker(**method, top_n=1),
            base_retriever=EmbplugRetriever(vectorstore=store, k=3),
        )
        results = retriever.invoke("green apple")
        assert results == await retriever.ainvoke("green apple")
        assert ids_of(results) == ["1"] and results[0].metadata["relevance_score"] > 0


def test_a_collection_made_without_the_store_opens_with_its_recipe(memory_client):
    recipe = Recipe(tokens=Tokens(dim=DIM, codes=None))
    Collection.create("docs", recipe, memory_client, encoder=ENCODER).add([1], texts=["red apple"])
    for open_it in (
        lambda recipe: EmbplugVectorStore(memory_client, "docs", encoder=ENCODER, recipe=recipe),
        lambda recipe: EmbplugVectorStore.from_existing_collection(
            "docs", ENCODER, client=memory_client, recipe=recipe
        ),
    ):
        assert open_it(recipe).similarity_search("apple", k=1)[0].page_content == "red apple"
        with pytest.raises(RecipeMismatchError):
            open_it(recipe.model_copy(update={"fit_sample": 5}))


def test_words_and_vectors_are_searched_together(memory_client):
    recipe = Recipe(dense=Dense(dim=6), sparse=Sparse())
    store = EmbplugVectorStore(memory_client, "docs", EMBEDDINGS, recipe=recipe)
    store.add_texts(TEXTS, METADATAS, ids=["0", "1", "2"])
    scored = store.similarity_search_with_score("sky", k=3, with_stages=True)
    assert "sparse" in {d.id: d for d, _ in scored}["2"].metadata["_stages"]
    assert ids_of(store.similarity_search("blue sky", k=1)) == ["2"]
    with pytest.raises(ValueError, match="relevance"):
        store.similarity_search_with_relevance_scores("sky")


def test_mmr_compares_by_codes_and_by_encodings_too(memory_client):
    from embplug.methods import FDE, ResidualQuantizer

    fde = FDE(repetitions=8, simhash_bits=2, projection_dim=8)
    for i, tokens in enumerate(
        [
            Tokens(dim=DIM, encoding=fde, multivector=None, codes=None),
            Tokens(dim=DIM, encoding=fde, multivector=None, codes=ResidualQuantizer(DIM)),
        ]
    ):
        collection = Collection.create(f"c{i}", Recipe(tokens=tokens), memory_client, encoder=ENCODER)
        texts = ["red apple", "red apple", "red car"]
        collection.add_batches([Documents([0, 1, 2], texts=texts)], progress=False)
        hits = collection.search(
            text="red apple", limit=2, mmr=models.Mmr(diversity=0.8, candidates_limit=100)
        )
        assert [hit.id for hit in hits][1] == 2


def test_the_page_of_the_documentation_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count, names = run_page("langchain.md")
    assert count >= 9
    names["store"].client.close()


@pytest.mark.parametrize("name", ["langchain_rag.py", "langchain_rag_plain_qdrant.py"])
def test_the_examples_run_and_answer(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", [name])
    run_example(name)
    assert "(stand-in model) Bees find their way" in capsys.readouterr().out


def test_errors_name_the_place_in_the_call_and_the_id(make_store):
    store = make_store()
    texts = [f"text {i}" for i in range(1000)]
    ids = [f"id {i}" for i in range(1000)]
    wrong = [*texts]
    wrong[716] = "half \ud800"
    with pytest.raises(InvalidArgumentError, match=r"^texts\[716\]: .*as character 5"):
        store.add_texts(wrong, ids=ids)
    metadatas = [{"n": {"m": [1.0]}} for _ in texts]
    metadatas[716] = {"n": {"m": [1.0, float("nan")]}}
    with pytest.raises(InvalidArgumentError, match=r"nan under \['metadata'\]\['n'\]\['m'\]\[1\]") as raised:
        store.add_texts(texts, metadatas, ids=ids)
    assert raised.value.argument == "payloads[716]"


@pytest.mark.parametrize("apart", [1, 999])
async def test_of_an_id_that_comes_twice_in_one_call_the_last_text_is_kept(make_store, apart):
    ids = [f"id {i}" for i in range(1000)]
    ids[apart] = ids[0]
    texts = [f"text {i}" for i in range(1000)]
    store, other = make_store(), make_store(name="other")
    assert store.add_texts(texts, ids=ids) == await other.aadd_texts(texts, ids=ids) == ids
    for written in (store, other):
        assert written.collection.count() == 999
        assert written.get_by_ids([ids[0]])[0].page_content == f"text {apart}"


def test_an_unknown_option_is_named_with_those_that_there_are(make_store):
    store = make_store()
    calls = {
        "batch_size": partial(store.add_texts, ["a"]),
        "on_empty": partial(store.add_documents, [Document("a")]),
        "offset": partial(store.similarity_search, "a"),
    }
    for known, call in calls.items():
        with pytest.raises(TypeError, match=f"^unexpected argument 'foo'; the options are .*{known}"):
            call(foo=1)


def test_a_single_id_is_no_list_of_ids(make_store):
    store = make_store()
    store.add_texts(TEXTS, ids=["4", "2", "42"])
    for single in ("42", b"42", {"42": 1}):
        for call in (store.delete, store.get_by_ids):
            with pytest.raises(InvalidArgumentError, match="a list of ids"):
                call(single)
    assert set(ids_of(store.get_by_ids(["4", "2", "42"]))) == {"4", "2", "42"}


def test_a_number_is_found_whatever_its_type(make_store):
    store = make_store()
    store.add_texts(TEXTS, [{"p": 10}, {"p": 10.0}, {"p": 11}], ids=["0", "1", "2"])
    for filter, expected in [
        ({"p": 10}, {"0", "1"}),
        ({"p": 10.0}, {"0", "1"}),
        ({"p": {"$ne": 10}}, {"2"}),
        ({"p": {"$in": [10, "x"]}}, {"0", "1"}),
    ]:
        assert set(ids_of(store.similarity_search("sky", k=3, filter=filter))) == expected, filter


async def test_a_store_that_has_yet_to_learn_answers_with_nothing(client):
    recipe = Recipe(dense=Dense(dim=6, transforms=[PCA(2)]))
    store = EmbplugVectorStore(client, "learning", EMBEDDINGS, recipe=recipe)
    assert store.similarity_search("sky") == []
    assert await store.asimilarity_search_with_score("sky") == []
    assert store.max_marginal_relevance_search("sky") == []
    store.add_texts(TEXTS)
    assert len(store.similarity_search("sky")) == 3


async def test_metadata_change_without_embedding_again(make_store):
    store = make_store()
    store.add_texts(TEXTS, METADATAS, ids=["a/0", "1", "2"])
    before = [document.id for document in store.similarity_search("red apple", k=3)]
    store.set_metadata({"year": 2030, "new": [1]}, ["a/0"])
    await store.aset_metadata({"lang": "fr"}, filter={"year": 2020}, key="nested")
    first, second = store.get_by_ids(["a/0", "1"])
    assert first.metadata == {**METADATAS[0], "year": 2030, "new": [1]}
    assert second.metadata == {**METADATAS[1], "nested": {"lang": "fr"}}
    assert ids_of(store.similarity_search("red apple", k=3, filter={"year": 2030})) == ["a/0"]
    store.delete_metadata(["new", "nested.lang"], ["a/0"])
    await store.adelete_metadata(["tags"], filter={"year": 2030})
    assert store.get_by_ids(["a/0"])[0].metadata == {"year": 2030, "nested": {}, "score": 0.5, "free": True}
    store.overwrite_metadata({"only": 1}, ["1"])
    await store.aoverwrite_metadata({"only": 2}, filter={"year": 2021})
    assert [document.metadata for document in store.get_by_ids(["1", "2"])] == [{"only": 1}, {"only": 2}]
    assert [document.page_content for document in store.get_by_ids(["a/0", "1", "2"])] == TEXTS
    assert [document.id for document in store.similarity_search("red apple", k=3)] == before


def test_what_is_wrong_in_a_change_of_metadata_is_named(make_store):
    store = make_store()
    store.add_texts(TEXTS, METADATAS, ids=["0", "1", "2"])
    for argument, call in [
        (r"ids\[1\]", lambda: store.set_metadata({"a": 1}, ["0", "nobody"])),
        ("ids", lambda: store.set_metadata({"a": 1})),
        ("ids", lambda: store.set_metadata({"a": 1}, ["0"], filter={"year": 2019})),
        ("ids", lambda: store.set_metadata({"a": 1}, "0")),
        ("metadata", lambda: store.set_metadata({"a": float("nan")}, ["0"])),
        ("metadata", lambda: store.overwrite_metadata([1], ["0"])),
        ("key", lambda: store.set_metadata({"a": 1}, ["0"], key="a b")),
        ("keys", lambda: store.delete_metadata("year", ["0"])),
        (r"keys\[0\]", lambda: store.delete_metadata([""], ["0"])),
        (r"filter\['year'\]", lambda: store.delete_metadata(["year"], filter={"year": {"$near": 1}})),
    ]:
        with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
            call()
    assert [document.metadata for document in store.get_by_ids(["0", "1", "2"])] == METADATAS


def test_options_of_requests_reach_the_engine(make_store, engine_path):
    store = make_store()
    store.add_texts(TEXTS, ids=["0", "1", "2"])
    options = {"consistency": "majority", "timeout": 60}
    if engine_path in ("rest", "grpc"):
        assert ids_of(store.similarity_search("red apple", k=1, **options)) == ["0"]
        assert len(store.max_marginal_relevance_search("red apple", k=2, **options)) == 2
    for argument, wrong in (("consistency", "any"), ("timeout", 0), ("shard_key_selector", [])):
        with pytest.raises(InvalidArgumentError, match=f"^{argument}: "):
            store.similarity_search("red apple", **{argument: wrong})
