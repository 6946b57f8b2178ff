"""What Haystack's own tests leave out: data, policies, retrievers, pipelines, errors, others' collections."""

from __future__ import annotations

import asyncio
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.utils import Secret
from haystack_embplug import (
    EmbplugDocumentStore,
    EmbplugEmbeddingRetriever,
    EmbplugHybridRetriever,
    EmbplugRanker,
    EmbplugTokenRetriever,
)
from qdrant_client import models

from embplug import Dense, Recipe, Sparse
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from tests.frameworks.conftest import DIM, ENCODER, TOKENS_RECIPE
from tests.frameworks.pages import run_example, run_page

TEXTS = ["bees dance for flowers", "ants follow scents", "wasps build nests of paper"]
HYBRID = Recipe(dense=Dense(dim=3), sparse=Sparse())


def documents(**meta: object) -> list[Document]:
    """Three documents with ids 0 to 2, and embeddings along the axes."""
    return [
        Document(
            id=str(i),
            content=text,
            meta={"year": 2020 + i, "group": "ab"[i % 2], **meta},
            embedding=[float(i == axis) for axis in range(3)],
        )
        for i, text in enumerate(TEXTS)
    ]


@pytest.fixture
def store(engine: Engine) -> EmbplugDocumentStore:
    return EmbplugDocumentStore(client=engine, index="docs", recipe=HYBRID, progress_bar=False)


@pytest.fixture
def token_store(engine: Engine) -> EmbplugDocumentStore:
    return EmbplugDocumentStore(client=engine, index="tokens", encoder=ENCODER, recipe=TOKENS_RECIPE)


def memory_store(**options: object) -> EmbplugDocumentStore:
    return EmbplugDocumentStore(":memory:", embedding_dim=3, progress_bar=False, **options)


def lengths(query: str, texts: list[str]) -> list[int]:
    """A cross-encoder that prefers long texts."""
    return [len(text) for text in texts]


def ids(result: dict[str, list[Document]]) -> list[str]:
    return [document.id for document in result["documents"]]


def test_a_store_becomes_data_and_back_without_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "very secret")
    store = EmbplugDocumentStore(
        url="http://localhost:6333", api_key=Secret.from_env_var("SOME_KEY"), index="docs", recipe=HYBRID
    )
    data = store.to_dict()
    assert "very secret" not in str(data)
    assert data["init_parameters"]["api_key"]["env_vars"] == ["SOME_KEY"]
    again = EmbplugDocumentStore.from_dict(data)
    assert again.to_dict() == data
    assert again.recipe == HYBRID


def test_a_token_that_is_no_environment_variable_is_never_serialised() -> None:
    store = EmbplugDocumentStore(url="http://localhost:6333", api_key=Secret.from_token("very secret"))
    with pytest.raises(ValueError, match="serialize token-based secret"):
        store.to_dict()


def test_the_store_connects_when_it_is_first_used(tmp_path: Path) -> None:
    path = tmp_path / "edge"
    store = EmbplugDocumentStore(path=path, embedding_dim=3)
    assert not path.exists()
    store.write_documents(documents())
    store.close()
    assert store.count_documents() == 3
    store.close()
    once = EmbplugDocumentStore(path=path, embedding_dim=3, recreate_index=True)
    assert once.count_documents() == 0
    once.write_documents(documents())
    once.close()
    assert once.count_documents() == 3, "a store that is opened again keeps its documents"
    once.close()


@pytest.mark.parametrize(
    ("policy", "written", "first"),
    [(DuplicatePolicy.OVERWRITE, 3, "new"), (DuplicatePolicy.SKIP, 2, "bees dance for flowers")],
)
def test_an_id_that_exists_or_comes_twice(policy: DuplicatePolicy, written: int, first: str) -> None:
    store = memory_store()
    store.write_documents(documents()[:1])
    more = [
        Document(id=str(i), content=text, embedding=[1.0, 0.0, 0.0]) for i, text in enumerate(["x", "y", "z"])
    ]
    again = Document(id="0", content="new", embedding=[0.0, 0.0, 1.0])
    assert store.write_documents([*more, again], policy) == written
    assert store.get_documents_by_id(["0"])[0].content == first
    assert store.count_documents() == 3
    twice = [Document(id="twice", content=text, embedding=[1.0, 0.0, 0.0]) for text in ("one", "two")]
    assert store.write_documents(twice, policy) == 1
    kept = store.get_documents_by_id(["twice"])[0].content
    assert kept == ("two" if policy == DuplicatePolicy.OVERWRITE else "one")


@pytest.mark.parametrize("policy", [DuplicatePolicy.FAIL, DuplicatePolicy.NONE])
def test_the_error_names_the_document_that_exists_and_nothing_is_written(policy: DuplicatePolicy) -> None:
    store = memory_store()
    store.write_documents(documents()[1:2])
    with pytest.raises(DuplicateDocumentError, match=r"documents\[1\]\.id"):
        store.write_documents(documents(), policy)
    assert store.count_documents() == 1
    twice = [Document(id="new", content="x"), Document(id="new", content="y")]
    with pytest.raises(DuplicateDocumentError, match=r"documents\[0\]\.id"):
        store.write_documents(twice, policy)


def test_a_document_comes_back_as_it_was_written(store: EmbplugDocumentStore) -> None:
    blob = ByteStream(b"\x00\xff", meta={"page": 1}, mime_type="image/png")
    whole = Document(id="a", content="bees", blob=blob, meta={"tags": ["x"], "nested": {"a": 1}})
    store.write_documents([whole, Document(id="b", blob=blob)])
    assert store.get_documents_by_id(["b", "a", "absent"]) == [Document(id="b", blob=blob), whole]


def test_documents_without_an_embedding_are_found_by_filters_alone(
    store: EmbplugDocumentStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_documents([*documents(), Document(id="bare", content="bees", meta={"year": 2020})])
    assert "1 documents lack an embedding" in caplog.text
    filters = {"field": "meta.year", "operator": "==", "value": 2020}
    assert sorted(document.id for document in store.filter_documents(filters)) == ["0", "bare"]
    retriever = EmbplugEmbeddingRetriever(store)
    assert sorted(ids(retriever.run([1.0, 0.0, 0.0]))) == ["0", "1", "2"]
    store.write_documents(
        [Document(id="bare", content="bees", embedding=[1.0, 0.0, 0.0])], DuplicatePolicy.OVERWRITE
    )
    assert "bare" in ids(retriever.run([1.0, 0.0, 0.0]))


def test_the_embedding_retriever(store: EmbplugDocumentStore) -> None:
    store.write_documents(documents())
    retriever = EmbplugEmbeddingRetriever(store, top_k=2, scale_score=True)
    result = retriever.run([0.0, 1.0, 0.1])
    assert ids(result) == ["1", "2"]
    assert result == asyncio.run(retriever.run_async([0.0, 1.0, 0.1]))
    assert all(0 <= document.score <= 1 for document in result["documents"])
    assert ids(retriever.run([0.0, 1.0, 0.1], top_k=1)) == ["1"]
    recent = {"field": "meta.year", "operator": ">", "value": 2021}
    assert ids(retriever.run([0.0, 1.0, 0.1], filters=recent)) == ["2"]
    assert ids(EmbplugEmbeddingRetriever(store).run([0.0, 1.0, 0.1], score_threshold=0.5)) == ["1"]


def test_groups_of_the_metadata(store: EmbplugDocumentStore) -> None:
    store.write_documents(documents())
    retriever = EmbplugEmbeddingRetriever(store, group_by="group", group_size=1)
    expected = ["0", "1"]
    assert sorted(ids(retriever.run([1.0, 0.5, 0.0]))) == expected
    assert sorted(ids(asyncio.run(retriever.run_async([1.0, 0.5, 0.0], group_by="meta.group")))) == expected


@pytest.mark.parametrize(
    ("retriever", "recipe", "inputs"),
    [
        (EmbplugEmbeddingRetriever, HYBRID, {"query_embedding": [1.0, 0.0, 0.0]}),
        (EmbplugHybridRetriever, HYBRID, {"query": "bees", "query_embedding": [1.0, 0.0, 0.0]}),
        (EmbplugTokenRetriever, TOKENS_RECIPE, {"query_tokens": [[1.0] * DIM]}),
    ],
)
def test_an_asynchronous_run_opens_the_store_in_a_thread(
    retriever: type, recipe: Recipe, inputs: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    opened = EmbplugDocumentStore._open

    def noted(store: EmbplugDocumentStore) -> object:
        threads.append(threading.current_thread())
        return opened(store)

    monkeypatch.setattr(EmbplugDocumentStore, "_open", noted)
    store = memory_store(recipe=recipe)
    assert asyncio.run(retriever(store).run_async(**inputs))["documents"] == []
    assert len(threads) == 1 and threads[0] is not threading.main_thread()


@pytest.mark.parametrize("wrong", [{"group_size": 0}, {"top_k": 0}])
def test_a_size_below_one_is_refused(wrong: dict[str, int]) -> None:
    store = memory_store()
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        EmbplugEmbeddingRetriever(store, group_by="group", **wrong)
    retriever = EmbplugEmbeddingRetriever(store, group_by="group")
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        retriever.run([1.0, 0.5, 0.0], **wrong)
    with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
        asyncio.run(retriever.run_async([1.0, 0.5, 0.0], **wrong))


@pytest.mark.parametrize(
    ("name", "value"),
    [("score_threshold", "a"), ("score_threshold", float("nan")), ("group_by", 3), ("group_by", "")],
)
def test_a_wrong_option_of_a_retriever_is_named(name: str, value: Any) -> None:
    store = memory_store()
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected a .*, got "):
        EmbplugEmbeddingRetriever(store, **{name: value})
    with pytest.raises(InvalidArgumentError, match=f"^{name}: expected a .*, got "):
        EmbplugEmbeddingRetriever(store).run([1.0, 0.5, 0.0], **{name: value})


def test_a_query_that_is_none_is_named() -> None:
    store = EmbplugDocumentStore(":memory:", index="tokens", encoder=ENCODER, recipe=TOKENS_RECIPE)
    wrong: Any = None
    with pytest.raises(InvalidArgumentError, match=r"^query: expected query or query_tokens"):
        EmbplugTokenRetriever(store).run()
    with pytest.raises(InvalidArgumentError, match=r"^query: expected a text, got 7"):
        EmbplugTokenRetriever(store).run(7)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^query: expected a text, got None"):
        EmbplugHybridRetriever(store).run(wrong)
    with pytest.raises(InvalidArgumentError, match=r"^query_embedding: expected the embedding"):
        EmbplugEmbeddingRetriever(memory_store()).run(wrong)


def test_wrong_options_of_the_ranker_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^score_threshold: expected a number"):
        EmbplugRanker(cross_encoder=lengths, score_threshold="a")  # type: ignore[arg-type]
    ranker = EmbplugRanker(cross_encoder=lengths)
    with pytest.raises(InvalidArgumentError, match=r"^score_threshold: expected a number"):
        ranker.run("x", documents(), score_threshold="a")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^query: expected a text, got None"):
        ranker.run(None, documents())  # type: ignore[arg-type]


def test_a_policy_that_is_a_name_is_refused(store: EmbplugDocumentStore) -> None:
    with pytest.raises(InvalidArgumentError, match=r"policy: .*DuplicatePolicy, got 'overwrite'"):
        store.write_documents(documents(), "overwrite")  # type: ignore[arg-type]
    assert store.count_documents() == 0


def test_values_that_have_no_order_are_named(store: EmbplugDocumentStore) -> None:
    mixed = [Document(id=str(i), content="a", meta={"n": n}) for i, n in enumerate((1, "one"))]
    store.write_documents(mixed)
    with pytest.raises(InvalidArgumentError, match="metadata_field"):
        store.get_metadata_field_min_max("meta.n")
    for wrong in ({"from_": -1}, {"size": -1}):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            store.get_metadata_field_unique_values("meta.n", **wrong)


def test_filters_are_replaced_or_merged(store: EmbplugDocumentStore) -> None:
    store.write_documents(documents())
    late = {"field": "meta.year", "operator": ">", "value": 2020}
    group = {"field": "meta.group", "operator": "==", "value": "a"}
    replacing = EmbplugEmbeddingRetriever(store, filters=late)
    assert sorted(ids(replacing.run([1.0, 0.0, 0.0], filters=group))) == ["0", "2"]
    merging = EmbplugEmbeddingRetriever(store, filters=late, filter_policy="merge")
    assert ids(merging.run([1.0, 0.0, 0.0], filters=group)) == ["2"]
    own = models.Filter(must=[models.FieldCondition(key="meta.group", match=models.MatchValue(value="a"))])
    assert ids(merging.run([1.0, 0.0, 0.0], filters=own)) == ["2"]


def test_the_token_retriever(token_store: EmbplugDocumentStore) -> None:
    token_store.write_documents(documents())
    retriever = EmbplugTokenRetriever(token_store, top_k=1, scale_score=True)
    result = retriever.run("nests of paper")
    assert ids(result) == ["2"] and result["documents"][0].score == pytest.approx(1, abs=0.05)
    matrix = ENCODER.encode_queries(["ants"]).tokens[0].tolist()
    by_matrix = EmbplugTokenRetriever(token_store, top_k=1)
    assert ids(asyncio.run(by_matrix.run_async(query_tokens=matrix))) == ["1"]
    with pytest.raises(InvalidArgumentError, match="query or query_tokens"):
        retriever.run()


def test_the_hybrid_retriever(store: EmbplugDocumentStore) -> None:
    store.write_documents(documents())
    retriever = EmbplugHybridRetriever(store, top_k=2)
    # BM25 alone finds the second, and the embedding alone the third.
    assert set(ids(retriever.run("ants", query_embedding=[0.0, 0.0, 1.0]))) == {"1", "2"}
    words = EmbplugHybridRetriever(store, branches=["sparse"])
    assert ids(asyncio.run(words.run_async("ants"))) == ["1"]


def test_the_ranker_keeps_the_best(engine: Engine) -> None:
    ranker = EmbplugRanker(ENCODER, top_k=2)
    ranked = ranker.run("nests of paper", documents())
    assert ids(ranked)[0] == "2" and len(ranked["documents"]) == 2
    assert asyncio.run(ranker.run_async("nests of paper", documents())) == ranked
    by_length = EmbplugRanker(cross_encoder=lengths)
    assert ids(by_length.run("x", documents(), score_threshold=20)) == ["2", "0"]
    assert ids(by_length.run("x", [])) == []


def test_the_ranker_reads_fields_of_the_metadata() -> None:
    seen: list[str] = []

    def scorer(query: str, texts: list[str]) -> list[float]:
        seen.extend(texts)
        return [0.0] * len(texts)

    EmbplugRanker(cross_encoder=scorer, meta_fields_to_embed=["year"]).run("x", documents()[:1])
    assert seen == ["2020\nbees dance for flowers"]


def test_a_pipeline_is_written_and_read(tmp_path: Path) -> None:
    """As data, with its store; the directory of Edge is the same afterwards."""
    store = EmbplugDocumentStore(path=tmp_path / "edge", index="docs", recipe=HYBRID)
    indexing = Pipeline()
    indexing.add_component("writer", DocumentWriter(store, DuplicatePolicy.OVERWRITE))
    assert indexing.run({"writer": {"documents": documents()}})["writer"]["documents_written"] == 3
    pipeline = Pipeline()
    pipeline.add_component("dense", EmbplugEmbeddingRetriever(store, top_k=1))
    pipeline.add_component("words", EmbplugHybridRetriever(store, branches=["sparse"], top_k=1))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.add_component("ranker", EmbplugRanker("minilm"))
    pipeline.connect("dense.documents", "joiner.documents")
    pipeline.connect("words.documents", "joiner.documents")
    pipeline.connect("joiner.documents", "ranker.documents")
    written = pipeline.dumps()
    store.close()
    again = Pipeline.loads(written, allowed_modules=["haystack_embplug"])
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    again.remove_component("ranker")
    inputs = {"dense": {"query_embedding": [1.0, 0.0, 0.0]}, "words": {"query": "paper"}}
    assert set(ids(again.run(inputs)["joiner"])) == {"0", "2"}
    again.get_component("dense").close()
    again.get_component("words").close()


def test_an_asynchronous_pipeline(store: EmbplugDocumentStore) -> None:
    async def run() -> dict[str, list[Document]]:
        await store.write_documents_async(documents())
        pipeline = Pipeline()
        pipeline.add_component("retriever", EmbplugEmbeddingRetriever(store, top_k=1))
        pipeline.add_component("ranker", EmbplugRanker(ENCODER))
        pipeline.connect("retriever", "ranker")
        inputs = {"retriever": {"query_embedding": [0.0, 1.0, 0.0]}, "ranker": {"query": "ants"}}
        result = await pipeline.run_async(inputs)
        await store.close_async()
        return result["ranker"]

    assert ids(asyncio.run(run())) == ["1"]


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        ("year", "filters"),
        ({"field": "meta.year", "operator": "~", "value": 1}, r"filters\['operator'\]"),
        (
            {"operator": "AND", "conditions": [{"field": "", "operator": "==", "value": 1}]},
            r"\[0\]\['field'\]",
        ),
        ({"field": "meta.year", "operator": ">", "value": "last year"}, r"filters\['value'\]"),
        ({"field": "embedding", "operator": "==", "value": 1}, r"filters\['field'\]"),
        ({"field": "id", "operator": ">", "value": "1"}, r"filters\['value'\]"),
        ({"field": "meta.year", "operator": ["=="], "value": 1}, r"filters\['operator'\]"),
    ],
)
def test_a_wrong_filter_names_its_place(filters: object, place: str) -> None:
    with pytest.raises(FilterError, match=place) as caught:
        memory_store().filter_documents(filters)
    assert isinstance(caught.value, InvalidArgumentError)


def test_filters_on_ids_content_and_fields_without_prefix(store: EmbplugDocumentStore) -> None:
    store.write_documents(documents())

    def found(field: str, operator: str, value: object) -> list[str]:
        filters = {"field": field, "operator": operator, "value": value}
        return sorted(document.id for document in store.filter_documents(filters))

    assert found("id", "==", "1") == ["1"]
    assert found("id", "not in", ["1"]) == ["0", "2"]
    assert found("year", ">=", 2021) == ["1", "2"]
    assert found("content", "==", "ants follow scents") == ["1"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_sparse_embeddings": True}, "Sparse"),
        ({"hnsw_config": {"m": 8}}, "hnsw"),
        ({"return_embedding": True}, "compressed"),
        ({"similarity": "hamming"}, "similarity"),
        ({"api_key": "secret"}, "Secret"),
        ({"recipe": 1}, "recipe"),
    ],
)
def test_a_keyword_that_is_not_taken_names_what_is(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        memory_store(**options)
    with pytest.raises(TypeError, match="unexpected argument 'colour'"):
        memory_store(colour="red")


def test_documents_that_are_none_are_named(store: EmbplugDocumentStore) -> None:
    with pytest.raises(InvalidArgumentError, match=r"documents\[1\]"):
        store.write_documents([documents()[0], "text"])  # type: ignore[list-item]
    wrong = [*documents()[:2], Document(id="c", content="x", embedding=[1.0])]
    with pytest.raises(InvalidArgumentError, match=r"dense\['dense'\]"):
        store.write_documents(wrong)
    with pytest.raises(InvalidArgumentError, match="delete_all_documents"):
        store.delete_by_filter({})


def test_a_collection_of_qdrant_haystack_is_used_as_it_is(engine: Engine) -> None:
    """Points as qdrant-haystack writes them: ids are derived, and the payload is the document."""
    engine.create_collection(
        "theirs", vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE)
    )
    namespace = uuid.UUID("3896d314-1e95-4a3a-b45a-945f9f0b541d")
    theirs = documents()[:2]
    engine.upsert(
        "theirs",
        [
            models.PointStruct(
                id=uuid.uuid5(namespace, document.id).hex,
                vector=document.embedding,
                payload={k: v for k, v in document.to_dict(flatten=False).items() if k != "embedding"},
            )
            for document in theirs
        ],
    )
    store = EmbplugDocumentStore(client=engine, index="theirs")
    assert [document.id for document in store.get_documents_by_id(["1", "0"])] == ["1", "0"]
    assert store.write_documents(documents(), DuplicatePolicy.SKIP) == 1
    assert ids(EmbplugEmbeddingRetriever(store, top_k=1).run([0.0, 0.0, 1.0])) == ["2"]
    point = engine.retrieve("theirs", [str(uuid.uuid5(namespace, "2"))])[0]
    assert point.payload["id"] == "2" and point.payload["meta"]["year"] == 2022
    store.delete_documents(["2"])
    assert store.count_documents() == 2


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count, names = run_page("haystack.md")
    assert count == 5
    names["store"].close()
    names["again"].get_component("retriever").close()


@pytest.mark.parametrize("name", ["haystack_rag.py", "haystack_rag_plain_qdrant.py"])
def test_the_example_answers(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "plain" in name:
        pytest.importorskip("haystack_integrations.document_stores.qdrant")
    monkeypatch.setattr("sys.argv", [name])
    run_example(name)
    assert "position of the sun" in capsys.readouterr().out.splitlines()[-1]
